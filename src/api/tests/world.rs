//! The real services on stores in memory behind the API's router. The edge's part, to turn an access
//! token into its caller, is played by [`caller`].

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keepgate_guard::claims::Claims;
use serde_json::json;

use super::*;
use crate::api::{Parts, described, router};
use crate::audit::Trail;
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::auth::keys::live::LiveKeys;
use crate::auth::keys::plan::Policy;
use crate::auth::keys::{Foundation, KeyRing};
use crate::auth::{self, Auth};
use crate::config;
use crate::config::accounts::Registration;
use crate::model::account::Account;
use crate::model::caller::Caller;
use crate::model::change::AuthChange;
use crate::model::id::{AccountId, SessionId, TokenId};
use crate::model::master_key::MasterKey;
use crate::model::random::{SeededRng, SharedRng};
use crate::model::time::{ManualClock, SharedClock, Timestamp};
use crate::observe::health::Health;
use crate::store::Stores;
use crate::store::bundle::Bundle;
use crate::store::error::StoreError;
use crate::store::namespace::AuthStore;
use crate::users::{self, People, Users};

pub(super) const PASSWORD: &str = "a long enough passphrase";

pub(super) struct World {
    pub router: Router,
    pub document: utoipa::openapi::OpenApi,
    pub auth: Auth,
    pub health: Health,
    _stores: Stores,
}

impl World {
    pub(super) async fn new(registration: Registration) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_000_000_000)));
        let rng: SharedRng = Arc::new(SeededRng::new(7));
        let live = LiveKeys::default();
        let stores = Stores::in_memory(Arc::clone(&clock), vec![live.follower()]).unwrap();
        let Stores { auth, user, tokens, logs, committer, .. } = &stores;
        let master = MasterKey::generate(&*rng);
        let subjects = Subjects::new(KnownSubjects::default(), logs.clone(), Arc::clone(&rng), &master);
        let trail =
            Trail::new(logs.clone(), committer.clone(), Arc::clone(&clock), Arc::clone(&rng), subjects);
        let on = Foundation {
            live,
            auth: auth.clone(),
            tokens: tokens.clone(),
            committer: committer.clone(),
            trail: trail.clone(),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
        };
        let config = config::tokens::Tokens::default();
        let policy = Policy::of(&config::keys::Keys::default(), &config);
        let keys = KeyRing::open(on, &master, policy).await.unwrap();
        let parts = auth::Parts {
            auth: auth.clone(),
            tokens: tokens.clone(),
            committer: committer.clone(),
            trail: trail.clone(),
            clock: Arc::clone(&clock),
            rng,
            keys,
            erasure: Arc::new(|_, _| {}),
        };
        let accounts = config::accounts::Accounts { registration, ..Default::default() };
        let cheap =
            config::passwords::Passwords { memory_kib: 8, iterations: 1, threads: 1, ..Default::default() };
        let auth = Auth::start(parts, &master, &accounts, &cheap, &Default::default(), &config).unwrap();
        let parts = users::Parts {
            user: user.clone(),
            people: Arc::new(Everybody(stores.auth.clone())),
            committer: committer.clone(),
            trail,
            denials: auth.denials.clone(),
            clock,
        };
        let quotas = config::users::Users { document_bytes: 1024, documents: 5, account_bytes: 2048 };
        let users = Users::new(parts, &quotas);
        let health = Health::new();
        let parts = Parts {
            accounts: auth.accounts.clone(),
            sessions: auth.sessions.clone(),
            users,
            keys: auth.keys.clone(),
            health: health.clone(),
            issuer: "https://id.example.com".into(),
            jwks_max_age: Duration::from_secs(300),
        };
        let document = described(parts.clone()).into_openapi();
        Self { router: router(parts), document, auth, health, _stores: stores }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        send(&self.router, post_json(path, body.to_string())).await
    }

    /// A request without a body, as the caller of that access token or as nobody.
    pub(super) async fn ask(&self, method: &str, path: &str, access: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(access) = access {
            request.extensions_mut().insert(caller(access));
        }
        send(&self.router, request).await
    }

    /// A JSON body as the caller of that access token.
    pub(super) async fn post_as(&self, access: &str, path: &str, body: Value) -> Answer {
        let mut request = post_json(path, body.to_string());
        request.extensions_mut().insert(caller(access));
        send(&self.router, request).await
    }

    /// Registers ada and logs her in; gives the answer's `access_token` and `refresh_token`.
    pub(super) async fn ada(&self) -> (String, String) {
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
        assert_eq!(self.post("/auth/v1/register", body).await.status, StatusCode::CREATED);
        self.login().await
    }

    pub(super) async fn login(&self) -> (String, String) {
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "device": "laptop"});
        let answer = self.post("/auth/v1/login", body).await;
        assert_eq!(answer.status, StatusCode::OK);
        tokens(&answer)
    }
}

/// The accounts, straight from their namespace.
struct Everybody(AuthStore);

impl People for Everybody {
    fn read_account(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.0.read_account(bundle, id)
    }

    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.0.accounts(after, limit)
    }

    fn rename(&self, bundle: &mut Bundle, account: AccountId, name: String) {
        self.0.stage(bundle, AuthChange::NameSet { account, name });
    }
}

/// The caller that an access token names, unverified.
pub(super) fn caller(access: &str) -> Caller {
    let payload = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    let claims: Claims = serde_json::from_slice(&payload).unwrap();
    Caller {
        account: AccountId(claims.sub),
        session: SessionId(claims.sid),
        token: TokenId(claims.jti),
        roles: claims.roles.iter().map(|role| role.parse().unwrap()).collect(),
        scope: claims.scope,
        expires_at: Timestamp::from_millis(claims.exp * 1000),
    }
}

/// The two tokens of a login or refresh.
pub(super) fn tokens(answer: &Answer) -> (String, String) {
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}
