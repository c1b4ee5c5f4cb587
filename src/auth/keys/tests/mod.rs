//! The key ring on in-memory stores, with a verifier that listens to it as the edge's does.

mod plans;
mod ring;

use std::sync::Arc;
use std::time::Duration;

use keepgate_guard::refusal::Refusal;
use keepgate_guard::verifier::{Expectations, Verifier};
use secrecy::{ExposeSecret as _, SecretString};

use super::*;
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::auth::tokens::{AccessGrant, Issuer};
use crate::model::event::AuditEvent;
use crate::model::id::{AccountId, Seq, SessionId, TokenId};
use crate::model::random::SeededRng;
use crate::model::role::Role;
use crate::model::time::{Clock as _, ManualClock};
use crate::store::Stores;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const ALL: [KeyAlgorithm; 4] =
    [KeyAlgorithm::EdDSA, KeyAlgorithm::ES256, KeyAlgorithm::RS256, KeyAlgorithm::HS256];

/// Stores, a clock, and the keys in force.
struct House {
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
    live: LiveKeys,
    stores: Stores,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let live = LiveKeys::default();
        let stores = Stores::in_memory(clock.clone(), vec![live.follower()]).unwrap();
        Self { clock, rng: Arc::new(SeededRng::new(5)), live, stores }
    }

    fn master(&self) -> MasterKey {
        MasterKey::generate(&SeededRng::new(1))
    }

    fn foundation(&self, live: LiveKeys) -> Foundation {
        let Stores { auth, logs, tokens, committer, .. } = &self.stores;
        let (clock, rng): (SharedClock, SharedRng) = (self.clock.clone(), self.rng.clone());
        let known = KnownSubjects::default();
        let subjects = Subjects::new(known, logs.clone(), rng.clone(), &self.master());
        Foundation {
            live,
            auth: auth.clone(),
            tokens: tokens.clone(),
            committer: committer.clone(),
            trail: Trail::new(logs.clone(), committer.clone(), clock.clone(), rng.clone(), subjects),
            clock,
            rng,
        }
    }

    async fn open(&self, algorithm: KeyAlgorithm) -> KeyRing {
        KeyRing::open(self.foundation(self.live.clone()), &self.master(), policy(algorithm)).await.unwrap()
    }

    fn verifier(&self, ring: &KeyRing) -> Arc<Verifier> {
        let tokens = Tokens::default();
        let expectations =
            Expectations { issuer: tokens.issuer, audience: tokens.audience, leeway: 5, cache_entries: 10 };
        let verifier = Arc::new(Verifier::new(expectations, KeySet::default(), Arc::default()));
        let listener = Arc::clone(&verifier);
        ring.live().on_change(move |keys| listener.replace_keys(keys));
        verifier
    }

    fn sign(&self) -> SecretString {
        Issuer::new(self.live.clone(), &Tokens::default(), Arc::default()).sign(&self.grant()).unwrap()
    }

    fn grant(&self) -> AccessGrant {
        let now = self.clock.now();
        AccessGrant {
            account: AccountId::new(now, &*self.rng),
            session: SessionId::new(now, &*self.rng),
            token: TokenId::new(now, &*self.rng),
            seq: Seq(7),
            issued_at: now,
            expires_at: now.plus(Duration::from_secs(600)),
            authenticated_at: now,
            amr: vec!["pwd".into()],
            roles: [Role::admin()].into(),
        }
    }

    fn verdict(&self, verifier: &Verifier, token: &SecretString) -> Result<(), Refusal> {
        verifier.verify(token.expose_secret(), self.clock.now().as_secs()).map(|_| ())
    }

    /// Every audit event so far.
    fn events(&self) -> Vec<AuditEvent> {
        while self.stores.logs.applied() < self.stores.committer.durable() {
            std::thread::yield_now();
        }
        let records = self.stores.logs.records(0, 1000).unwrap();
        records.iter().map(|record| record.event().unwrap().0).collect()
    }

    /// As `intent outcome reason`, from the `after`th on.
    fn told(&self, after: usize) -> Vec<String> {
        let line = |event: &AuditEvent| format!("{:?} {:?} {}", event.intent, event.outcome, event.reason);
        self.events().iter().skip(after).map(line).collect()
    }
}

fn policy(algorithm: KeyAlgorithm) -> Policy {
    Policy::of(&Keys { algorithm, ..Keys::default() }, &Tokens::default())
}

fn in_state(ring: &KeyRing, state: KeyState) -> Vec<KeySummary> {
    ring.list().into_iter().filter(|key| key.state == state).collect()
}

fn only(ring: &KeyRing, state: KeyState) -> KeySummary {
    let [key] = in_state(ring, state).try_into().unwrap();
    key
}
