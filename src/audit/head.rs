//! Signed heads: an Ed25519 signature (RFC 8032) over "the chain had this many records and ended in
//! this hash". The chain itself has no secret in it, so whoever can write the log can also rewrite
//! it consistently; what they cannot do is sign the result.
//!
//! This file only knows the statement and its key. When heads are signed is `audit::signer`'s
//! business, where they are kept besides the log is `audit::witness`'s.
//!
//! The signed bytes, 66 in all: the 18-byte prefix `keepgate head v1\0\0`, so that no other
//! signature of the same key can be taken for a head; then `count` (8 bytes, little-endian), `hash`
//! (32 bytes) and `at` (8 bytes, little-endian milliseconds, two's complement).

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::model::event::{ChainHash, SignedHead};
use crate::model::time::Timestamp;

const PREFIX: &[u8; 18] = b"keepgate head v1\0\0";

fn signed_bytes(count: u64, hash: ChainHash, at: Timestamp) -> Vec<u8> {
    [&PREFIX[..], &count.to_le_bytes(), &hash.0, &at.as_millis().to_le_bytes()].concat()
}

/// The key that signs heads. Made from a seed that is derived from the master key, so it needs no
/// file of its own and comes back with the master key after a restore.
pub struct HeadKey(Ed25519KeyPair);

impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadKey(public {})", self.public())
    }
}

impl HeadKey {
    /// The key of a 256-bit seed (RFC 8032 §5.1.5).
    #[expect(
        clippy::expect_used,
        reason = "every 32-byte string is an Ed25519 seed; only its length is checked"
    )]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are an Ed25519 seed"))
    }

    /// Signs "at `at` the chain had `count` records and ended in `hash`".
    pub fn sign(&self, count: u64, hash: ChainHash, at: Timestamp) -> SignedHead {
        let signature = self.0.sign(&signed_bytes(count, hash, at)).as_ref().to_vec();
        SignedHead { count, hash, at, signature }
    }

    /// The half that verifies.
    #[expect(clippy::expect_used, reason = "an Ed25519 public key is 32 bytes long (RFC 8032 §5.1.5)")]
    pub fn public(&self) -> HeadPublicKey {
        HeadPublicKey(self.0.public_key().as_ref().try_into().expect("32 bytes"))
    }
}

/// The public half, shown by `audit verify` as 64 hexadecimal digits so that it can be noted
/// somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadPublicKey([u8; 32]);

impl HeadPublicKey {
    /// Whether the head was signed with the matching [`HeadKey`].
    pub fn verifies(&self, head: &SignedHead) -> bool {
        let bytes = signed_bytes(head.count, head.hash, head.at);
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&bytes, &head.signature).is_ok()
    }
}

impl fmt::Display for HeadPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> (HeadKey, SignedHead) {
        let key = HeadKey::from_seed(&[7; 32]);
        let head = key.sign(42, ChainHash([3; 32]), Timestamp::from_millis(1_000));
        (key, head)
    }

    #[test]
    fn a_head_verifies_with_its_key_only() {
        let (key, head) = head();
        assert!(key.public().verifies(&head));
        assert!(!HeadKey::from_seed(&[8; 32]).public().verifies(&head));
    }

    #[test]
    fn no_field_of_a_head_can_be_changed() {
        let (key, head) = head();
        let public = key.public();
        assert!(!public.verifies(&SignedHead { count: 41, ..head.clone() }));
        assert!(!public.verifies(&SignedHead { hash: ChainHash([4; 32]), ..head.clone() }));
        assert!(!public.verifies(&SignedHead { at: Timestamp::from_millis(999), ..head.clone() }));
        assert!(!public.verifies(&SignedHead { signature: vec![], ..head.clone() }));
        let mut flipped = head;
        flipped.signature[10] ^= 1;
        assert!(!public.verifies(&flipped));
    }

    /// The bytes are a format: heads signed by one version are verified by every later one.
    #[test]
    fn the_signed_bytes_and_the_key_are_pinned() {
        let (key, head) = head();
        assert_eq!(
            key.public().to_string(),
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
        );
        let bytes = signed_bytes(head.count, head.hash, head.at);
        assert_eq!(bytes.len(), 66);
        assert_eq!(&bytes[..18], b"keepgate head v1\0\0");
        assert_eq!(&bytes[18..26], &[42, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[58..], &[0xe8, 3, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_key_does_not_show_itself() {
        let (key, _) = head();
        assert!(!format!("{key:?}").contains("0707"));
    }
}
