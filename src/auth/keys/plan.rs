//! What is to happen to the signing keys: pure decisions on the list of keys and the time.
//!
//! The life of a key is `Next → Active → Retiring → Retired`. Every plan here leaves one active and
//! one next key, if it found no more than one of each: whoever verifies by a cached JWKS has heard
//! of a key before it signs, and there is always one to fall back on when the active one leaks.

use std::time::Duration;

use super::error::KeyError;
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::model::time::Timestamp;

/// How keys live, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What new keys sign with.
    pub algorithm: KeyAlgorithm,
    /// How long a key signs; zero: until a command says otherwise.
    pub rotate_every: Duration,
    /// How long a verifier may not know of a published key.
    pub jwks_max_age: Duration,
    /// How long after a key's last signature a token of it may be accepted.
    pub drain: Duration,
}

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no active or no next key: make what is missing.
    Fill,
    /// The configured algorithm is not the next key's: replace it, so that the next rotation
    /// brings the new algorithm.
    ReplaceNext,
    /// The active key has signed long enough, and the next one is known to all.
    Rotate,
    /// The tokens of a retiring key have all expired.
    Expire,
}

impl Step {
    /// A stable word for audit events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fill => "missing",
            Self::ReplaceNext => "algorithm_changed",
            Self::Rotate => "schedule",
            Self::Expire => "expired",
        }
    }
}

/// What one bundle shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Keys that move on.
    pub moves: Vec<(KeyId, KeyState)>,
    /// Keys to make, by the state they begin in.
    pub fresh: Vec<KeyState>,
    /// A key all of whose tokens are refused from now on.
    pub revoked: Option<KeyId>,
}

/// The first thing that the clock asks for, if anything.
pub fn due(keys: &[SealedKey], now: Timestamp, policy: &Policy) -> Option<Step> {
    let (Some(active), Some(next)) = (in_state(keys, KeyState::Active), in_state(keys, KeyState::Next))
    else {
        return Some(Step::Fill);
    };
    let worn = !policy.rotate_every.is_zero() && active.changed_at.plus(policy.rotate_every) <= now;
    if next.algorithm != policy.algorithm {
        Some(Step::ReplaceNext)
    } else if worn && known_by(next, policy) <= now {
        Some(Step::Rotate)
    } else if keys.iter().any(|key| is_drained(key, now, policy)) {
        Some(Step::Expire)
    } else {
        None
    }
}

/// The plan for a step.
pub(super) fn scheduled(step: Step, keys: &[SealedKey], now: Timestamp, policy: &Policy) -> Plan {
    let next = in_state(keys, KeyState::Next).map(|key| key.id.clone());
    match step {
        Step::Fill if in_state(keys, KeyState::Active).is_some() => {
            Plan { fresh: vec![KeyState::Next], ..Plan::default() }
        }
        Step::Fill => succession(keys, Vec::new()),
        Step::ReplaceNext => Plan {
            moves: next.into_iter().map(|id| (id, KeyState::Retired)).collect(),
            fresh: vec![KeyState::Next],
            revoked: None,
        },
        Step::Rotate => relief(keys),
        Step::Expire => Plan {
            moves: keys
                .iter()
                .filter(|key| is_drained(key, now, policy))
                .map(|key| (key.id.clone(), KeyState::Retired))
                .collect(),
            ..Plan::default()
        },
    }
}

/// A rotation by command.
pub(super) fn rotation(
    keys: &[SealedKey],
    now: Timestamp,
    policy: &Policy,
    force: bool,
) -> Result<Plan, KeyError> {
    match in_state(keys, KeyState::Next) {
        Some(next) if !force && now < known_by(next, policy) => Err(KeyError::TooYoung {
            id: next.id.clone(),
            published_at: next.changed_at,
            ready_at: known_by(next, policy),
        }),
        _ => Ok(relief(keys)),
    }
}

/// Taking one key out of use. A compromised one may be in any state, retired included: a verifier
/// with an old JWKS may still accept it, and hears of the revocation.
pub(super) fn retirement(keys: &[SealedKey], id: &KeyId, compromised: bool) -> Result<Plan, KeyError> {
    let key = keys.iter().find(|key| key.id == *id).ok_or_else(|| KeyError::Unknown(id.clone()))?;
    let retired = vec![(id.clone(), KeyState::Retired)];
    let plan = match key.state {
        KeyState::Active if compromised => succession(keys, retired),
        KeyState::Active => return Err(KeyError::Signing(id.clone())),
        KeyState::Next => Plan { moves: retired, fresh: vec![KeyState::Next], revoked: None },
        KeyState::Retiring => Plan { moves: retired, ..Plan::default() },
        KeyState::Retired if compromised => Plan::default(),
        KeyState::Retired => return Err(KeyError::AlreadyRetired(id.clone())),
    };
    Ok(Plan { revoked: compromised.then(|| id.clone()), ..plan })
}

/// The active key retires in peace and the next one takes over.
fn relief(keys: &[SealedKey]) -> Plan {
    let active = in_state(keys, KeyState::Active).map(|key| (key.id.clone(), KeyState::Retiring));
    succession(keys, active.into_iter().collect())
}

/// The next key becomes active, or a new one where there is none; and a new next one is made.
fn succession(keys: &[SealedKey], mut moves: Vec<(KeyId, KeyState)>) -> Plan {
    let next = in_state(keys, KeyState::Next).map(|key| (key.id.clone(), KeyState::Active));
    let fresh = if next.is_some() { vec![KeyState::Next] } else { vec![KeyState::Active, KeyState::Next] };
    moves.extend(next);
    Plan { moves, fresh, revoked: None }
}

fn in_state(keys: &[SealedKey], state: KeyState) -> Option<&SealedKey> {
    keys.iter().find(|key| key.state == state)
}

/// When every verifier has heard of a published key.
fn known_by(next: &SealedKey, policy: &Policy) -> Timestamp {
    next.changed_at.plus(policy.jwks_max_age)
}

fn is_drained(key: &SealedKey, now: Timestamp, policy: &Policy) -> bool {
    key.state == KeyState::Retiring && key.changed_at.plus(policy.drain) <= now
}
