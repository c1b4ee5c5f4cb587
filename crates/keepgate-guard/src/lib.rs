//! Verifies Keepgate's access tokens and follows its revocations.
//!
//! What a service behind Keepgate links, and what Keepgate's own edge uses: JWKS in
//! ([`keys::KeySet`]), revocations in ([`view::RevocationView`]), [`verifier::Verifier::verify`]
//! out. No I/O, no runtime, no clock: the caller passes the time and feeds the view.

pub mod claims;
pub mod keys;
pub mod refusal;
pub mod revocation;
pub mod verifier;
pub mod view;
