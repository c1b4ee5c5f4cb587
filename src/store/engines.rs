//! The engines behind the four namespaces, chosen in one place: SQLite and redb on disk, or maps.
//!
//! It opens them and gives them away: threads, replay and order are the committer's business.

use std::path::Path;
use std::sync::Arc;

use super::cached::SessionCache;
use super::error::StoreError;
use super::memory::{Memory, MemoryApplier, auth, logs, tokens, user};
use super::overlaid::{Overlaid, Settling, TokenEngine};
use super::recent::Recent;
use super::view::{Applier, AuthView, LogView, TokenView, UserView};
use super::{files, redb as tokens_file, sqlite};
use crate::config;
use crate::model::change::Namespace;
use crate::observe::stores::StoreMeters;

/// One namespace's view: its reader and its applier.
pub(in crate::store) struct Engine<V: ?Sized> {
    pub view: Arc<V>,
    pub applier: Box<dyn Applier>,
}

/// The engines of all four namespaces and the overlay over the tokens.
pub(in crate::store) struct Engines {
    pub auth: Engine<dyn AuthView>,
    pub user: Engine<dyn UserView>,
    pub logs: Engine<dyn LogView>,
    pub tokens: Engine<dyn TokenView>,
    pub recent: Arc<Recent>,
    /// What they and the commit path in front of them measure.
    pub meters: Arc<StoreMeters>,
}

impl Engines {
    /// Empty engines that live in memory.
    pub fn in_memory() -> Self {
        let (auth, user) = (Memory::<auth::Auth>::new(), Memory::<user::User>::new());
        let (logs, tokens) = (Memory::<logs::Logs>::new(), Memory::<tokens::Tokens>::new());
        let meters = Arc::new(StoreMeters::default());
        let (tokens, recent) = overlaid(tokens.clone(), MemoryApplier(tokens), 0, &meters);
        Self {
            auth: Engine { view: auth.clone(), applier: Box::new(MemoryApplier(auth)) },
            user: Engine { view: user.clone(), applier: Box::new(MemoryApplier(user)) },
            logs: Engine { view: logs.clone(), applier: Box::new(MemoryApplier(logs)) },
            tokens,
            recent,
            meters,
        }
    }

    /// Opens, or creates, the engines under `folder`, each in a folder of its own.
    ///
    /// # Errors
    /// `Io` where the operating system refuses, `NewerSchema` for data of a newer Keepgate, `Damaged`
    /// or `Engine` where a file is not what an engine wrote.
    pub fn embedded(folder: &Path, settings: &config::store::Store) -> Result<Self, StoreError> {
        files::private_folder(folder)?;
        let place = |namespace: Namespace| folder.join(namespace.name());
        let (auth, auth_applier) = sqlite::open::<sqlite::auth::Auth>(&place(Namespace::Auth))?;
        let (user, user_applier) = sqlite::open::<sqlite::user::User>(&place(Namespace::User))?;
        let (logs, logs_applier) = sqlite::open::<sqlite::logs::Logs>(&place(Namespace::Logs))?;
        let (tokens, tokens_applier) = tokens_file::open(&place(Namespace::Tokens))?;
        let meters = Arc::new(StoreMeters::default());
        let (tokens, recent) = overlaid(tokens, tokens_applier, settings.session_cache, &meters);
        Ok(Self {
            auth: Engine { view: auth, applier: Box::new(auth_applier) },
            user: Engine { view: user, applier: Box::new(user_applier) },
            logs: Engine { view: logs, applier: Box::new(logs_applier) },
            tokens,
            recent,
            meters,
        })
    }
}

/// The overlay and the session cache over a tokens engine.
fn overlaid(
    engine: Arc<impl TokenEngine + 'static>,
    applier: impl Applier + 'static,
    cached_sessions: u64,
    meters: &Arc<StoreMeters>,
) -> (Engine<dyn TokenView>, Arc<Recent>) {
    let recent = Arc::new(Recent::default());
    let cache = Arc::new(SessionCache::new(cached_sessions));
    let view = Overlaid { recent: recent.clone(), cache: cache.clone(), engine, meters: meters.clone() };
    let applier = Settling { applier, recent: recent.clone(), cache };
    (Engine { view: Arc::new(view), applier: Box::new(applier) }, recent)
}
