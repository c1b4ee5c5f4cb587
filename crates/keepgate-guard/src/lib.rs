//! Verifies Keepgate's access tokens and follows its revocations.
//!
//! What a service behind Keepgate links, and what Keepgate's own edge uses: JWKS in
//! ([`keys::KeySet`]), revocations in ([`view::RevocationView`]), [`verifier::Verifier::verify`]
//! out. No I/O, no runtime, no clock: the caller passes the time and feeds the view.
//!
//! ```
//! use std::sync::Arc;
//! use keepgate_guard::keys::KeySet;
//! use keepgate_guard::refusal::Refusal;
//! use keepgate_guard::verifier::{Expectations, Verifier};
//! use keepgate_guard::view::RevocationView;
//!
//! # let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig",
//! #     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! // `jwks` is what `/.well-known/jwks.json` answered.
//! let keys = KeySet::from_jwks(jwks)?;
//! // A follower of the revocation feed holds the other end of the view and applies to it.
//! let view = Arc::new(RevocationView::default());
//! let verifier = Verifier::new(
//!     Expectations {
//!         issuer: "https://id.example.com".into(),
//!         audience: "keepgate".into(),
//!         leeway: 5,
//!         cache_entries: 10_000,
//!     },
//!     keys,
//!     Arc::clone(&view),
//! );
//! let now = 1_790_000_000; // the caller's clock, seconds since the epoch
//! match verifier.verify("not-a-token", now) {
//!     Ok(claims) => println!("welcome, {}", claims.sub),
//!     Err(refusal) => assert_eq!(refusal, Refusal::Malformed),
//! }
//! # Ok::<(), keepgate_guard::keys::InvalidKeySet>(())
//! ```

mod cache;
pub mod claims;
mod json;
mod jws;
pub mod keys;
pub mod refusal;
pub mod revocation;
pub mod verifier;
pub mod view;

#[cfg(test)]
mod tests;
