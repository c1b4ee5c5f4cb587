//! The half of an order at the local CA that stays with whoever gives it: the key, which never leaves the process that
//! writes it, and the files.

use std::path::Path;

use super::control::ca::Issued;
use super::outbox::{self, Paper};
use super::setup::SetupError;
use crate::edge::certificates::TlsError;
use crate::edge::local_ca::leaf::{self, Request};

/// What an order leaves in its folder: key, certificate, and whom to trust.
pub const FILES: [&str; 3] = ["key.pem", "certificate.pem", "ca.pem"];

/// A key that waits for its certificate.
pub struct Waiting(Request);

impl Waiting {
    /// With a new key.
    pub fn new() -> Result<Self, TlsError> {
        leaf::request().map(Self)
    }

    /// What the CA is sent.
    pub fn request(&self) -> &str {
        &self.0.text
    }

    /// Writes key and certificate, in place of others only if `over`.
    pub fn write(&self, folder: &Path, issued: &Issued, over: bool) -> Result<(), SetupError> {
        let texts = [(&**self.0.key, 0o600), (&*issued.certificate, 0o644), (&*issued.authority.pem, 0o644)];
        let papers = FILES.iter().zip(texts).map(|(name, (text, mode))| Paper { name, text, mode });
        outbox::put(folder, &papers.collect::<Vec<_>>(), over)
    }
}
