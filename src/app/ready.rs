//! What whoever started the house wants to know once it serves.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Serialize;

/// Where the house can be reached, ports as chosen. Written to `run/ports.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listeners {
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP, which redirects.
    pub http: Vec<SocketAddr>,
    /// Metrics and health.
    pub internal: Option<SocketAddr>,
}

impl Listeners {
    /// One line each.
    pub fn lines(&self) -> Vec<String> {
        let https = self.https.iter().map(|address| format!("https://{address}"));
        let http = self.http.iter().map(|address| format!("http://{address}"));
        let internal = self.internal.iter().map(|address| format!("internal http://{address}"));
        https.chain(http).chain(internal).collect()
    }
}

/// The administrator made at the first start of a development folder.
#[derive(Clone, Debug)]
pub struct FirstAdministrator {
    /// To log in with.
    pub email: String,
    /// Shown this once.
    pub password: SecretString,
}

/// The house serves.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where.
    pub listeners: Listeners,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// The local CA's certificate, if certificates come from it.
    pub ca: Option<PathBuf>,
    /// If one was made just now.
    pub administrator: Option<FirstAdministrator>,
}
