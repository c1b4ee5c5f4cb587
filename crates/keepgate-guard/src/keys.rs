//! The keys that tokens may be signed with.
//!
//! A key decides its algorithm: it is fixed when the key is read and a token can only agree with
//! it (RFC 8725 §3.1). Symmetric keys never come from a JWKS document, so a public document cannot
//! turn a public key into an HMAC secret.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, crypto};
use serde::Deserialize;
use serde_json::Value;

use crate::jws;

/// Longest JWKS document that is read, bytes.
const MAX_DOCUMENT: usize = 256 * 1024;
/// Most keys of one document.
const MAX_KEYS: usize = 256;
/// Longest `kid`, bytes.
const MAX_KID: usize = 256;

/// A set of verification keys by `kid`, from a JWKS document (RFC 7517 §5). Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: HashMap<String, Arc<VerificationKey>>,
}

/// The document is not a JWKS that can be used.
#[derive(Debug, thiserror::Error)]
#[error("not a usable JWKS: {0}")]
pub struct InvalidKeySet(pub String);

/// One key and the one algorithm it verifies.
#[derive(Debug)]
pub(crate) struct VerificationKey {
    pub kid: String,
    algorithm: Algorithm,
    /// Redacted in `Debug` and wiped when dropped.
    key: DecodingKey,
}

impl VerificationKey {
    /// Whether `alg`, as a header spells it, is this key's algorithm.
    pub fn verifies(&self, alg: &str) -> bool {
        algorithm(alg) == Some(self.algorithm)
    }

    /// Whether `signature` (base64url) is this key's over `message`.
    pub fn is_signature(&self, message: &str, signature: &str) -> bool {
        matches!(crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm), Ok(true))
    }

    /// Whether `other` is the very same key under the same algorithm.
    pub fn is_same(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent as Rsa, SecretOrDer as Bytes};
        let same = match (self.key.kind(), other.key.kind()) {
            (Bytes(mine), Bytes(theirs)) => mine == theirs,
            (Rsa { n, e }, Rsa { n: their_n, e: their_e }) => n == their_n && e == their_e,
            (Bytes(_), Rsa { .. }) | (Rsa { .. }, Bytes(_)) => false,
        };
        same && self.algorithm == other.algorithm
    }
}

/// The algorithms that are accepted at all. Exact: `alg` is case-sensitive (RFC 7515 §4.1.1).
pub(crate) fn algorithm(alg: &str) -> Option<Algorithm> {
    match alg {
        "EdDSA" => Some(Algorithm::EdDSA),
        "ES256" => Some(Algorithm::ES256),
        "RS256" => Some(Algorithm::RS256),
        "HS256" => Some(Algorithm::HS256),
        _ => None,
    }
}

impl KeySet {
    /// Reads a JWKS: Ed25519, P-256 and RSA (2048 to 8192 bits) keys with a `kid`. Keys of other
    /// kinds, for other uses, or out of range are passed over (RFC 7517 §5).
    ///
    /// # Errors
    /// If it is not a JWKS, is longer than 256 KiB, has more than 256 keys, gives one `kid` to two
    /// keys, or publishes a private key.
    pub fn from_jwks(json: &str) -> Result<Self, InvalidKeySet> {
        if json.len() > MAX_DOCUMENT {
            return Err(InvalidKeySet(format!("longer than {MAX_DOCUMENT} bytes")));
        }
        let document: Document =
            serde_json::from_str(json).map_err(|error| InvalidKeySet(error.to_string()))?;
        if document.keys.len() > MAX_KEYS {
            return Err(InvalidKeySet(format!("more than {MAX_KEYS} keys")));
        }
        let mut set = Self::default();
        for value in document.keys {
            // A private exponent in a public document is a leak that must be noticed, not used.
            if value.get("d").is_some() {
                return Err(InvalidKeySet("it publishes a private key".into()));
            }
            if let Some(key) = serde_json::from_value::<Jwk>(value).ok().and_then(Jwk::into_key) {
                set.add(key)?;
            }
        }
        Ok(set)
    }

    /// Adds an HS256 key, which no JWKS may carry.
    ///
    /// # Errors
    /// If the secret is shorter than 32 bytes (RFC 7518 §3.2) or another key has this `kid`.
    pub fn add_hs256(&mut self, kid: &str, secret: &[u8]) -> Result<(), InvalidKeySet> {
        if secret.len() < 32 {
            return Err(InvalidKeySet("an HS256 secret needs at least 32 bytes".into()));
        }
        self.add(VerificationKey {
            kid: kid.to_owned(),
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none, so that no token can be verified.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether it has a key of that id.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    pub(crate) fn key(&self, kid: &str) -> Option<&Arc<VerificationKey>> {
        self.keys.get(kid)
    }

    fn add(&mut self, key: VerificationKey) -> Result<(), InvalidKeySet> {
        let kid = key.kid.clone();
        match self.keys.insert(kid, Arc::new(key)) {
            None => Ok(()),
            Some(key) => Err(InvalidKeySet(format!("two keys have the id '{}'", key.kid))),
        }
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members of a JWK (RFC 7517 §4) that matter here. A repeated one makes it unreadable.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    fn into_key(self) -> Option<VerificationKey> {
        let for_signatures = self.r#use.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let named = !self.kid.is_empty() && self.kid.len() <= MAX_KID;
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => self.ed25519(),
            ("EC", Some("P-256")) => self.p256(),
            ("RSA", None) => self.rsa(),
            _ => None,
        }?;
        let agrees = self.alg.as_deref().is_none_or(|alg| self::algorithm(alg) == Some(algorithm));
        (for_signatures && verifies && named && agrees).then_some(VerificationKey {
            kid: self.kid,
            algorithm,
            key,
        })
    }

    /// RFC 8037 §2.
    fn ed25519(&self) -> Option<(Algorithm, DecodingKey)> {
        let x = number(self.x.as_ref()?, 32..=32)?;
        Some((Algorithm::EdDSA, DecodingKey::from_ed_der(&x)))
    }

    /// RFC 7518 §6.2: coordinates have the curve's full width. Whether the point is on the curve is
    /// checked with each signature.
    fn p256(&self) -> Option<(Algorithm, DecodingKey)> {
        let mut point = vec![4];
        point.extend(number(self.x.as_ref()?, 32..=32)?);
        point.extend(number(self.y.as_ref()?, 32..=32)?);
        Some((Algorithm::ES256, DecodingKey::from_ec_der(&point)))
    }

    /// RFC 7518 §6.3, §3.3: at least 2048 bits, no leading zero, an odd exponent above one.
    fn rsa(&self) -> Option<(Algorithm, DecodingKey)> {
        let n = number(self.n.as_ref()?, 256..=1024)?;
        let e = number(self.e.as_ref()?, 1..=4)?;
        let wide = n.first().is_some_and(|top| *top >= if n.len() == 256 { 0x80 } else { 1 });
        let odd = e.last().is_some_and(|low| low % 2 == 1) && e != [1];
        let minimal = e.first().is_some_and(|top| *top != 0);
        if !(wide && odd && minimal) {
            return None;
        }
        Some((Algorithm::RS256, DecodingKey::from_rsa_raw_components(&n, &e)))
    }
}

fn number(text: &str, bytes: std::ops::RangeInclusive<usize>) -> Option<Vec<u8>> {
    jws::decode(text).filter(|number| bytes.contains(&number.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn read(keys: &str) -> Result<KeySet, InvalidKeySet> {
        KeySet::from_jwks(&format!(r#"{{"keys":[{keys}]}}"#))
    }

    #[test]
    fn a_key_that_is_understood_is_kept_with_its_algorithm() {
        let set = read(&format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}","extra":1}}"#)).unwrap();
        assert!(set.key("a").unwrap().verifies("EdDSA"));
        assert!(!set.key("a").unwrap().verifies("HS256"));
    }

    #[test]
    fn keys_that_are_not_understood_are_passed_over() {
        for key in [
            String::from("7"),
            String::from(r#"{"kty":"oct","kid":"a","k":"AAAA"}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed448","kid":"a","x":"{X}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"","x":"{X}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}AA"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"HS256","x":"{X}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","use":"enc","x":"{X}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","key_ops":["sign"],"x":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","kid":"a","x":"{X}"}}"#),
            String::from(r#"{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}"#),
        ] {
            assert!(read(&key).unwrap().is_empty(), "{key}");
        }
    }

    #[test]
    fn an_rsa_key_below_2048_bits_or_with_exponent_one_is_passed_over() {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let rsa = |n: &[u8], e: &[u8]| {
            let (n, e) = (BASE64.encode(n), BASE64.encode(e));
            read(&format!(r#"{{"kty":"RSA","kid":"a","n":"{n}","e":"{e}"}}"#)).unwrap().len()
        };
        assert_eq!(rsa(&[0xff; 256], &[1, 0, 1]), 1);
        assert_eq!(rsa(&[0x7f; 256], &[1, 0, 1]), 0);
        assert_eq!(rsa(&[0xff; 255], &[1, 0, 1]), 0);
        assert_eq!(rsa(&[0xff; 256], &[1]), 0);
        assert_eq!(rsa(&[0xff; 256], &[2]), 0);
    }

    #[test]
    fn documents_that_are_wrong_as_a_whole_are_refused() {
        let twice = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}"}}"#);
        let private = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}","d":"{X}"}}"#);
        for keys in [format!("{twice},{twice}"), private, vec!["1"; 257].join(",")] {
            read(&keys).unwrap_err();
        }
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#, r#"{"keys":[],"keys":[]}"#] {
            KeySet::from_jwks(text).unwrap_err();
        }
        KeySet::from_jwks(&format!(r#"{{"keys":[]}}{}"#, " ".repeat(MAX_DOCUMENT))).unwrap_err();
    }

    #[test]
    fn a_short_hmac_secret_is_refused() {
        KeySet::default().add_hs256("a", &[1; 31]).unwrap_err();
        KeySet::default().add_hs256("a", &[1; 32]).unwrap();
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut set = KeySet::default();
        set.add_hs256("a", &[77; 32]).unwrap();
        assert!(!format!("{set:?}").contains("77"));
    }
}
