//! The guard as a whole, from a token's text to a verdict. Each attack of RFC 8725 is a test of its
//! own in `rfc8725`; `properties` holds for any input, `memory` is about remembered tokens,
//! `revoking` about the view, `peers` asks an independent implementation.

mod memory;
mod peers;
mod properties;
mod revoking;
mod rfc8725;

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::claims::Claims;
use crate::keys::KeySet;
use crate::refusal::Refusal;
use crate::revocation::{Revocation, Subject};
use crate::verifier::{Expectations, Verifier};
use crate::view::RevocationView;

/// When the tests take place, seconds.
const NOW: i64 = 1_790_000_000;
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "keepgate";
const HMAC_SECRET: [u8; 32] = [7; 32];

enum Signer {
    EdDSA(Ed25519KeyPair),
    ES256(EcdsaKeyPair),
    RS256(Box<RsaKeyPair>),
    HS256([u8; 32]),
}

impl Signer {
    fn eddsa() -> Self {
        Self::EdDSA(Ed25519KeyPair::generate().unwrap())
    }

    fn es256() -> Self {
        Self::ES256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn rs256() -> Self {
        Self::RS256(Box::new(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap()))
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::EdDSA(_) => "EdDSA",
            Self::ES256(_) => "ES256",
            Self::RS256(_) => "RS256",
            Self::HS256(_) => "HS256",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::EdDSA(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key())})
            }
            Self::ES256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Self::RS256(pair) => {
                let public = pair.public_key();
                let n = BASE64.encode(public.modulus().big_endian_without_leading_zero());
                let e = BASE64.encode(public.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": n, "e": e})
            }
            Self::HS256(_) => panic!("a symmetric key has no public JWK"),
        };
        jwk["kid"] = kid.into();
        jwk["alg"] = self.alg().into();
        jwk["use"] = "sig".into();
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::EdDSA(pair) => pair.sign(message).as_ref().to_vec(),
            Self::ES256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::RS256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
            Self::HS256(secret) => hmac_sha256(secret, message),
        }
    }

    /// A token of exactly these bytes.
    fn token(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        format!("{message}.{}", BASE64.encode(self.sign(message.as_bytes())))
    }
}

fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// One signer of kid `k1` and a verifier that knows it.
struct World {
    signer: Signer,
    view: Arc<RevocationView>,
    verifier: Verifier,
}

impl World {
    fn new() -> Self {
        Self::of(Signer::eddsa())
    }

    fn of(signer: Signer) -> Self {
        let mut keys = KeySet::default();
        if let Signer::HS256(secret) = &signer {
            keys.add_hs256("k1", secret).unwrap();
        } else {
            keys = KeySet::from_jwks(&jwks(&[signer.jwk("k1")])).unwrap();
        }
        Self::knowing(signer, keys)
    }

    fn knowing(signer: Signer, keys: KeySet) -> Self {
        let view = Arc::new(RevocationView::default());
        let verifier = Verifier::new(expectations(), keys, Arc::clone(&view));
        Self { signer, view, verifier }
    }

    fn header(&self) -> Value {
        json!({"alg": self.signer.alg(), "typ": "at+jwt", "kid": "k1"})
    }

    /// A good token with some header members replaced (`null` removes).
    fn with_header(&self, changes: Value) -> String {
        let header = merged(self.header(), changes);
        self.signer.token(header.to_string(), payload().to_string())
    }

    /// A good token with some claims replaced (`null` removes).
    fn with_claims(&self, changes: Value) -> String {
        self.signer.token(self.header().to_string(), merged(payload(), changes).to_string())
    }

    fn good(&self) -> String {
        self.with_claims(json!({}))
    }

    fn verify(&self, token: &str) -> Result<Arc<Claims>, Refusal> {
        self.verifier.verify(token, NOW)
    }

    fn refusal(&self, token: &str) -> Refusal {
        self.verify(token).expect_err("the token should be refused")
    }
}

fn expectations() -> Expectations {
    Expectations { issuer: ISSUER.into(), audience: AUDIENCE.into(), leeway: 5, cache_entries: 100 }
}

fn claims() -> Claims {
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: Uuid::from_u128(1),
        sid: Uuid::from_u128(2),
        jti: Uuid::from_u128(3),
        client_id: "keepgate".into(),
        seq: 10,
        iat: NOW - 60,
        exp: NOW + 540,
        auth_time: NOW - 3600,
        amr: vec!["pwd".into()],
        roles: vec!["admin".into()],
        scope: "read".into(),
    }
}

fn payload() -> Value {
    serde_json::to_value(claims()).unwrap()
}

fn merged(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap().clone() {
        if value.is_null() {
            members.remove(&name)
        } else {
            members.insert(name, value)
        };
    }
    object
}

fn revocation(seq: u64, subject: Subject) -> Revocation {
    Revocation { seq, subject, cause: "logout".into(), at: NOW * 1000, expires_at: (NOW + 600) * 1000 }
}
