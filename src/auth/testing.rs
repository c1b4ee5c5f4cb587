//! A small world for the tests of `auth`: the real services on stores in memory, a clock that
//! stands still until told, cheap hashes, and a follower that keeps every bundle, so that a test
//! can ask what was committed together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keepgate_guard::claims::Claims;
use keepgate_guard::view::RevocationView;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::accounts::NewAccount;
use super::error::AuthError;
use super::revocation::Revocations;
use super::sessions::Login;
use super::sessions::grant::{AccessGrant, AccessTokens, Grant};
use super::sessions::token::{Genuine, Presented, RefreshKeys};
use super::{Auth, Parts};
use crate::audit::Trail;
use crate::config;
use crate::model::account::Account;
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::change::{Change, LogChange};
use crate::model::event::{AuditEvent, Intent, Outcome};
use crate::model::id::{RequestId, SessionId};
use crate::model::random::SeededRng;
use crate::model::role::Role;
use crate::model::session::Session;
use crate::model::time::{Clock, ManualClock, SharedClock, Timestamp};
use crate::store::Stores;
use crate::store::bundle::Committed;

/// The password of every account here.
pub const PASSWORD: &str = "correct horse battery";

/// What a world is set up with.
#[derive(Default)]
pub struct Settings {
    pub accounts: config::accounts::Accounts,
    pub passwords: config::passwords::Passwords,
    pub tokens: config::tokens::Tokens,
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

/// Signs nothing: hands out the token's id and remembers what it says.
#[derive(Default)]
pub struct Signer(Mutex<HashMap<String, AccessGrant>>);

impl AccessTokens for Signer {
    fn sign(&self, grant: &AccessGrant) -> Option<SecretString> {
        let text = grant.token.to_string();
        self.0.lock().insert(text.clone(), grant.clone());
        Some(text.into())
    }
}

pub struct World {
    pub auth: Auth,
    pub clock: Arc<ManualClock>,
    pub stores: Stores,
    signer: Arc<Signer>,
    view: Arc<RevocationView>,
    history: Arc<Mutex<Vec<Committed>>>,
}

pub fn keys() -> RefreshKeys {
    RefreshKeys::new([1; 32], [2; 32])
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
    pub fn new() -> Self {
        Self::with(&Settings::cheap())
    }

    pub fn with(settings: &Settings) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let rng = Arc::new(SeededRng::new(7));
        let revocations = Revocations::new(Arc::default());
        let history = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&history);
        let keep = Box::new(move |committed: &Committed| kept.lock().push(committed.clone()));
        let shared: SharedClock = clock.clone();
        let stores = Stores::in_memory(Arc::clone(&shared), vec![revocations.follower(), keep]).unwrap();
        let signer = Arc::new(Signer::default());
        let parts = Parts {
            auth: stores.auth.clone(),
            tokens: stores.tokens.clone(),
            committer: stores.committer.clone(),
            trail: Trail::new(stores.logs.clone(), stores.committer.clone(), Arc::clone(&shared), rng.clone()),
            clock: shared,
            rng,
            access: signer.clone(),
            refresh: keys(),
            erasure: Arc::new(|_, _| {}),
        };
        let auth = Auth::start(parts, &settings.accounts, &settings.passwords, &settings.tokens).unwrap();
        Self { auth, clock, stores, signer, view: revocations.view(), history }
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
        let login = Login { email: address(name), password: password.into(), device: None };
        self.auth.sessions.login(login, &here()).await
    }

    pub async fn refresh(&self, token: &SecretString, origin: &Origin) -> Result<Grant, AuthError> {
        self.auth.sessions.refresh(token.expose_secret(), origin).await
    }

    /// What an access token says.
    pub fn says(&self, grant: &Grant) -> AccessGrant {
        self.signer.0.lock()[grant.access_token.expose_secret()].clone()
    }

    /// The caller that the edge would make of a grant's access token.
    pub fn caller(&self, grant: &Grant) -> Caller {
        let says = self.says(grant);
        Caller {
            account: says.account,
            session: says.session,
            token: says.token,
            roles: says.roles.into_iter().collect(),
            expires_at: says.expires_at,
        }
    }

    /// Whether the edge lets a grant's access token pass now.
    pub fn passes(&self, grant: &Grant) -> bool {
        let says = self.says(grant);
        let claims = Claims {
            iss: String::new(),
            aud: String::new(),
            sub: says.account.0,
            sid: says.session.0,
            jti: says.token.0,
            seq: says.seq.0,
            iat: says.issued_at.as_secs(),
            exp: says.expires_at.as_secs(),
            auth_time: says.authenticated_at.as_secs(),
            amr: says.amr,
            roles: vec![],
            scope: String::new(),
        };
        self.clock.now() < says.expires_at && self.view.is_revoked(&claims, "key").is_none()
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
            Change::Log(LogChange::Event(event)) => Some(event.clone()),
            _ => None,
        })
        .collect()
}

/// Polls once: a request that came as far as it could without waiting.
pub fn poll_once<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> std::task::Poll<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context)
}
