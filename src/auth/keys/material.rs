//! Key pairs: made by AWS-LC, described as JWKs, handed to jsonwebtoken to sign with.
//!
//! Key pairs come from AWS-LC's own generator and not from the `Rng` passed around: its key
//! generation takes none, and a seeded one must never reach a real key. HS256 secrets and the ids
//! of their keys come from the `Rng`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::model::key::{KeyAlgorithm, KeyId};
use crate::model::random::{self, Rng};

/// A key pair that was just made.
pub(super) struct Fresh {
    pub id: KeyId,
    /// The public JWK (RFC 7517), empty for HS256.
    pub public_jwk: String,
    /// PKCS#8 for EdDSA and ES256, PKCS#1 for RS256, the bare secret for HS256.
    pub private: Zeroizing<Vec<u8>>,
}

/// Makes a key pair. RSA takes tens to hundreds of milliseconds of processor time.
pub(super) fn generate(algorithm: KeyAlgorithm, rng: &dyn Rng) -> Option<Fresh> {
    let (public, private) = match algorithm {
        KeyAlgorithm::EdDSA => ed25519()?,
        KeyAlgorithm::ES256 => p256()?,
        KeyAlgorithm::RS256 => rsa()?,
        KeyAlgorithm::HS256 => return Some(secret(rng)),
    };
    let id = KeyId(thumbprint(&public)?);
    let mut jwk = public;
    let members = jwk.as_object_mut()?;
    members.insert("kid".into(), id.0.clone().into());
    members.insert("alg".into(), algorithm.name().into());
    members.insert("use".into(), "sig".into());
    Some(Fresh { id, public_jwk: jwk.to_string(), private })
}

fn ed25519() -> Option<(Value, Zeroizing<Vec<u8>>)> {
    let pair = Ed25519KeyPair::generate().ok()?;
    let public = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key())});
    let private = Zeroizing::new(pair.to_pkcs8().ok()?.as_ref().to_vec());
    Some((public, private))
}

fn p256() -> Option<(Value, Zeroizing<Vec<u8>>)> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    // SEC 1 §2.3.3: 4, then both coordinates in full width.
    let point = pair.public_key().as_ref().strip_prefix(&[4])?;
    let (x, y) = point.split_at_checked(32)?;
    let public = json!({"kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y)});
    let private = Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec());
    Some((public, private))
}

fn rsa() -> Option<(Value, Zeroizing<Vec<u8>>)> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
    let key = pair.public_key();
    let n = BASE64.encode(key.modulus().big_endian_without_leading_zero());
    let e = BASE64.encode(key.exponent().big_endian_without_leading_zero());
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    let private = Zeroizing::new(pkcs1(pkcs8.as_ref())?.to_vec());
    // What jsonwebtoken will do with it each time.
    RsaKeyPair::from_der(&private).ok()?;
    Some((json!({"kty": "RSA", "n": n, "e": e}), private))
}

/// The RSAPrivateKey (RFC 8017 A.1.2), which jsonwebtoken wants, inside a PKCS#8 of a 2048-bit key:
/// everything before it has a fixed length.
fn pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    pkcs8.get(26..).filter(|key| key.starts_with(&[0x30, 0x82]))
}

fn secret(rng: &dyn Rng) -> Fresh {
    let mut private = Zeroizing::new(vec![0; 32]);
    rng.fill(&mut private);
    let id = KeyId(BASE64.encode(random::bytes::<32>(rng)));
    Fresh { id, public_jwk: String::new(), private }
}

/// What jsonwebtoken signs with.
pub(super) fn encoding_key(algorithm: KeyAlgorithm, private: &[u8]) -> EncodingKey {
    match algorithm {
        KeyAlgorithm::EdDSA => EncodingKey::from_ed_der(private),
        KeyAlgorithm::ES256 => EncodingKey::from_ec_der(private),
        KeyAlgorithm::RS256 => EncodingKey::from_rsa_der(private),
        KeyAlgorithm::HS256 => EncodingKey::from_secret(private),
    }
}

/// Whether `public_jwk` is the public part that `id` was made from. As sealing binds the private
/// part to the id, this binds the public one: neither can be exchanged in the store.
pub(super) fn belongs(id: &KeyId, algorithm: KeyAlgorithm, public_jwk: &str) -> bool {
    if algorithm == KeyAlgorithm::HS256 {
        return public_jwk.is_empty();
    }
    let jwk: Option<Value> = serde_json::from_str(public_jwk).ok();
    let jwk = jwk.filter(|jwk| {
        jwk.get("kid").and_then(Value::as_str) == Some(&id.0)
            && jwk.get("alg").and_then(Value::as_str) == Some(algorithm.name())
    });
    jwk.as_ref().and_then(thumbprint).as_ref() == Some(&id.0)
}

/// RFC 7638 §3: SHA-256 over the required members in lexicographic order, base64url.
fn thumbprint(jwk: &Value) -> Option<String> {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).map(|value| json!(value));
    let canonical = match jwk.get("kty")?.as_str()? {
        "OKP" => format!(r#"{{"crv":{},"kty":"OKP","x":{}}}"#, member("crv")?, member("x")?),
        "EC" => {
            format!(r#"{{"crv":{},"kty":"EC","x":{},"y":{}}}"#, member("crv")?, member("x")?, member("y")?)
        }
        "RSA" => format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, member("e")?, member("n")?),
        _ => return None,
    };
    Some(BASE64.encode(digest(&SHA256, canonical.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;

    const ASYMMETRIC: [KeyAlgorithm; 3] = [KeyAlgorithm::EdDSA, KeyAlgorithm::ES256, KeyAlgorithm::RS256];

    #[test]
    fn a_thumbprint_is_the_one_of_the_rfcs() {
        // RFC 8037 A.3 and RFC 7638 §3.1.
        let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(thumbprint(&okp).unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let n = concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM",
            "stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5",
            "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        );
        let rsa = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        assert_eq!(thumbprint(&rsa).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_fresh_key_shows_its_public_part_only() {
        for algorithm in ASYMMETRIC {
            let fresh = generate(algorithm, &SeededRng::new(1)).unwrap();
            let jwk: Value = serde_json::from_str(&fresh.public_jwk).unwrap();
            assert!(jwk.get("d").is_none() && jwk.get("p").is_none());
            assert_eq!((jwk["kid"].as_str(), jwk["use"].as_str()), (Some(&*fresh.id.0), Some("sig")));
            assert!(belongs(&fresh.id, algorithm, &fresh.public_jwk));
        }
    }

    #[test]
    fn a_public_part_of_another_key_does_not_belong() {
        let (mine, other) = (
            generate(KeyAlgorithm::ES256, &SeededRng::new(1)),
            generate(KeyAlgorithm::ES256, &SeededRng::new(1)),
        );
        let (mine, other) = (mine.unwrap(), other.unwrap());
        let forged = other.public_jwk.replace(&other.id.0, &mine.id.0);
        assert!(!belongs(&mine.id, KeyAlgorithm::ES256, &forged));
        assert!(!belongs(&mine.id, KeyAlgorithm::EdDSA, &mine.public_jwk));
        assert!(!belongs(&mine.id, KeyAlgorithm::ES256, ""));
    }

    #[test]
    fn an_hmac_key_has_no_public_part_and_an_id_that_tells_nothing() {
        let fresh = generate(KeyAlgorithm::HS256, &SeededRng::new(1)).unwrap();
        assert_eq!((fresh.public_jwk.as_str(), fresh.private.len()), ("", 32));
        assert_eq!(BASE64.decode(&fresh.id.0).unwrap().len(), 32);
        assert_ne!(BASE64.decode(&fresh.id.0).unwrap(), *fresh.private);
    }
}
