//! The house without its doors: stores, keys, services and audit, wired to each other. The daemon
//! serves it; the command line, where no daemon runs, executes a command on it and closes it.
//!
//! What is in force in memory (revocations, keys, the blacklist) follows the journal: followers are
//! given to the stores before they open, and what was committed earlier is loaded right after, when
//! nobody can commit yet. So does the time: everybody's clock is floored at the last commit's, so that
//! a clock set back revives nothing that had expired.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::disk::Disk;
use super::error::AppError;
use super::handover::Restarts;
use super::mark;
use super::measures::Decisions;
use super::people::AuthPeople;
use super::reload::Reloader;
use super::told::Told;
use super::views::Views;
use super::watch::Watch;
use crate::audit::head::HeadKey;
use crate::audit::outside::{Outside, copy};
use crate::audit::retention::Retention;
use crate::audit::signer::{HeadSigner, SignerParts};
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::audit::{Trail, witness};
use crate::auth::keys::live::LiveKeys;
use crate::auth::keys::plan::Policy;
use crate::auth::keys::{Foundation, KeyRing, master};
use crate::auth::revocation::Revocations;
use crate::auth::{Auth, Parts};
use crate::config::Config;
use crate::edge::acme::keeper::Keeper;
use crate::edge::guard::blacklist::Blacklist;
use crate::edge::upstream::standing::Upstreams;
use crate::files;
use crate::model::change::UserChange;
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{SharedRng, SystemRng};
use crate::model::time::{SharedClock, SystemClock, Timestamp};
use crate::observe::health::Health;
use crate::store::Stores;
use crate::store::commit::Follower;
use crate::users::{self, Users};

/// The house without its doors.
pub(in crate::app) struct Core {
    pub config: Config,
    pub views: Views,
    pub clock: SharedClock,
    pub rng: SharedRng,
    pub stores: Stores,
    pub trail: Trail,
    pub auth: Auth,
    pub users: Users,
    pub keys: KeyRing,
    pub revocations: Revocations,
    pub blacklist: Arc<Blacklist>,
    pub heads: HeadSigner,
    pub retention: Retention,
    pub health: Health,
    pub watch: Watch,
    /// Of the upkeep's steps.
    pub told: Told,
    pub disk: Disk,
    pub started_at: Timestamp,
    pub decisions: Decisions,
    /// Set once the house serves.
    pub listeners: OnceLock<Vec<String>>,
    /// Taken once the house serves; free when it closes.
    pub reloader: Seat<Reloader>,
    /// Likewise.
    pub keeper: Seat<Keeper>,
    /// Set once the house serves.
    pub upstreams: OnceLock<Upstreams>,
    /// Likewise.
    pub restarts: OnceLock<Restarts>,
}

/// Where somebody is found while they are there.
pub(in crate::app) struct Seat<T>(Mutex<Weak<T>>);

impl<T> Default for Seat<T> {
    fn default() -> Self {
        Self(Mutex::new(Weak::new()))
    }
}

impl<T> Seat<T> {
    /// Who is there from now on.
    pub fn set(&self, holder: &Arc<T>) {
        *self.0.lock() = Arc::downgrade(holder);
    }

    /// Who is there.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.lock().upgrade()
    }
}

/// What a process before this one leaves to whoever opens the stores.
#[derive(Default)]
pub(in crate::app) struct Beneath {
    /// The stores' lock, which that process holds.
    pub lock: Option<OwnedFd>,
    /// Tells that process what ends access.
    pub follower: Option<Follower>,
}

impl Core {
    /// Opens everything that is durable and starts the services on it.
    pub async fn open(config: Config) -> Result<Self, AppError> {
        Self::open_at(config, Arc::new(SystemClock)).await
    }

    /// Opens it in the time of `clock`, as far as that does not go back.
    pub async fn open_at(config: Config, clock: SharedClock) -> Result<Self, AppError> {
        Self::open_with(config, Views::new(clock), Beneath::default()).await
    }

    /// Opens it below views that are there already, and from a process before this one.
    pub async fn open_with(config: Config, views: Views, beneath: Beneath) -> Result<Self, AppError> {
        let (clock, rng): (SharedClock, SharedRng) = (views.clock(), Arc::new(SystemRng));
        make_private(&config.data_dir)?;
        let known = KnownSubjects::default();
        let Beneath { lock, follower } = beneath;
        let mut followers = views.followers();
        followers.push(known.follower());
        followers.extend(follower);
        let stores = Stores::open_with(&config.data_dir, lock, Arc::clone(&clock), &config.store, followers)?;
        let Views { machine, floored, live, revocations, blacklist, decisions } = views.clone();
        floored.raise(stores.opened_at);
        revocations.load(&stores.tokens, clock.now())?;
        stores.tokens.bans()?.iter().for_each(|ban| blacklist.insert(ban));

        let sealed = !stores.auth.keys()?.is_empty();
        let master = master::load(&config.keys, &config.data_dir, sealed, &*rng)?;
        let subjects = Subjects::new(known, stores.logs.clone(), Arc::clone(&rng), &master);
        let (logs, committer) = (stores.logs.clone(), stores.committer.clone());
        let trail = Trail::new(logs, committer, Arc::clone(&clock), Arc::clone(&rng), subjects);
        let ground = Ground {
            config: &config,
            stores: &stores,
            trail: &trail,
            master: &master,
            clock: &clock,
            rng: &rng,
        };
        let keys = ground.keys(live).await?;
        let (auth, heads) = (ground.auth(keys.clone())?, ground.heads()?);
        let users = ground.users(&auth);
        let (key, keep) = (heads.public_key(), config.audit.keep);
        let retention = Retention::new(trail.clone(), key, keep, machine, Instant::now());
        let health = Health::new();
        let watch = Watch::default();
        watch.register(&health, &stores);
        let disk = Disk::of(&config);
        disk.register(&health);
        let started_at = clock.now();
        // Last: what could not be opened is nobody's yet.
        mark::write(&config);
        Ok(Self {
            config,
            views,
            clock,
            rng,
            stores,
            trail,
            auth,
            users,
            keys,
            revocations,
            blacklist,
            heads,
            retention,
            health,
            watch,
            told: Told::default(),
            disk,
            started_at,
            decisions,
            listeners: OnceLock::new(),
            reloader: Seat::default(),
            keeper: Seat::default(),
            upstreams: OnceLock::new(),
            restarts: OnceLock::new(),
        })
    }

    /// Signs the audit chain's head, checkpoints the stores and lets the folder go.
    pub async fn close(self) -> Result<(), AppError> {
        // A node that went read-only cannot sign; that must not keep it from closing.
        if self.stores.committer.failed().is_none() {
            self.heads.sign_now().await?;
        }
        Ok(self.stores.close()?)
    }
}

pub(in crate::app) fn make_private(folder: &Path) -> Result<(), AppError> {
    let made = files::make_folder(folder).and_then(|()| files::claim_empty_folder(folder));
    made.map_err(|source| AppError::File {
        what: "cannot make the private folder",
        path: folder.to_owned(),
        source,
    })
}

/// What the parts are opened on.
struct Ground<'a> {
    config: &'a Config,
    stores: &'a Stores,
    trail: &'a Trail,
    master: &'a MasterKey,
    clock: &'a SharedClock,
    rng: &'a SharedRng,
}

impl Ground<'_> {
    async fn keys(&self, live: LiveKeys) -> Result<KeyRing, AppError> {
        let foundation = Foundation {
            live,
            auth: self.stores.auth.clone(),
            tokens: self.stores.tokens.clone(),
            committer: self.stores.committer.clone(),
            trail: self.trail.clone(),
            clock: Arc::clone(self.clock),
            rng: Arc::clone(self.rng),
        };
        let policy = Policy::of(&self.config.keys, &self.config.tokens);
        Ok(KeyRing::open(foundation, self.master, policy).await?)
    }

    fn auth(&self, keys: KeyRing) -> Result<Auth, AppError> {
        let (user, trail) = (self.stores.user.clone(), self.trail.clone());
        let parts = Parts {
            auth: self.stores.auth.clone(),
            tokens: self.stores.tokens.clone(),
            committer: self.stores.committer.clone(),
            trail: self.trail.clone(),
            clock: Arc::clone(self.clock),
            rng: Arc::clone(self.rng),
            keys,
            erasure: Arc::new(move |bundle, account| {
                user.stage(bundle, UserChange::UserErased { account });
                trail.erase(bundle, account);
            }),
        };
        let Config { accounts, passwords, throttle, tokens, .. } = self.config;
        Ok(Auth::start(parts, self.master, accounts, passwords, throttle, tokens)?)
    }

    fn users(&self, auth: &Auth) -> Users {
        let parts = users::Parts {
            user: self.stores.user.clone(),
            people: Arc::new(AuthPeople(auth.accounts.clone())),
            committer: self.stores.committer.clone(),
            trail: self.trail.clone(),
            denials: Arc::clone(&auth.denials),
            clock: Arc::clone(self.clock),
        };
        Users::new(parts, &self.config.users)
    }

    fn heads(&self) -> Result<HeadSigner, AppError> {
        let path = witness::path(&self.config.data_dir);
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        let key = HeadKey::from_seed(self.master.derive(Purpose::AuditHeads).expose());
        let check = copy::check(key.public(), self.stores.logs.clone());
        let outside = Outside::start(&self.config.audit, &path, check).map_err(AppError::Outside)?;
        Ok(HeadSigner::open(SignerParts {
            logs: self.stores.logs.clone(),
            committer: self.stores.committer.clone(),
            clock: Arc::clone(self.clock),
            key,
            every: self.config.audit.head_every,
            witness: &path,
            outside,
        })?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::draft::Draft;
    use crate::config::Environment;
    use crate::config::development::Listeners;
    use crate::config::secret::SecretSource;
    use crate::model::event::{Intent, Outcome};
    use crate::model::time::ManualClock;

    #[tokio::test]
    async fn a_clock_set_back_is_held_at_the_last_commit_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = || Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
        let late = Timestamp::from_millis(2_000_000_000_000);
        let early = late.minus(Duration::from_secs(3600));
        let machine = Arc::new(ManualClock::at(early));
        let core = Core::open_at(config(), machine.clone()).await.unwrap();
        machine.set(late);
        core.trail.record(Draft::new(Intent::Start, Outcome::Granted)).await.unwrap();
        machine.set(early);
        assert!(core.clock.now() >= late, "raised by the commit");
        core.close().await.unwrap();
        let core = Core::open_at(config(), machine).await.unwrap();
        assert!(core.clock.now() >= late, "raised by the journal");
    }

    #[tokio::test]
    async fn a_folder_that_could_not_be_opened_is_not_marked_and_one_that_cannot_be_marked_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let development = || Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
        Core::open(development()).await.unwrap().close().await.unwrap();
        let mut production = development();
        production.environment = Environment::Production;
        let another = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        production.keys.master_key = Some(SecretSource::Value(another.into()));
        assert!(Core::open(production.clone()).await.is_err(), "the keys are sealed by another");
        assert_eq!(mark::of(folder.path()), None);
        production.keys.master_key = None;
        std::fs::create_dir(folder.path().join("environment.new")).unwrap();
        Core::open(production.clone()).await.unwrap().close().await.unwrap();
        assert_eq!(mark::of(folder.path()), None);
        std::fs::remove_dir(folder.path().join("environment.new")).unwrap();
        Core::open(production).await.unwrap().close().await.unwrap();
        assert_eq!(mark::of(folder.path()), Some("production"));
    }
}
