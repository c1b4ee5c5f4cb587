//! Verified tokens, remembered so that the next request with the same token costs no signature.
//!
//! The whole token is compared, never only a hash of it: a hit is the very text that was verified.
//! Only tokens with good signatures are remembered, so an attacker cannot fill the memory with garbage.
//! What a hit still has to prove is the [`crate::verifier::Verifier`]'s business.

use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};

use crate::claims::Claims;
use crate::keys::VerificationKey;

/// A token whose signature was good.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub claims: Arc<Claims>,
    pub not_before: i64,
    pub key: Arc<VerificationKey>,
    /// The generation of the key set that `key` is known to be in.
    pub generation: AtomicU64,
    /// The version of the revocation view at which the token was last seen not to be revoked.
    pub checked: AtomicU64,
}

impl Remembered {
    /// Never: no version is this great.
    pub const NEVER: u64 = u64::MAX;
}

/// A bounded set of tokens with good signatures.
#[derive(Debug)]
pub(crate) struct Tokens(Cache<Text, Arc<Remembered>, UnitWeighter, RandomState>);

impl Tokens {
    /// At most `entries` tokens.
    pub fn new(entries: usize) -> Self {
        Self(Cache::with(
            entries,
            u64::try_from(entries).unwrap_or(u64::MAX),
            UnitWeighter,
            RandomState::new(),
            DefaultLifecycle::default(),
        ))
    }

    pub fn find(&self, token: &str) -> Option<Arc<Remembered>> {
        self.0.get(&Presented(token))
    }

    pub fn remember(&self, token: &str, remembered: Arc<Remembered>) {
        self.0.insert(Text(token.into()), remembered);
    }

    pub fn forget(&self, token: &str) {
        self.0.remove(&Presented(token));
    }

    /// Forgets those that had expired by `now`, with `leeway`.
    pub fn prune(&self, now: i64, leeway: i64) {
        self.0.retain(|_, remembered| now < remembered.claims.exp.saturating_add(leeway));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text(Box<str>);

struct Presented<'a>(&'a str);

/// Hashes the token's last 64 characters, which are its signature's (or, with HMAC, its signature
/// and the end of its claims): remembered tokens have good signatures, so nobody can choose many
/// that collide, and the hash is keyed with a secret of this process besides. Hashing all of a token
/// would cost several times the rest of a hit.
fn hash_tail(token: &str, state: &mut impl Hasher) {
    let bytes = token.as_bytes();
    state.write(bytes.last_chunk::<64>().map_or(bytes, |tail| tail));
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_tail(&self.0, state);
    }
}

impl Hash for Presented<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_tail(self.0, state);
    }
}

impl Equivalent<Text> for Presented<'_> {
    fn equivalent(&self, text: &Text) -> bool {
        *self.0 == *text.0
    }
}
