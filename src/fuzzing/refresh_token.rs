//! Refresh tokens: one spelling each, and no text is genuine that was not issued.

use std::sync::LazyLock;

use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::auth::sessions::token::{Presented, RefreshKeys};
use crate::model::id::SessionId;
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::SeededRng;

static KEYS: LazyLock<RefreshKeys> = LazyLock::new(|| {
    RefreshKeys::new(&MasterKey::generate(&SeededRng::new(1)).derive(Purpose::RefreshTokens))
});

/// The tokens that were issued: a first one and its successors.
static ISSUED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let first = KEYS.first(SessionId(Uuid::from_bytes([9; 16])), &SeededRng::new(7));
    let family = std::iter::successors(Some(first), |token| Some(KEYS.successor(token, &[3; 16])));
    family.take(3).map(|token| KEYS.text(&token).expose_secret().to_owned()).collect()
});

/// `auth/sessions/token.rs` over any text.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(presented) = Presented::parse(text) else {
        assert!(!ISSUED.iter().any(|issued| issued == text), "an issued token is refused");
        return;
    };
    assert!(text.len() == 106 && text.starts_with("kgr_"), "{text:?}");
    match KEYS.recognise(&presented) {
        Some(genuine) => {
            assert!(ISSUED.iter().any(|issued| issued == text), "a forgery is genuine: {text:?}");
            assert_eq!(KEYS.text(&genuine).expose_secret(), text, "it has two spellings");
        }
        None => assert!(!ISSUED.iter().any(|issued| issued == text), "an issued token is a forgery"),
    }
}

/// The issued ones, for the corpus.
#[cfg(test)]
pub(super) fn seeds() -> Vec<Vec<u8>> {
    ISSUED.iter().map(|text| text.clone().into_bytes()).collect()
}
