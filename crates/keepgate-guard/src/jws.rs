//! The outer shape of a token: JWS compact serialisation (RFC 7515 §7.1) with a header that says
//! `at+jwt` and names a key, and nothing that could make a verifier look elsewhere for one.
//!
//! Nothing here is trusted yet: the header is the attacker's until the signature is verified. So
//! the header never chooses an algorithm, only a key; and members that carry or point to keys,
//! change what is signed, or announce another format are refused rather than ignored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::json;
use crate::refusal::Refusal;

/// Longest token that is looked at, bytes. Keepgate's own are below 1 KiB.
pub(crate) const MAX_TOKEN: usize = 8 * 1024;

/// Header members that no access token of Keepgate carries and that are dangerous to ignore:
/// critical extensions and unencoded payloads (RFC 7515 §4.1.11, RFC 7797), keys and pointers to
/// keys (RFC 8725 §3.5, §3.10), nesting, encryption and compression (RFC 8725 §3.6).
const REFUSED_MEMBERS: [&str; 11] =
    ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "cty", "enc", "zip"];

/// A token taken apart; the signature is not verified yet.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    /// `alg` as written.
    pub alg: String,
    /// `kid` as written.
    pub kid: String,
    /// What is signed: header and claims as they came.
    pub message: &'a str,
    /// The claims, still encoded.
    pub claims: &'a str,
    /// The signature, still encoded, known to be canonical base64url.
    pub signature: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    typ: Option<String>,
    kid: Option<String>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart. `accepts` says which `alg` values are known at all.
    pub fn parse(token: &'a str, accepts: impl Fn(&str) -> bool) -> Result<Self, Refusal> {
        let (message, claims, signature) = parts(token).ok_or(Refusal::Malformed)?;
        let header = message.strip_suffix(claims).and_then(|rest| rest.strip_suffix('.'));
        let header = header.and_then(decode).ok_or(Refusal::Malformed)?;
        let header = json::object::<Header>(&header).ok_or(Refusal::Malformed)?;
        if REFUSED_MEMBERS.iter().any(|name| header.names.contains(*name)) {
            return Err(Refusal::Malformed);
        }
        let Header { alg, typ, kid } = header.fields;
        let alg = alg.filter(|alg| accepts(alg)).ok_or(Refusal::Algorithm)?;
        if !typ.is_some_and(|typ| is_access_token(&typ)) {
            return Err(Refusal::Type);
        }
        let kid = kid.ok_or(Refusal::UnknownKey)?;
        decode(signature).ok_or(Refusal::Malformed)?;
        Ok(Self { alg, kid, message, claims, signature })
    }
}

/// Header and claims together, claims, signature. A JWE has five parts and is refused here.
fn parts(token: &str) -> Option<(&str, &str, &str)> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    (!header.is_empty() && !claims.contains('.')).then_some((message, claims, signature))
}

/// Canonical base64url: no padding, no white space, no stray bits in the last character, so that
/// no two texts stand for the same bytes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// RFC 9068 §4: `at+jwt` or `application/at+jwt`, media types in any case.
fn is_access_token(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_parts_are_a_token() {
        assert_eq!(parts("a.b.c"), Some(("a.b", "b", "c")));
        for text in ["", ".", "..", ".b.c", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(decode("AA"), Some(vec![0]));
        for text in ["AB", "AA==", "AA=", "A A", "A+", "A/", "AA\n", "A", "Aé"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
