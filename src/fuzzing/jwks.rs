//! JWKS documents as a service downloads them: never a panic, here or when a token is held against a
//! key of theirs, and no key of theirs makes a stranger's token good.

#![expect(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null")]

use std::fmt;

use keepgate_guard::keys::KeySet;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::token;

/// `KeySet::from_jwks` over any text.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(keys) = KeySet::from_jwks(text) else { return };
    assert!(keys.len() <= 256 && text.len() <= 256 * 1024);
    let Ok(document) = serde_json::from_str::<Value>(text) else { panic!("not JSON, and read") };
    let listed = document["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(keys.len() <= listed.len());
    assert!(listed.iter().all(|key| key.get("d").is_none()), "a private key was passed over in silence");
    // Each algorithm's path through the crypto library, with whatever the document calls a key.
    let (theirs, ours) = (token::verifier_of(keys), token::verifier());
    for good in token::TOKENS.lines() {
        let verdict = theirs.verify(good, token::NOW);
        if let Ok(claims) = verdict {
            let same = listed.iter().any(is_ours);
            assert!(same && ours.verify(good, token::NOW).as_ref() == Ok(&claims), "{good} by {text}");
        }
    }
}

/// Whether a key's material is that of one of the keys that signed.
fn is_ours(key: &Value) -> bool {
    let ours: Value = serde_json::from_str(token::KEYS).unwrap_or_default();
    let numbers: &[&str] = match key["kty"].as_str() {
        Some("RSA") => &["n"],
        Some("EC") => &["x", "y"],
        _ => &["x"],
    };
    let same = |other: &Value| {
        other["kty"] == key["kty"] && numbers.iter().all(|name| other.get(name) == key.get(name))
    };
    ours["keys"].as_array().is_some_and(|ours| ours.iter().any(same))
}

/// The members of one JSON object in the order they are written, repeated ones too.
pub(crate) fn members(text: &str) -> Option<Vec<(String, Value)>> {
    serde_json::from_str::<Members>(text).ok().map(|members| members.0)
}

struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let mut all = Vec::new();
        while let Some(member) = map.next_entry()? {
            all.push(member);
        }
        Ok(Members(all))
    }
}
