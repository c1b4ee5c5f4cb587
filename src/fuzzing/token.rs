//! Access tokens: nothing verifies but what a key signed, and nothing that a key signed verifies but what
//! Keepgate issues.
//!
//! An input is a token as it stands, or (`+` first) a header, a newline and a payload, which are signed
//! here: so a fuzzer gets past the signature, to all that is checked behind it.

#![expect(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null")]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use keepgate_guard::claims::Claims;
use keepgate_guard::keys::KeySet;
use keepgate_guard::refusal::Refusal;
use keepgate_guard::verifier::{Expectations, Verifier};
use keepgate_guard::view::RevocationView;
use serde_json::Value;

use super::jwks::members;

/// When it is, seconds.
pub(super) const NOW: i64 = 1_790_000_000;
const LEEWAY: i64 = 5;
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "keepgate";
/// HS256's secret; the seed of the EdDSA key, whose public half the JWKS below has as `signed-here`.
const SECRET: [u8; 32] = [7; 32];
/// The public keys, and one good token of each algorithm; their private halves are gone.
pub(super) const KEYS: &str = include_str!("keys/jwks.json");
pub(super) const TOKENS: &str = include_str!("keys/tokens.txt");

/// The tokens that verify, with their claims.
static GOOD: LazyLock<Vec<(&str, Arc<Claims>)>> = LazyLock::new(|| {
    let verifier = verifier();
    let claims = |token| verifier.verify(token, NOW).unwrap_or_else(|why| panic!("{token}: {why}"));
    TOKENS.lines().map(|token| (token, claims(token))).collect()
});

static SIGNER: LazyLock<Ed25519KeyPair> = LazyLock::new(|| {
    Ed25519KeyPair::from_seed_unchecked(&SECRET).unwrap_or_else(|_| panic!("a seed is a key"))
});

static VERIFIER: LazyLock<Verifier> = LazyLock::new(verifier);

pub(super) fn verifier() -> Verifier {
    let mut keys = KeySet::from_jwks(KEYS).unwrap_or_else(|error| panic!("{error}"));
    keys.add_hs256("hs", &SECRET).unwrap_or_else(|error| panic!("{error}"));
    verifier_of(keys)
}

pub(super) fn verifier_of(keys: KeySet) -> Verifier {
    let expectations =
        Expectations { issuer: ISSUER.into(), audience: AUDIENCE.into(), leeway: LEEWAY, cache_entries: 8 };
    Verifier::new(expectations, keys, Arc::new(RevocationView::default()))
}

/// `crates/keepgate-guard` over a token, or over what a token says.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.strip_prefix('+').and_then(|rest| rest.split_once('\n')) {
        Some((header, payload)) => signed(header, payload),
        None => presented(text),
    }
}

fn verify(token: &str) -> Result<Arc<Claims>, Refusal> {
    let first = VERIFIER.verify(token, NOW);
    assert_eq!(VERIFIER.verify(token, NOW), first, "remembered, it is another token");
    if let Ok(claims) = &first {
        assert_eq!(VERIFIER.verify(token, claims.exp + LEEWAY), Err(Refusal::Expired));
        assert_eq!(VERIFIER.verify(token, NOW), first, "asked again, it is another token");
    }
    first
}

/// A signature can be written otherwise (ECDSA's s and n-s); the claims cannot.
fn presented(token: &str) {
    let known = GOOD.iter().find(|(good, _)| *good == token);
    match verify(token) {
        Ok(claims) => assert!(GOOD.iter().any(|(_, good)| *good == claims), "{claims:?} was never signed"),
        Err(why) => assert!(known.is_none(), "a good token is refused: {why}"),
    }
}

fn signed(header: &str, payload: &str) {
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
    let signature = BASE64.encode(SIGNER.sign(message.as_bytes()));
    let token = format!("{message}.{signature}");
    let Ok(claims) = verify(&token) else { return };
    assert!(token.len() <= 8 * 1024);
    check_header(header);
    check_payload(payload, &claims);
}

fn check_header(header: &str) {
    let (names, value) = strict(header);
    assert_eq!((&value["alg"], &value["kid"]), (&"EdDSA".into(), &"signed-here".into()), "{header}");
    let typ = value["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
    assert!(["at+jwt", "application/at+jwt"].contains(&typ.as_str()), "{header}");
    for refused in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "cty", "enc", "zip"] {
        assert!(!names.contains(refused), "{header} was believed");
    }
}

fn check_payload(payload: &str, claims: &Claims) {
    let (_, value) = strict(payload);
    let audience = value["aud"].as_str().or_else(|| match value["aud"].as_array().map(Vec::as_slice) {
        Some([only]) => only.as_str(),
        _ => None,
    });
    assert_eq!((claims.iss.as_str(), audience), (ISSUER, Some(AUDIENCE)), "{payload}");
    let not_before = value["nbf"].as_i64().unwrap_or(0).max(claims.iat);
    assert!(claims.exp + LEEWAY > NOW && not_before <= NOW + LEEWAY, "{payload} holds at another time");
    for (name, said) in [("iat", claims.iat), ("exp", claims.exp), ("auth_time", claims.auth_time)] {
        assert_eq!(value[name].as_i64(), Some(said), "{name} of {payload}");
    }
    assert_eq!(value["seq"].as_u64(), Some(claims.seq), "{payload}");
    for (name, said) in [("sub", claims.sub), ("sid", claims.sid), ("jti", claims.jti)] {
        assert_eq!(
            value[name].as_str().and_then(|text| text.parse().ok()),
            Some(said),
            "{name} of {payload}"
        );
    }
}

/// An object in which no name stands twice, and its names.
fn strict(text: &str) -> (BTreeSet<String>, Value) {
    let Some(all) = members(text) else { panic!("{text:?} is no object") };
    let names: BTreeSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), all.len(), "a name stands twice in {text}");
    (names, Value::Object(all.into_iter().collect()))
}

/// For the corpus: the good tokens, and one as its parts.
#[cfg(test)]
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let parts = TOKENS.lines().last().unwrap_or_default().split('.').take(2);
    let decoded: Vec<_> = parts.map(|part| BASE64.decode(part).unwrap_or_default()).collect();
    let whole = [b"+", decoded.join(&b'\n').as_slice()].concat();
    let twice = String::from_utf8_lossy(&whole);
    let header = twice.replacen('{', "{\"alg\":\"EdDSA\",", 1);
    let payload = twice.replacen("\n{", "\n{\"sub\":\"00000000-0000-0000-0000-000000000001\",", 1);
    let crit = twice.replacen('{', "{\"crit\":[],", 1);
    let edited = [header, payload, crit].map(String::into_bytes);
    TOKENS.lines().map(|token| token.as_bytes().to_vec()).chain([whole.clone()]).chain(edited).collect()
}
