//! `[cors]`: which web pages of other origins may call Keepgate's own API from a browser. Nobody's,
//! unless they are named.

use std::time::Duration;

/// The origins whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// These, as browsers write them: `https://app.example.com`, without a default port. None: off.
    Listed(Vec<String>),
    /// `"*"`: any.
    Any,
}

/// Cross-origin requests to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `origins`
    pub origins: Origins,
    /// Whether pages may send cookies and the like along. Never with [`Origins::Any`].
    pub credentials: bool,
    /// Request headers that pages may set, in lower case.
    pub headers: Vec<String>,
    /// How long a browser may remember a preflight's answer.
    pub max_age: Duration,
}

impl Default for Cors {
    fn default() -> Self {
        let headers = ["authorization", "content-type", "if-match", "if-none-match"];
        Self {
            origins: Origins::Listed(Vec::new()),
            credentials: false,
            headers: headers.map(str::to_owned).to_vec(),
            max_age: Duration::from_secs(600),
        }
    }
}

impl Cors {
    /// Whether anybody may do anything.
    pub const fn is_off(&self) -> bool {
        matches!(&self.origins, Origins::Listed(origins) if origins.is_empty())
    }
}
