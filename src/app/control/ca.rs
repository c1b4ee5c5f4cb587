//! The local CA and what it issues, as an operator asks for them and sees them.

use serde::{Deserialize, Serialize};

use super::reply::{Code, Failure};
use crate::edge::local_ca::About;
use crate::model::certificate::{Purpose, SubjectName};

/// Most names of one certificate.
pub const MOST_NAMES: usize = 100;
/// Longest life of what is issued, days: what every client takes of a CA of one's own.
pub const MOST_DAYS: u32 = 825;

/// A certificate that is asked for. The key stays with whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What it names, at most [`MOST_NAMES`].
    pub names: Vec<SubjectName>,
    /// Which side of a connection it is for.
    pub purpose: Purpose,
    /// How long it is good, at most [`MOST_DAYS`].
    pub days: u32,
    /// A request signed with the key (PKCS #10, PEM), of which nothing else is read.
    pub request: String,
}

impl Order {
    /// Whether it can be issued.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |message: String, remedy: &str| Err(Failure::new(Code::Invalid, message).remedy(remedy));
        if self.names.is_empty() || self.names.len() > MOST_NAMES {
            let message = format!("a certificate has 1 to {MOST_NAMES} names, not {}", self.names.len());
            return refuse(message, "issue several");
        }
        if !(1..=MOST_DAYS).contains(&self.days) {
            let message = format!("a certificate is good for 1 to {MOST_DAYS} days, not {}", self.days);
            return refuse(message, "issue another before it runs out");
        }
        let wild = self.names.iter().find(|name| name.is_wildcard() && self.purpose == Purpose::Client);
        match wild {
            Some(name) => refuse(
                format!("{name} is no client's name: a client is one, or it is nobody in particular"),
                "name the client",
            ),
            None => Ok(()),
        }
    }
}

/// The CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its name, by which trust stores list it.
    pub name: String,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub until: String,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
    /// Where the certificate is.
    pub file: String,
    /// The certificate.
    pub pem: String,
}

impl Authority {
    /// Of the CA whose certificate is there.
    pub fn new(about: About, file: String) -> Self {
        let About { name, pem, fingerprint, from, until } = about;
        Self { name, from: from.rfc3339(), until: until.rfc3339(), fingerprint, file, pem }
    }
}

/// What was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// RFC 3339.
    pub until: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// Who issued it.
    pub authority: Authority,
}
