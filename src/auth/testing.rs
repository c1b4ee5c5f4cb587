//! A small world for the tests of `auth`: the real services, keys and verifier on stores in memory
//! or on disk, a clock that stands still until told, cheap hashes, and a follower that keeps every
//! bundle, so that a test can ask what was committed together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keepgate_guard::claims::Claims;
use keepgate_guard::verifier::{Expectations, Verifier};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::accounts::NewAccount;
use super::error::AuthError;
use super::keys::live::LiveKeys;
use super::keys::plan::Policy;
use super::keys::{Foundation, KeyRing};
use super::revocation::Revocations;
use super::sessions::Login;
use super::sessions::grant::Grant;
use super::sessions::token::{Genuine, Presented, RefreshKeys};
use super::{Auth, Parts};
use crate::audit::Trail;
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::config;
use crate::model::account::Account;
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::change::{Change, UserChange};
use crate::model::event::{AuditEvent, Intent, Outcome};
use crate::model::id::{AccountId, RequestId, SessionId, TokenId};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{SeededRng, SharedRng};
use crate::model::role::Role;
use crate::model::session::Session;
use crate::model::time::{Clock, ManualClock, SharedClock, Timestamp};
use crate::store::Stores;
use crate::store::bundle::Committed;
use crate::store::commit::Follower;

/// The password of every account here.
pub const PASSWORD: &str = "correct horse battery";

/// What a world is set up with.
#[derive(Default)]
pub struct Settings {
    pub accounts: config::accounts::Accounts,
    pub passwords: config::passwords::Passwords,
    pub throttle: config::throttle::Throttle,
    pub tokens: config::tokens::Tokens,
    pub store: config::store::Store,
}

impl Settings {
    /// Open registration and the cheapest hashes.
    pub fn cheap() -> Self {
        let mut settings = Self::default();
        settings.accounts.registration = config::accounts::Registration::Open;
        settings.passwords.memory_kib = 8;
        settings.passwords.iterations = 1;
        settings.passwords.threads = 1;
        settings
    }
}

pub struct World {
    pub auth: Auth,
    pub clock: Arc<ManualClock>,
    pub stores: Stores,
    pub verifier: Verifier,
    history: Arc<Mutex<Vec<Committed>>>,
    /// The data folder, if the stores are on disk.
    folder: Option<tempfile::TempDir>,
}

/// Where the stores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    Memory,
    Disk,
}

fn master() -> MasterKey {
    MasterKey::generate(&SeededRng::new(1))
}

/// The keys that refresh tokens rest on here.
pub fn keys() -> RefreshKeys {
    RefreshKeys::new(&master().derive(Purpose::RefreshTokens))
}

/// A client at that address.
pub fn from(address: &str) -> Origin {
    let address: IpAddr = address.parse().unwrap();
    Origin { request: RequestId(uuid::Uuid::nil()), address: Some(address), user_agent: "test".into() }
}

/// The one client of tests that need no other.
pub fn here() -> Origin {
    from("192.0.2.1")
}

impl World {
    pub async fn new() -> Self {
        Self::with(&Settings::cheap()).await
    }

    pub async fn with(settings: &Settings) -> Self {
        Self::on(Backing::Memory, settings).await
    }

    pub async fn on(backing: Backing, settings: &Settings) -> Self {
        let folder = (backing == Backing::Disk).then(|| tempfile::tempdir().unwrap());
        Self::open(folder, Timestamp::from_millis(1_790_000_000_000), settings).await
    }

    /// The same data folder and time, opened anew with other settings.
    pub async fn reopened(self, settings: &Settings) -> Self {
        let Self { auth, clock, stores, folder, .. } = self;
        drop(auth);
        stores.close().unwrap();
        Self::open(folder, clock.now(), settings).await
    }

    async fn open(folder: Option<tempfile::TempDir>, now: Timestamp, settings: &Settings) -> Self {
        let clock = Arc::new(ManualClock::at(now));
        // A seed of its own for each life, or ids would come again.
        let rng: SharedRng = Arc::new(SeededRng::new(now.as_millis().unsigned_abs()));
        let revocations = Revocations::new(Arc::default());
        let (live, known) = (LiveKeys::default(), KnownSubjects::default());
        let history = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&history);
        let keep = Box::new(move |committed: &Committed| kept.lock().push(committed.clone()));
        let shared: SharedClock = clock.clone();
        let followers: Vec<Follower> = vec![revocations.follower(), live.follower(), known.follower(), keep];
        let stores = match &folder {
            None => Stores::in_memory(Arc::clone(&shared), followers),
            Some(folder) => Stores::open(folder.path(), Arc::clone(&shared), &settings.store, followers),
        }
        .unwrap();
        revocations.load(&stores.tokens, now).unwrap();
        let subjects = Subjects::new(known, stores.logs.clone(), Arc::clone(&rng), &master());
        let (logs, committer) = (stores.logs.clone(), stores.committer.clone());
        let trail = Trail::new(logs, committer, Arc::clone(&shared), Arc::clone(&rng), subjects);
        let foundation = Foundation {
            live,
            auth: stores.auth.clone(),
            tokens: stores.tokens.clone(),
            committer: stores.committer.clone(),
            trail: trail.clone(),
            clock: Arc::clone(&shared),
            rng: Arc::clone(&rng),
        };
        let policy = Policy::of(&config::keys::Keys::default(), &settings.tokens);
        let keys = KeyRing::open(foundation, &master(), policy).await.unwrap();
        let expectations = Expectations {
            issuer: settings.tokens.issuer.clone(),
            audience: settings.tokens.audience.clone(),
            leeway: 0,
            cache_entries: 64,
        };
        let verifier = Verifier::new(expectations, keys.verification_keys(), revocations.view());
        let (user, eraser) = (stores.user.clone(), trail.clone());
        let parts = Parts {
            auth: stores.auth.clone(),
            tokens: stores.tokens.clone(),
            committer: stores.committer.clone(),
            trail,
            clock: shared,
            rng,
            keys,
            erasure: Arc::new(move |bundle, account| {
                user.stage(bundle, UserChange::UserErased { account });
                eraser.erase(bundle, account);
            }),
        };
        let Settings { accounts, passwords, throttle, tokens, .. } = settings;
        let auth = Auth::start(parts, &master(), accounts, passwords, throttle, tokens).unwrap();
        Self { auth, clock, stores, verifier, history, folder }
    }

    /// An account with that name's address, [`PASSWORD`], and roles.
    pub async fn account(&self, name: &str, roles: &[&str]) -> Account {
        let new = NewAccount {
            email: address(name),
            password: PASSWORD.into(),
            name: name.to_owned(),
            roles: roles.iter().map(|role| role.parse::<Role>().unwrap()).collect(),
        };
        self.auth.accounts.create(new, Actor::System, &here()).await.unwrap()
    }

    pub async fn login(&self, name: &str) -> Grant {
        self.try_login(name, PASSWORD).await.unwrap()
    }

    pub async fn try_login(&self, name: &str, password: &str) -> Result<Grant, AuthError> {
        let login = Login { email: address(name), password: password.into(), device: None, cookies: vec![] };
        self.auth.sessions.login(login, &here()).await
    }

    pub async fn refresh(&self, token: &SecretString, origin: &Origin) -> Result<Grant, AuthError> {
        self.auth.sessions.refresh(token.expose_secret(), origin).await
    }

    /// What an access token says, whether or not it is good now.
    pub fn says(&self, grant: &Grant) -> Claims {
        says(grant)
    }

    /// The caller that the edge would make of a grant's access token.
    pub fn caller(&self, grant: &Grant) -> Caller {
        caller_of(grant)
    }

    /// Whether the edge lets a grant's access token pass now.
    pub fn passes(&self, grant: &Grant) -> bool {
        self.verifier.verify(grant.access_token.expose_secret(), self.clock.now().as_secs()).is_ok()
    }

    pub fn session(&self, id: SessionId) -> Option<Session> {
        self.stores.tokens.session(id).unwrap()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Every bundle committed so far, in order.
    pub fn history(&self) -> Vec<Committed> {
        self.history.lock().clone()
    }

    /// The newest bundle.
    pub fn last(&self) -> Committed {
        self.history.lock().last().unwrap().clone()
    }

    /// The audit event of the newest bundle.
    pub fn last_event(&self) -> (Intent, Outcome, String) {
        let event = events(&self.last()).pop().unwrap();
        (event.intent, event.outcome, event.reason)
    }
}

fn says(grant: &Grant) -> Claims {
    let payload = grant.access_token.expose_secret().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The caller that the edge would make of a grant's access token.
pub fn caller_of(grant: &Grant) -> Caller {
    let says = says(grant);
    Caller {
        account: AccountId(says.sub),
        session: SessionId(says.sid),
        token: TokenId(says.jti),
        roles: says.roles.iter().map(|role| role.parse().unwrap()).collect(),
        scope: says.scope,
        expires_at: Timestamp::from_millis(says.exp * 1000),
    }
}

pub fn address(name: &str) -> String {
    format!("{name}@example.com")
}

/// A token as the service sees it.
pub fn genuine(text: &SecretString) -> Genuine {
    keys().recognise(&Presented::parse(text.expose_secret()).unwrap()).unwrap()
}

/// The audit events of a bundle.
pub fn events(bundle: &Committed) -> Vec<AuditEvent> {
    bundle
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Log(change) => change.event().map(|(event, _)| event.clone()),
            _ => None,
        })
        .collect()
}

/// Polls once: a request that came as far as it could without waiting.
pub fn poll_once<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> std::task::Poll<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context)
}
