//! Sealing a signing key's private part with AES-256-GCM.
//!
//! The associated data binds the sealed bytes to their key's id and algorithm: a row moved to
//! another id, or an algorithm changed in the store, does not open. Nonces are 96 random bits; a
//! ring makes a few keys a year, far below the 2³² where they might repeat (NIST SP 800-38D §8.3).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::model::key::{KeyAlgorithm, KeyId};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{self, Rng};

/// Seals and opens private keys.
pub(super) struct Sealer(LessSafeKey);

impl Sealer {
    /// With the sealing key of `master`; `None` if AES-256-GCM cannot be had.
    pub fn new(master: &MasterKey) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, master.derive(Purpose::KeySealing).expose()).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Nonce, ciphertext and tag.
    pub fn seal(
        &self,
        id: &KeyId,
        algorithm: KeyAlgorithm,
        private: &[u8],
        rng: &dyn Rng,
    ) -> Option<Vec<u8>> {
        let nonce = random::bytes::<NONCE_LEN>(rng);
        let mut text = Zeroizing::new(private.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                bound_to(id, algorithm),
                &mut text,
            )
            .ok()?;
        Some([&nonce[..], &text, tag.as_ref()].concat())
    }

    /// The private part; `None` if it was not sealed with this key for this id and algorithm.
    pub fn open(&self, id: &KeyId, algorithm: KeyAlgorithm, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, bound_to(id, algorithm), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

/// Ids are base64url and names are letters, so zero bytes keep the parts apart.
fn bound_to(id: &KeyId, algorithm: KeyAlgorithm) -> Aad<Vec<u8>> {
    Aad::from(["keepgate key v1", &id.0, algorithm.name()].join("\0").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;

    fn sealer(seed: u64) -> Sealer {
        Sealer::new(&MasterKey::generate(&SeededRng::new(seed))).unwrap()
    }

    fn id(text: &str) -> KeyId {
        KeyId(text.into())
    }

    #[test]
    fn what_was_sealed_opens_again_and_is_not_to_be_seen() {
        let rng = SeededRng::new(9);
        let sealed = sealer(1).seal(&id("a"), KeyAlgorithm::EdDSA, b"private", &rng).unwrap();
        assert_eq!(**sealer(1).open(&id("a"), KeyAlgorithm::EdDSA, &sealed).unwrap(), *b"private");
        assert_eq!(sealed.len(), 12 + 7 + 16);
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        let again = sealer(1).seal(&id("a"), KeyAlgorithm::EdDSA, b"private", &rng).unwrap();
        assert_ne!(sealed, again);
    }

    #[test]
    fn another_master_key_id_or_algorithm_does_not_open_it() {
        let sealed = sealer(1).seal(&id("a"), KeyAlgorithm::EdDSA, b"private", &SeededRng::new(9)).unwrap();
        assert!(sealer(2).open(&id("a"), KeyAlgorithm::EdDSA, &sealed).is_none());
        assert!(sealer(1).open(&id("b"), KeyAlgorithm::EdDSA, &sealed).is_none());
        assert!(sealer(1).open(&id("a"), KeyAlgorithm::ES256, &sealed).is_none());
    }

    #[test]
    fn a_changed_or_shortened_seal_does_not_open() {
        let sealed = sealer(1).seal(&id("a"), KeyAlgorithm::EdDSA, b"private", &SeededRng::new(9)).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer(1).open(&id("a"), KeyAlgorithm::EdDSA, &changed).is_none());
            assert!(sealer(1).open(&id("a"), KeyAlgorithm::EdDSA, &sealed[..at]).is_none());
        }
    }
}
