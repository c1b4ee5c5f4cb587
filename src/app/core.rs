//! The house without its doors: stores, keys, services and audit, wired to each other. The daemon
//! serves it; the command line, where no daemon runs, executes a command on it and closes it.
//!
//! What is in force in memory (revocations, keys, the blacklist) follows the journal: followers are
//! given to the stores before they open, and what was committed earlier is loaded right after, when
//! nobody can commit yet.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use keepgate_guard::view::RevocationView;

use super::error::AppError;
use super::measures::Decisions;
use crate::audit::head::HeadKey;
use crate::audit::signer::{HeadSigner, SignerParts};
use crate::audit::{Trail, witness};
use crate::auth::keys::live::LiveKeys;
use crate::auth::keys::plan::Policy;
use crate::auth::keys::{Foundation, KeyRing, master};
use crate::auth::revocation::Revocations;
use crate::auth::{Auth, Parts};
use crate::config::Config;
use crate::edge::guard::blacklist::Blacklist;
use crate::model::change::{Change, TokenChange};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{SharedRng, SystemRng};
use crate::model::time::{SharedClock, SystemClock, Timestamp};
use crate::observe::health::Health;
use crate::store::Stores;
use crate::store::commit::Follower;
use crate::store::error::StoreError;

/// The house without its doors.
pub(in crate::app) struct Core {
    pub config: Config,
    pub clock: SharedClock,
    pub rng: SharedRng,
    pub stores: Stores,
    pub trail: Trail,
    pub auth: Auth,
    pub keys: KeyRing,
    pub revocations: Revocations,
    pub blacklist: Arc<Blacklist>,
    pub heads: HeadSigner,
    pub health: Health,
    pub started_at: Timestamp,
    pub decisions: Decisions,
    /// Set once the house serves.
    pub listeners: OnceLock<Vec<String>>,
}

impl Core {
    /// Opens everything that is durable and starts the services on it.
    pub async fn open(config: Config) -> Result<Self, AppError> {
        let (clock, rng): (SharedClock, SharedRng) = (Arc::new(SystemClock), Arc::new(SystemRng));
        make_private(&config.data_dir)?;
        let live = LiveKeys::default();
        let revocations = Revocations::new(Arc::new(RevocationView::default()));
        let blacklist = Arc::new(Blacklist::new());
        let decisions = Decisions::default();
        let followers =
            vec![revocations.follower(), live.follower(), bans_follower(&blacklist), decisions.follower()];
        let stores = Stores::open(&config.data_dir, Arc::clone(&clock), &config.store, followers)?;
        revocations.load(&stores.tokens, clock.now())?;
        stores.tokens.bans()?.iter().for_each(|ban| blacklist.insert(ban));

        let sealed = !stores.auth.keys()?.is_empty();
        let master = master::load(&config.keys, &config.data_dir, sealed, &*rng)?;
        let trail = trail(&stores, &clock, &rng);
        let keys = open_keys(&config, &stores, live, &trail, &master, &clock, &rng).await?;
        let auth = start_auth(&config, &stores, &keys, &trail, &master, &clock, &rng)?;
        let heads = open_heads(&config, &stores, &master, &clock)?;
        let health = Health::new();
        watch_stores(&health, &stores);
        let started_at = clock.now();
        Ok(Self {
            config,
            clock,
            rng,
            stores,
            trail,
            auth,
            keys,
            revocations,
            blacklist,
            heads,
            health,
            started_at,
            decisions,
            listeners: OnceLock::new(),
        })
    }

    /// Signs the audit chain's head, checkpoints the stores and lets the folder go.
    pub async fn close(self) -> Result<(), AppError> {
        // A node that went read-only cannot sign; that must not keep it from closing.
        if self.stores.committer.read_only().is_none() {
            self.heads.sign_now().await?;
        }
        Ok(self.stores.close()?)
    }
}

fn make_private(folder: &Path) -> Result<(), AppError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| AppError::File {
        what: "cannot make the data folder",
        path: folder.to_owned(),
        source,
    })
}

fn bans_follower(blacklist: &Arc<Blacklist>) -> Follower {
    let blacklist = Arc::clone(blacklist);
    Box::new(move |committed| {
        for change in &committed.changes {
            match change {
                Change::Token(TokenChange::Banned(ban)) => blacklist.insert(ban),
                Change::Token(TokenChange::Unbanned { network }) => blacklist.remove(*network),
                _ => {}
            }
        }
    })
}

fn trail(stores: &Stores, clock: &SharedClock, rng: &SharedRng) -> Trail {
    Trail::new(stores.logs.clone(), stores.committer.clone(), Arc::clone(clock), Arc::clone(rng))
}

async fn open_keys(
    config: &Config,
    stores: &Stores,
    live: LiveKeys,
    trail: &Trail,
    master: &MasterKey,
    clock: &SharedClock,
    rng: &SharedRng,
) -> Result<KeyRing, AppError> {
    let foundation = Foundation {
        live,
        auth: stores.auth.clone(),
        tokens: stores.tokens.clone(),
        committer: stores.committer.clone(),
        trail: trail.clone(),
        clock: Arc::clone(clock),
        rng: Arc::clone(rng),
    };
    Ok(KeyRing::open(foundation, master, Policy::of(&config.keys, &config.tokens)).await?)
}

fn start_auth(
    config: &Config,
    stores: &Stores,
    keys: &KeyRing,
    trail: &Trail,
    master: &MasterKey,
    clock: &SharedClock,
    rng: &SharedRng,
) -> Result<Auth, AppError> {
    let user = stores.user.clone();
    let parts = Parts {
        auth: stores.auth.clone(),
        tokens: stores.tokens.clone(),
        committer: stores.committer.clone(),
        trail: trail.clone(),
        clock: Arc::clone(clock),
        rng: Arc::clone(rng),
        keys: keys.clone(),
        erasure: Arc::new(move |bundle, account| {
            user.stage(bundle, crate::model::change::UserChange::UserErased { account });
        }),
    };
    Ok(Auth::start(parts, master, &config.accounts, &config.passwords, &config.tokens)?)
}

fn open_heads(
    config: &Config,
    stores: &Stores,
    master: &MasterKey,
    clock: &SharedClock,
) -> Result<HeadSigner, AppError> {
    let path = witness::path(&config.data_dir);
    if let Some(folder) = path.parent() {
        make_private(folder)?;
    }
    Ok(HeadSigner::open(SignerParts {
        logs: stores.logs.clone(),
        committer: stores.committer.clone(),
        clock: Arc::clone(clock),
        key: HeadKey::from_seed(master.derive(Purpose::AuditHeads).expose()),
        every: config.store.audit_head_every,
        witness: &path,
    })?)
}

/// Readiness speaks of the stores as they are, not as they were at the start.
fn watch_stores(health: &Health, stores: &Stores) {
    let committer = stores.committer.clone();
    health.register("journal", move || match committer.read_only() {
        Some(reason) => Err(reason.to_string()),
        None => Ok(format!("durable through position {}", committer.durable())),
    });
    let (auth, logs, tokens) = (stores.auth.clone(), stores.logs.clone(), stores.tokens.clone());
    // Each asks for something that is cheap however much there is.
    health.register("auth", move || readable(auth.accounts(None, 1)));
    health.register("logs", move || readable(logs.head()));
    health.register("tokens", move || readable(tokens.sessions(None, 1)));
}

fn readable<T>(asked: Result<T, StoreError>) -> Result<String, String> {
    asked.map(|_| "readable".to_owned()).map_err(|error| error.to_string())
}

/// Writes a file of the data folder that only its owner may read: whole under its name, or not at all.
pub(in crate::app) fn write_private(path: &Path, text: &str) -> Result<(), AppError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| AppError::File { what: "cannot write", path: path.to_owned(), source };
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}
