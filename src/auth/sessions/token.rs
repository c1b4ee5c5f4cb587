//! The refresh token as text: opaque to clients, recognisable to secret scanners, and provably
//! ours before any store is read.
//!
//! ```text
//! kgr_ base64url( session id 16 ‖ generation 8 ‖ secret 32 ‖ tag 16 ‖ crc32 4 )     without padding
//! ```
//!
//! Integers are big-endian. The CRC-32 (ISO-HDLC) covers the bytes before it: a scanner can tell a
//! leaked token from chance without asking us. The tag is a MAC over session id, generation and
//! secret. It makes forgeries cost no read, and makes *every* token a family ever had recognisable
//! as genuine although only two hashes are stored: a genuine token of an older generation is
//! provably a reused one, while an invented one for a known session id changes nothing.
//!
//! A successor's secret is a keyed hash of its predecessor's and of the record's salt: whoever may
//! replay an exchange gets the same successor without it being stored, and without the key, the
//! record and the predecessor together it cannot be computed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::model::id::SessionId;
use crate::model::master_key::Subkey;
use crate::model::random::{self, Rng};
use crate::model::session::TokenHash;

const PREFIX: &str = "kgr_";
const BODY: usize = 16 + 8 + 32;
const TAG: usize = 16;
const LENGTH: usize = BODY + TAG + 4;

/// The two keys that refresh tokens rest on. `Debug` hides them.
pub struct RefreshKeys {
    tag: Zeroizing<[u8; 32]>,
    successor: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for RefreshKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshKeys(…)")
    }
}

/// The text is not a refresh token of ours, by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A token as presented: well-formed, but nobody has looked whether it is ours.
pub struct Presented {
    body: Zeroizing<[u8; BODY]>,
    tag: [u8; TAG],
}

/// A token that this deployment issued at some time: only [`RefreshKeys`] makes one. `Debug` and
/// `Clone` are left out on purpose.
pub struct Genuine {
    /// The family it belongs to.
    pub session: SessionId,
    /// Its place in the family.
    pub generation: u64,
    secret: Zeroizing<[u8; 32]>,
}

impl Presented {
    /// Reads a token's text.
    ///
    /// # Errors
    /// [`Malformed`] for anything but the one spelling that Keepgate writes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let encoded = text.strip_prefix(PREFIX).ok_or(Malformed)?;
        let mut bytes = Zeroizing::new([0; LENGTH]);
        // Slices of the exact length only: the decoder refuses what is longer, this what is shorter.
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes[..]).map_err(|_| Malformed)?;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed)?;
        if length != LENGTH || crc32fast::hash(covered) != u32::from_be_bytes(*crc) {
            return Err(Malformed);
        }
        let (body, tag) = covered.split_first_chunk::<BODY>().ok_or(Malformed)?;
        Ok(Self { body: Zeroizing::new(*body), tag: tag.try_into().map_err(|_| Malformed)? })
    }
}

impl Genuine {
    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(*blake3::hash(&*self.secret).as_bytes())
    }

    fn body(&self) -> Zeroizing<[u8; BODY]> {
        let mut body = Zeroizing::new([0; BODY]);
        let generation = self.generation.to_be_bytes();
        let parts = self.session.0.as_bytes().iter().chain(&generation).chain(&*self.secret);
        body.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        body
    }
}

impl RefreshKeys {
    /// From the master key's subkey for refresh tokens.
    pub fn new(subkey: &Subkey) -> Self {
        let derive = |context| Zeroizing::new(blake3::derive_key(context, subkey.expose()));
        Self {
            tag: derive("keepgate 2026 refresh token tag v1"),
            successor: derive("keepgate 2026 refresh token successor v1"),
        }
    }

    /// The first token of a new family.
    pub fn first(&self, session: SessionId, rng: &dyn Rng) -> Genuine {
        Genuine { session, generation: 0, secret: Zeroizing::new(random::bytes(rng)) }
    }

    /// The token that follows `token` in the family whose record holds `salt`: always the same one.
    pub fn successor(&self, token: &Genuine, salt: &[u8; 16]) -> Genuine {
        let generation = token.generation.saturating_add(1);
        let mut hasher = blake3::Hasher::new_keyed(&self.successor);
        hasher.update(token.session.0.as_bytes()).update(&generation.to_be_bytes());
        hasher.update(salt).update(&*token.secret);
        let secret = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        Genuine { session: token.session, generation, secret }
    }

    /// Recognises a token that was issued here; `None` for a forgery. Takes alike for both.
    pub fn recognise(&self, presented: &Presented) -> Option<Genuine> {
        let genuine: bool = self.tag_of(&presented.body).ct_eq(&presented.tag).into();
        let (session, rest) = presented.body.split_first_chunk::<16>()?;
        let (generation, secret) = rest.split_first_chunk::<8>()?;
        genuine.then_some(Genuine {
            session: SessionId(Uuid::from_bytes(*session)),
            generation: u64::from_be_bytes(*generation),
            secret: Zeroizing::new(secret.try_into().ok()?),
        })
    }

    /// The token's text, as the client gets it.
    pub fn text(&self, token: &Genuine) -> SecretString {
        let body = token.body();
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(&*body);
        bytes.extend_from_slice(&self.tag_of(&body));
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        let mut text = String::with_capacity(PREFIX.len() + LENGTH.div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
        SecretString::from(text)
    }

    fn tag_of(&self, body: &[u8; BODY]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        let hash = blake3::keyed_hash(&self.tag, body);
        tag.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::model::master_key::{MasterKey, Purpose};
    use crate::model::random::SeededRng;

    fn keys_of(seed: u64) -> RefreshKeys {
        RefreshKeys::new(&MasterKey::generate(&SeededRng::new(seed)).derive(Purpose::RefreshTokens))
    }

    fn keys() -> RefreshKeys {
        keys_of(1)
    }

    fn token() -> Genuine {
        keys().first(SessionId(Uuid::from_bytes([9; 16])), &SeededRng::new(7))
    }

    #[test]
    fn a_token_survives_the_trip_and_has_the_documented_form() {
        let text = keys().text(&token());
        let text = text.expose_secret();
        assert!(text.starts_with("kgr_CQkJ"), "{text}");
        assert_eq!(text.len(), 4 + 102);
        let read = keys().recognise(&Presented::parse(text).unwrap()).unwrap();
        assert_eq!((read.session, read.generation, read.hash()), (token().session, 0, token().hash()));
    }

    #[test]
    fn the_successor_is_always_the_same_and_hangs_on_every_ingredient() {
        let next = |keys: &RefreshKeys, token: &Genuine, salt: [u8; 16]| keys.successor(token, &salt).hash();
        let usual = next(&keys(), &token(), [3; 16]);
        assert_eq!(usual, next(&keys(), &token(), [3; 16]));
        assert_ne!(usual, next(&keys(), &token(), [4; 16]));
        assert_ne!(usual, next(&keys_of(2), &token(), [3; 16]));
        assert_ne!(usual, next(&keys(), &Genuine { generation: 1, ..token() }, [3; 16]));
        let other = keys().first(token().session, &SeededRng::new(8));
        assert_ne!(usual, next(&keys(), &other, [3; 16]));
    }

    #[test]
    fn a_token_of_another_deployment_is_a_forgery() {
        let text = keys_of(2).text(&token());
        assert!(keys().recognise(&Presented::parse(text.expose_secret()).unwrap()).is_none());
    }

    #[test]
    fn a_changed_byte_with_a_mended_checksum_is_a_forgery() {
        let text = keys().text(&token());
        let mut bytes = URL_SAFE_NO_PAD.decode(&text.expose_secret()[4..]).unwrap();
        for at in 0..BODY + TAG {
            bytes[at] ^= 1;
            let crc = crc32fast::hash(&bytes[..BODY + TAG]).to_be_bytes();
            bytes[BODY + TAG..].copy_from_slice(&crc);
            let text = format!("kgr_{}", URL_SAFE_NO_PAD.encode(&bytes));
            assert!(keys().recognise(&Presented::parse(&text).unwrap()).is_none(), "byte {at}");
            bytes[at] ^= 1;
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(kgr_)?[A-Za-z0-9_=-]{0,120}|\\PC*") {
            let _ = Presented::parse(&text);
        }

        #[test]
        fn there_is_one_spelling(at in 0_usize..106, with in proptest::char::any()) {
            let text = keys().text(&token());
            let mut other: Vec<char> = text.expose_secret().chars().collect();
            prop_assume!(other[at] != with);
            other[at] = with;
            let other: String = other.into_iter().collect();
            prop_assert!(Presented::parse(&other).is_err());
        }
    }
}
