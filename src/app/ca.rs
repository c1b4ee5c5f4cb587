//! The half of an order at the local CA that stays with whoever gives it: the key, which never leaves the process that
//! writes it, and the files.

use super::control::ca::Issued;
use super::outbox::{Outbox, Sheet};
use super::setup::SetupError;
use crate::edge::certificates::TlsError;
use crate::edge::local_ca::leaf::{self, Request};

/// What an order leaves in its folder: whom to trust, certificate, and key.
pub const FILES: [Sheet; 3] = [
    Sheet { name: "ca.pem", mode: 0o644 },
    Sheet { name: "certificate.pem", mode: 0o644 },
    Sheet { name: "key.pem", mode: 0o600 },
];

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

    /// Puts key and certificate where room was made for [`FILES`].
    pub fn put(&self, outbox: Outbox, issued: &Issued) -> Result<(), SetupError> {
        outbox.put(&[&issued.authority.pem, &issued.certificate, &self.0.key])
    }
}
