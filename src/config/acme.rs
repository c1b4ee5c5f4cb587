//! `[tls.acme]`: which certificates to order, from whom, and how control of the names is shown.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::secret::{self, SecretSource};
use crate::model::email::Email;

/// Let's Encrypt's directory: the default.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How control of a name is shown (RFC 8555 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// A text fetched from port 80 in plain HTTP (RFC 8555 §8.3).
    #[default]
    Http01,
    /// A certificate shown on port 443 (RFC 8737).
    TlsAlpn01,
}

impl Challenge {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// What ties an account to one that the CA knows from elsewhere (RFC 8555 §7.3.4).
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// The key's name.
    pub kid: String,
    /// The MAC key, in base64url as CAs hand it out.
    pub key: SecretSource,
}

impl ExternalAccount {
    /// The MAC key's bytes.
    ///
    /// # Errors
    /// In words, without the key, if it cannot be read or is not base64url of 16 to 512 bytes.
    pub fn mac_key(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let text = self.key.resolve().map_err(|error| error.to_string())?;
        let text = text.expose_secret().trim_end_matches('=');
        let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| "is not base64url".to_owned())?);
        if (16..=512).contains(&key.len()) { Ok(key) } else { Err("is not 16 to 512 bytes long".to_owned()) }
    }
}

impl PartialEq for ExternalAccount {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && secret::same(&self.key, &other.key)
    }
}

impl Eq for ExternalAccount {}

/// Certificates by ACME. The terms of service have been agreed to, or there would be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The CA's directory, an https URL.
    pub directory: String,
    /// PEM file of the only roots that the directory's own TLS is trusted by; public ones if `None`.
    pub directory_ca: Option<PathBuf>,
    /// Whom the CA tells of trouble.
    pub contact: Vec<Email>,
    /// How control of names is shown.
    pub challenge: Challenge,
    /// For CAs that take only customers.
    pub external_account: Option<ExternalAccount>,
    /// One certificate each: its DNS names, in lower-case ASCII. None is in two.
    pub certificates: Vec<Vec<String>>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: LETS_ENCRYPT.to_owned(),
            directory_ca: None,
            contact: Vec::new(),
            challenge: Challenge::default(),
            external_account: None,
            certificates: Vec::new(),
        }
    }
}
