//! Signing keys: made, sealed, published before they sign, rotated by schedule and by command,
//! retired, and revoked with everything they signed when they leak.
//!
//! [`plan`] decides, purely, from the list of keys and the time; [`KeyRing`] carries a plan out as
//! one bundle with its audit events; [`live`] puts what was committed in force before the command
//! is answered. The bundle depends on the set of keys, so of two commands at once one decides afresh
//! and there is never a second active key.

pub mod error;
pub mod live;
pub mod master;
mod material;
pub mod plan;
mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use keepgate_guard::keys::KeySet;
use serde::Serialize;

use self::error::KeyError;
use self::live::{Jwks, LiveKeys};
use self::plan::{Plan, Policy, Step};
use self::seal::Sealer;
use super::commands::ATTEMPTS;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::config::keys::Keys;
use crate::config::tokens::Tokens;
use crate::model::caller::Actor;
use crate::model::change::{AuthChange, TokenChange};
use crate::model::event::{Intent, Outcome};
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::model::master_key::MasterKey;
use crate::model::random::SharedRng;
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::CommitError;
use crate::store::namespace::{AuthStore, TokenStore};

/// Steps that one tick takes at most; more than there are kinds of them, and never endless.
const STEPS: usize = 8;

/// What a key ring stands on.
pub struct Foundation {
    /// The keys in force, whose follower the stores were opened with.
    pub live: LiveKeys,
    /// Where keys are.
    pub auth: AuthStore,
    /// Where their revocations go.
    pub tokens: TokenStore,
    /// The one way to write.
    pub committer: Committer,
    /// Where every change is told.
    pub trail: Trail,
    /// The time.
    pub clock: SharedClock,
    /// For nonces, HS256 secrets and their ids.
    pub rng: SharedRng,
}

/// The signing keys and every command on them. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    on: Foundation,
    sealer: Arc<Sealer>,
    policy: Policy,
}

/// One key as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeySummary {
    /// Its `kid`.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed state.
    pub changed_at: Timestamp,
}

impl Policy {
    /// As configured. Tokens drain until the last has expired even for a verifier whose clock is
    /// behind and who allows leeway besides.
    pub fn of(keys: &Keys, tokens: &Tokens) -> Self {
        Self {
            algorithm: keys.algorithm,
            rotate_every: keys.rotate_every,
            jwks_max_age: keys.jwks_max_age,
            drain: tokens.access_ttl + tokens.leeway * 2,
        }
    }
}

impl KeyRing {
    /// Puts the stored keys in force; makes and commits the first ones if there are none.
    ///
    /// # Errors
    /// [`KeyError::Sealed`] if a key cannot be opened with this master key; nothing is changed then.
    pub async fn open(on: Foundation, master: &MasterKey, policy: Policy) -> Result<Self, KeyError> {
        let sealer = Arc::new(Sealer::new(master).ok_or(KeyError::Generation)?);
        on.live.load(Arc::clone(&sealer), || on.auth.keys())?;
        let ring = Self(Arc::new(Ring { on, sealer, policy }));
        // Keys that can sign are enough to start with: a node that takes no writes still serves.
        match ring.tick().await {
            Err(error) if ring.live().signer().is_none() => return Err(error),
            Err(error) => tracing::warn!(%error, "what is due for the signing keys could not be done"),
            Ok(_) => {}
        }
        Ok(ring)
    }

    /// All keys in order of creation, retired ones too.
    pub fn list(&self) -> Vec<KeySummary> {
        let summary = |key: &SealedKey| KeySummary {
            id: key.id.clone(),
            algorithm: key.algorithm,
            state: key.state,
            created_at: key.created_at,
            changed_at: key.changed_at,
        };
        self.live().snapshot().keys.iter().map(summary).collect()
    }

    /// The JWKS document (RFC 7517 §5): every key whose tokens are or will be good, but for HS256.
    pub fn jwks(&self) -> Jwks {
        self.live().snapshot().jwks.clone()
    }

    /// The keys that verify, HS256 included: for a verifier of this process.
    pub fn verification_keys(&self) -> KeySet {
        self.live().snapshot().verification.clone()
    }

    /// The keys in force.
    pub fn live(&self) -> &LiveKeys {
        &self.0.on.live
    }

    /// Lets the next key sign, the active one retire, and makes a new next one, of the configured
    /// algorithm. Returns the key that signs now.
    ///
    /// # Errors
    /// [`KeyError::TooYoung`] if the next key was published less than `jwks_max_age` ago, unless
    /// `force`d; also told to the audit log.
    pub async fn rotate(&self, actor: Actor, force: bool) -> Result<KeyId, KeyError> {
        let reason = if force { "forced" } else { "command" };
        let done = self
            .change(actor.clone(), reason, |keys, now| {
                plan::rotation(keys, now, &self.0.policy, force).map(Some)
            })
            .await;
        let target = String::new();
        self.tell_refusal(&done, Intent::KeyRotate, actor, target).await?;
        done?;
        self.live().signer().map(|signer| signer.id.clone()).ok_or(KeyError::NoActiveKey)
    }

    /// Takes a key out of use. A `compromised` one is revoked with every token it ever signed, and
    /// if it was the active one the next takes over at once, however young.
    ///
    /// # Errors
    /// [`KeyError::Unknown`]; and unless `compromised`, [`KeyError::Signing`] for the active key and
    /// [`KeyError::AlreadyRetired`]. Refusals are told to the audit log.
    pub async fn retire(&self, id: &KeyId, compromised: bool, actor: Actor) -> Result<(), KeyError> {
        let reason = if compromised { "compromised" } else { "command" };
        let done = self
            .change(actor.clone(), reason, |keys, _| plan::retirement(keys, id, compromised).map(Some))
            .await;
        self.tell_refusal(&done, Intent::KeyRetire, actor, id.to_string()).await?;
        done.map(|_| ())
    }

    /// Does what the clock asks for; a task calls it every minute or so. Returns the steps taken.
    pub async fn tick(&self) -> Result<Vec<Step>, KeyError> {
        let mut steps = Vec::new();
        while steps.len() < STEPS {
            // Asked of the keys in force first, so that an idle tick reads and writes nothing.
            let now = self.0.on.clock.now();
            let Some(step) = plan::due(&self.live().snapshot().keys, now, &self.0.policy) else { break };
            let done = self
                .change(Actor::System, step.word(), |keys, now| {
                    let still = plan::due(keys, now, &self.0.policy) == Some(step);
                    Ok(still.then(|| plan::scheduled(step, keys, now, &self.0.policy)))
                })
                .await?;
            if !done {
                break;
            }
            steps.push(step);
        }
        Ok(steps)
    }

    /// Decides on the stored keys and commits the plan, afresh as often as they changed meanwhile. Not
    /// by `Commands::decide`: staging waits, since a key takes a while to make. `false` if there was nothing to do.
    async fn change(
        &self,
        actor: Actor,
        reason: &str,
        decide: impl Fn(&[SealedKey], Timestamp) -> Result<Option<Plan>, KeyError>,
    ) -> Result<bool, KeyError> {
        for _ in 0..ATTEMPTS {
            let mut bundle = Bundle::new();
            let now = self.0.on.clock.now();
            let keys = self.0.on.auth.read_keys(&mut bundle)?;
            let Some(plan) = decide(&keys, now)? else { return Ok(false) };
            self.stage(&mut bundle, &plan, &actor, reason, now).await?;
            match self.0.on.committer.commit(bundle).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Stages a plan with the audit event of each of its parts.
    async fn stage(
        &self,
        bundle: &mut Bundle,
        plan: &Plan,
        actor: &Actor,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), KeyError> {
        let on = &self.0.on;
        for (id, state) in &plan.moves {
            on.auth.stage(bundle, AuthChange::KeyStateSet { key: id.clone(), state: *state, at });
            match state {
                KeyState::Active => self.tell(bundle, Intent::KeyRotate, actor, id, reason),
                KeyState::Retired => self.tell(bundle, Intent::KeyRetire, actor, id, reason),
                // Told by the event of the key that takes over.
                KeyState::Retiring | KeyState::Next => {}
            }
        }
        for state in &plan.fresh {
            let key = self.make(*state, at).await?;
            self.tell(bundle, Intent::KeyCreate, actor, &key.id, reason);
            on.auth.stage(bundle, AuthChange::KeyAdded(key));
        }
        if let Some(id) = &plan.revoked {
            // Whoever has the key can sign tokens that expire at any time: the record stays.
            let (subject, cause) = (RevokedSubject::Key(id.clone()), RevocationCause::KeyCompromised);
            let revocation = Revocation { subject, cause, at, expires_at: Timestamp::MAX };
            on.tokens.stage(bundle, TokenChange::Revoked(revocation));
            if plan.moves.iter().all(|(moved, _)| moved != id) {
                self.tell(bundle, Intent::KeyRetire, actor, id, reason);
            }
        }
        Ok(())
    }

    /// Makes and seals a key on a thread that may be busy for a while.
    async fn make(&self, state: KeyState, at: Timestamp) -> Result<SealedKey, KeyError> {
        let ring = Arc::clone(&self.0);
        let made = tokio::task::spawn_blocking(move || {
            let (algorithm, rng) = (ring.policy.algorithm, &*ring.on.rng);
            let fresh = material::generate(algorithm, rng)?;
            let sealed = ring.sealer.seal(&fresh.id, algorithm, &fresh.private, rng)?;
            let (id, public_jwk) = (fresh.id, fresh.public_jwk);
            Some(SealedKey { id, algorithm, state, public_jwk, sealed, created_at: at, changed_at: at })
        });
        made.await.ok().flatten().ok_or(KeyError::Generation)
    }

    fn tell(&self, bundle: &mut Bundle, intent: Intent, actor: &Actor, id: &KeyId, reason: &str) {
        let draft = Draft::new(intent, Outcome::Granted).by(actor.clone()).target(id).reason(reason);
        self.0.on.trail.attach(bundle, draft);
    }

    /// A command that a rule refused is a security decision too.
    async fn tell_refusal(
        &self,
        done: &Result<bool, KeyError>,
        intent: Intent,
        actor: Actor,
        target: String,
    ) -> Result<(), KeyError> {
        let Err(error) = done else { return Ok(()) };
        if error.is_refusal() {
            let draft = Draft::new(intent, Outcome::Denied).by(actor).target(target).reason(error.word());
            self.0.on.trail.record(draft).await?;
        }
        Ok(())
    }
}
