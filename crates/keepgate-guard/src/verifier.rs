//! From a token's text to claims that may be acted on.
//!
//! Follows RFC 9068 §4 and RFC 8725: the key decides the algorithm; issuer, audience, type and key
//! id are insisted on; nothing of the token is believed before its signature is verified, but that it
//! has expired: that can only refuse, and an old token sent again and again must not cost a signature
//! each time. A token that was verified before is remembered, and a hit still proves that it has not
//! expired, that its key is still one of the keys, and that it was not revoked meanwhile.
//!
//! One audience only: `aud` is accepted as the expected text or as an array of that one text. A
//! token for several audiences could be replayed here by any of the others (RFC 9068 §5), and
//! Keepgate issues none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::cache::{Remembered, Tokens};
use crate::claims::{self, Claims, Payload};
use crate::jws::{self, Jws};
use crate::keys::{self, KeySet, VerificationKey};
use crate::refusal::Refusal;
use crate::view::{Listener, RevocationView};

/// The greatest leeway a verifier can be given, seconds. [`RevocationView::prune`] relies on it.
pub const MAX_LEEWAY: i64 = 300;

/// What a verifier insists on.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// The one accepted `iss`.
    pub issuer: String,
    /// The one accepted `aud`.
    pub audience: String,
    /// Clock difference allowed, seconds: 0 to [`MAX_LEEWAY`]; values outside are cut to it.
    pub leeway: i64,
    /// Verified tokens remembered; 0 remembers none.
    pub cache_entries: usize,
}

/// Verifies access tokens. Shared by all threads.
#[derive(Debug)]
pub struct Verifier {
    expectations: Expectations,
    view: Arc<RevocationView>,
    keys: ArcSwap<Keys>,
    /// The generation of `keys`, to be read without loading them.
    generation: AtomicU64,
    replacing: Mutex<()>,
    tokens: Option<Tokens>,
}

/// A token that was verified. Whoever opens something that outlives its request keeps it, and asks
/// [`Verifier::still_holds`] whether that may go on.
#[derive(Clone, Debug)]
pub struct Verified(Arc<Remembered>);

impl Verified {
    /// The token's claims.
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0.claims
    }
}

#[derive(Debug)]
struct Keys {
    set: KeySet,
    generation: u64,
}

impl Verifier {
    /// A verifier that knows `keys` and consults `view` for every token.
    pub fn new(mut expectations: Expectations, keys: KeySet, view: Arc<RevocationView>) -> Self {
        // With a second provider compiled in by some other crate, jsonwebtoken would refuse to
        // choose. Failing means that one was chosen already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        expectations.leeway = expectations.leeway.clamp(0, MAX_LEEWAY);
        Self {
            tokens: (expectations.cache_entries > 0).then(|| Tokens::new(expectations.cache_entries)),
            expectations,
            view,
            keys: ArcSwap::from_pointee(Keys { set: keys, generation: 0 }),
            generation: AtomicU64::new(0),
            replacing: Mutex::new(()),
        }
    }

    /// Replaces the keys; tokens of a key that is gone are refused from now on, remembered or not.
    pub fn replace_keys(&self, keys: KeySet) {
        let _one_at_a_time = self.replacing.lock();
        let generation = self.keys.load().generation + 1;
        self.keys.store(Arc::new(Keys { set: keys, generation }));
        self.generation.store(generation, Ordering::Release);
        self.view.tell();
    }

    /// Verifies one token at `now` (seconds since the epoch).
    ///
    /// # Errors
    /// A [`Refusal`] that says why; the first that applies, in the order of the checks.
    pub fn verify(&self, token: &str, now: i64) -> Result<Arc<Claims>, Refusal> {
        self.check(token, now).map(|verified| Arc::clone(verified.claims()))
    }

    /// Whether what was begun with a token may go on: the token is not revoked, nor its key. Neither its
    /// expiry nor a key's ordinary retirement is looked at: they bound beginnings, and would cut everything
    /// open at each rotation. Costs two loads while nothing was revoked in between.
    ///
    /// # Errors
    /// [`Refusal::Revoked`]
    pub fn still_holds(&self, verified: &Verified) -> Result<(), Refusal> {
        self.not_revoked(&verified.0)
    }

    /// Calls `listener` after everything that may turn an answer of [`Self::still_holds`] from yes to no,
    /// for as long as it is kept: see [`RevocationView::on_change`].
    pub fn on_change(&self, listener: &Listener) {
        self.view.on_change(listener);
    }

    /// As [`Self::verify`], for whoever asks again later.
    ///
    /// # Errors
    /// A [`Refusal`] that says why; the first that applies, in the order of the checks.
    pub fn check(&self, token: &str, now: i64) -> Result<Verified, Refusal> {
        self.recall(token, now).unwrap_or_else(|| self.verify_afresh(token, now))
    }

    /// The first half of [`Self::check`]: what is remembered of a token, with all that a remembered
    /// token still has to prove. `None`: nothing is, and only a signature can tell.
    ///
    /// Apart from the second half for whoever wants to bound the work that strangers can ask for: a
    /// caller whose tokens fail again and again can be turned away between the two, while tokens that
    /// were good before are served as ever.
    pub fn recall(&self, token: &str, now: i64) -> Option<Result<Verified, Refusal>> {
        let tokens = self.tokens.as_ref()?;
        let remembered = tokens.find(token)?;
        match self.remembered_holds(&remembered, now) {
            Some(Ok(())) => Some(Ok(Verified(remembered))),
            // Kept, so that whoever sends it again until it expires buys no more signatures with it.
            Some(Err(refusal @ (Refusal::NotYetValid | Refusal::Revoked))) => Some(Err(refusal)),
            Some(Err(refusal)) => {
                tokens.forget(token);
                Some(Err(refusal))
            }
            // Its key is no longer the one that verified it: nothing is known about it.
            None => {
                tokens.forget(token);
                None
            }
        }
    }

    /// Forgets remembered tokens that have expired by `now`: memory only, they are refused anyway. Call it
    /// now and then; otherwise they stay until newer ones take their places.
    pub fn prune(&self, now: i64) {
        if let Some(tokens) = &self.tokens {
            tokens.prune(now, self.expectations.leeway);
        }
    }

    /// How many tokens with good signatures are remembered now.
    pub fn remembered(&self) -> usize {
        self.tokens.as_ref().map_or(0, Tokens::len)
    }

    /// What a remembered token still has to prove; `None` if its key is gone.
    fn remembered_holds(&self, remembered: &Remembered, now: i64) -> Option<Result<(), Refusal>> {
        if let Err(refusal) = self.check_time(&remembered.claims, remembered.not_before, now) {
            return Some(Err(refusal));
        }
        self.not_withdrawn(remembered)
    }

    /// Whether the token was revoked since it was last looked at; `None` if its key is gone.
    fn not_withdrawn(&self, remembered: &Remembered) -> Option<Result<(), Refusal>> {
        if remembered.generation.load(Ordering::Relaxed) != self.generation.load(Ordering::Acquire) {
            let keys = self.keys.load();
            let known = keys.set.key(&remembered.key.kid);
            known.filter(|key| key.is_same(&remembered.key))?;
            remembered.generation.store(keys.generation, Ordering::Relaxed);
        }
        Some(self.not_revoked(remembered))
    }

    fn not_revoked(&self, remembered: &Remembered) -> Result<(), Refusal> {
        // The version first, then the question: see the view's invariant.
        let version = self.view.version();
        if remembered.checked.load(Ordering::Relaxed) != version {
            if self.view.is_revoked(&remembered.claims, &remembered.key.kid).is_some() {
                return Err(Refusal::Revoked);
            }
            remembered.checked.store(version, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The second half of [`Self::check`]: verifies a token as if nobody had seen it before, which
    /// costs a signature (tens of microseconds) unless its form is wrong or it says that it has expired,
    /// and remembers it if it is good but for its revocation.
    ///
    /// # Errors
    /// As [`Self::verify`]'s.
    pub fn verify_afresh(&self, token: &str, now: i64) -> Result<Verified, Refusal> {
        let keys = self.keys.load();
        let version = self.view.version();
        let jws = Jws::parse(token, |alg| keys::algorithm(alg).is_some())?;
        let key = keys.set.key(&jws.kid).ok_or(Refusal::UnknownKey)?;
        let Payload { claims, not_before, audiences } = self.authentic(&jws, key, now)?;
        if claims.iss != self.expectations.issuer {
            return Err(Refusal::Issuer);
        }
        if audiences != 1 || claims.aud != self.expectations.audience {
            return Err(Refusal::Audience);
        }
        self.check_time(&claims, not_before, now)?;
        let revoked = self.view.is_revoked(&claims, &key.kid).is_some();
        let remembered = Arc::new(Remembered {
            claims: Arc::new(claims),
            not_before,
            key: Arc::clone(key),
            generation: AtomicU64::new(keys.generation),
            checked: AtomicU64::new(if revoked { Remembered::NEVER } else { version }),
        });
        if let Some(tokens) = &self.tokens {
            tokens.remember(token, Arc::clone(&remembered));
        }
        if revoked { Err(Refusal::Revoked) } else { Ok(Verified(remembered)) }
    }

    /// The payload, once the key that the token names has been seen to have signed it.
    fn authentic(&self, jws: &Jws<'_>, key: &VerificationKey, now: i64) -> Result<Payload, Refusal> {
        if !key.verifies(&jws.alg) {
            return Err(Refusal::Algorithm);
        }
        let payload = jws::decode(jws.claims).ok_or(Refusal::Malformed);
        let expiry = payload.as_ref().ok().and_then(|payload| claims::expiry(payload));
        if expiry.is_some_and(|exp| self.is_past(exp, now)) {
            return Err(Refusal::Expired);
        }
        if !key.is_signature(jws.message, jws.signature) {
            return Err(Refusal::Signature);
        }
        Payload::read(&payload?).ok_or(Refusal::Malformed)
    }

    const fn is_past(&self, exp: i64, now: i64) -> bool {
        now >= exp.saturating_add(self.expectations.leeway)
    }

    /// RFC 7519 §4.1.4–6: good from `iat` and `nbf` on, and strictly before `exp`, give or take the
    /// leeway.
    fn check_time(&self, claims: &Claims, not_before: i64, now: i64) -> Result<(), Refusal> {
        let leeway = self.expectations.leeway;
        if self.is_past(claims.exp, now) {
            return Err(Refusal::Expired);
        }
        if claims.iat.max(not_before) > now.saturating_add(leeway) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }
}
