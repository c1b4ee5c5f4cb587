//! The master key: the one secret that everything sealed or derived hangs on. Pure: reading and
//! making its file is `auth::keys::master`'s business.
//!
//! It is never used itself. Each purpose has a key of its own, derived with BLAKE3's key-derivation
//! mode, so that a weakness in one use says nothing about another.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::random::Rng;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// 256 secret bits. Wiped when dropped, hidden in `Debug`.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sealing signing keys in the auth namespace (AES-256-GCM).
    KeySealing,
    /// Deriving and authenticating refresh tokens.
    RefreshTokens,
    /// The seed of the Ed25519 key that signs heads of the audit chain.
    AuditHeads,
    /// Authenticating the cookies by which devices are known.
    KnownDevices,
}

impl Purpose {
    /// BLAKE3's context string: hard-coded, unique in the world, never changed.
    const fn context(self) -> &'static str {
        match self {
            Self::KeySealing => "keepgate 2026 signing key sealing v1",
            Self::RefreshTokens => "keepgate 2026 refresh tokens v1",
            Self::AuditHeads => "keepgate 2026 audit heads v1",
            Self::KnownDevices => "keepgate 2026 known devices v1",
        }
    }
}

/// 256 bits derived for one purpose. Wiped when dropped, hidden in `Debug`.
#[derive(Clone)]
pub struct Subkey(Zeroizing<[u8; 32]>);

/// The text is not a master key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a master key: expected 32 random bytes in base64, as `openssl rand -base64 32` prints them")]
pub struct InvalidMasterKey;

impl MasterKey {
    /// A new one.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill(&mut *key);
        Self(key)
    }

    /// From base64 (standard alphabet, padding optional).
    pub fn from_base64(text: &str) -> Result<Self, InvalidMasterKey> {
        // Room for more than 32 bytes, so that a longer text is told from a key.
        let mut bytes = Zeroizing::new([0; 48]);
        let length = BASE64.decode_slice(text, &mut *bytes).map_err(|_| InvalidMasterKey)?;
        let decoded = bytes.get(..length).and_then(|bytes| bytes.try_into().ok());
        decoded.map(|key| Self(Zeroizing::new(key))).ok_or(InvalidMasterKey)
    }

    /// As base64, for its file.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(*self.0))
    }

    /// The key for one purpose; the same each time.
    pub fn derive(&self, purpose: Purpose) -> Subkey {
        Subkey(Zeroizing::new(blake3::derive_key(purpose.context(), &*self.0)))
    }
}

impl Subkey {
    /// The bits.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subkey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;

    #[test]
    fn each_purpose_has_its_own_key_and_each_master_key_its_own() {
        let (a, b) = (MasterKey::generate(&SeededRng::new(1)), MasterKey::generate(&SeededRng::new(2)));
        let keys = [&a, &b].map(|master| {
            [Purpose::KeySealing, Purpose::RefreshTokens, Purpose::AuditHeads, Purpose::KnownDevices]
                .map(|purpose| *master.derive(purpose).expose())
        });
        let all: std::collections::BTreeSet<_> = keys.iter().flatten().collect();
        assert_eq!(all.len(), 8);
        assert_eq!(a.derive(Purpose::AuditHeads).expose(), a.derive(Purpose::AuditHeads).expose());
    }

    /// What was sealed yesterday opens tomorrow: the derivation never changes.
    #[test]
    fn derivation_is_pinned() {
        let key = MasterKey::from_base64(&BASE64.encode([1; 32])).unwrap();
        let sealing = blake3::Hash::from_bytes(*key.derive(Purpose::KeySealing).expose());
        insta::assert_snapshot!(sealing, @"9d2969d7be4a48d213dec4ee8e88e8bb9bedff5ec6f5805637a8a9bc70367bf8");
    }

    #[test]
    fn base64_goes_there_and_back() {
        let key = MasterKey::generate(&SeededRng::new(1));
        let text = key.to_base64();
        assert_eq!(*MasterKey::from_base64(&text).unwrap().0, *key.0);
        assert_eq!(*MasterKey::from_base64(text.trim_end_matches('=')).unwrap().0, *key.0);
    }

    #[test]
    fn what_is_not_32_bytes_is_refused() {
        for text in
            [String::new(), "hunter2".into(), BASE64.encode([1; 31]), BASE64.encode([1; 33]), "A".repeat(999)]
        {
            assert_eq!(MasterKey::from_base64(&text).unwrap_err(), InvalidMasterKey, "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = MasterKey::generate(&SeededRng::new(1));
        assert_eq!(format!("{key:?} {:?}", key.derive(Purpose::KeySealing)), "MasterKey(…) Subkey(…)");
    }
}
