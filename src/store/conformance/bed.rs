//! A test bed: a backend behind its four handles, and a way to commit to it. Either the whole of
//! [`Stores`], journal and committer and all, or bare engines with a stand-in for the committer that
//! numbers bundles, tells the overlay, and feeds the appliers at once.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::config;
use crate::model::change::Change;
use crate::model::id::Seq;
use crate::model::time::{ManualClock, SharedClock, Timestamp};
use crate::store::Stores;
use crate::store::bundle::{Bundle, Committed, SharedCommit};
use crate::store::engines::Engines;
use crate::store::namespace::{AuthStore, LogStore, TokenStore, UserStore};
use crate::store::progress::Progress;
use crate::store::recent::Recent;
use crate::store::view::Applier;

/// What a broken backend makes of a change.
pub(super) type Edit = fn(Change) -> Option<Change>;

/// A backend under test.
pub(super) struct Bed {
    pub auth: AuthStore,
    pub user: UserStore,
    pub logs: LogStore,
    pub tokens: TokenStore,
    backend: Backend,
    edit: Edit,
    _folder: Option<TempDir>,
}

enum Backend {
    Bare(Bare),
    Whole { stores: Stores, runtime: Runtime },
}

/// Engines without a journal.
struct Bare {
    appliers: [(Box<dyn Applier>, Arc<Progress>); 4],
    recent: Arc<Recent>,
    seq: Seq,
    /// Whether the tokens engine is left behind, so that the overlay must answer.
    tokens_lag: bool,
}

impl Bed {
    /// Bare engines.
    pub fn over(engines: Engines, folder: Option<TempDir>) -> Self {
        let progress = |applier: &dyn Applier| Arc::new(Progress::at(applier.applied()));
        let Engines { auth, user, logs, tokens, recent, .. } = engines;
        let [a, u, l, t] =
            [&auth.applier, &user.applier, &logs.applier, &tokens.applier].map(|it| progress(&**it));
        let bare = Bare {
            recent,
            seq: Seq(0),
            tokens_lag: false,
            appliers: [
                (auth.applier, a.clone()),
                (user.applier, u.clone()),
                (logs.applier, l.clone()),
                (tokens.applier, t.clone()),
            ],
        };
        Self {
            auth: AuthStore::new(auth.view, a),
            user: UserStore::new(user.view, u),
            logs: LogStore::new(logs.view, l),
            tokens: TokenStore::new(tokens.view, t),
            backend: Backend::Bare(bare),
            edit: Some,
            _folder: folder,
        }
    }

    /// The bare embedded engines, the tokens engine never told of anything.
    pub fn lagging() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engines = Engines::embedded(folder.path(), &config::store::Store::default()).unwrap();
        let mut bed = Self::over(engines, Some(folder));
        if let Backend::Bare(bare) = &mut bed.backend {
            bare.tokens_lag = true;
        }
        bed
    }

    /// The whole of the stores, in memory.
    pub fn in_memory() -> Self {
        Self::whole(Stores::in_memory(clock(), Vec::new()).unwrap(), None)
    }

    /// The whole of the stores, on disk.
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = config::store::Store { segment_bytes: 1024 * 1024, ..Default::default() };
        let stores = Stores::open(folder.path(), clock(), &settings, Vec::new()).unwrap();
        Self::whole(stores, Some(folder))
    }

    fn whole(stores: Stores, folder: Option<TempDir>) -> Self {
        let runtime = Builder::new_current_thread().build().unwrap();
        Self {
            auth: stores.auth.clone(),
            user: stores.user.clone(),
            logs: stores.logs.clone(),
            tokens: stores.tokens.clone(),
            backend: Backend::Whole { stores, runtime },
            edit: Some,
            _folder: folder,
        }
    }

    /// A backend that gets something else than what was committed.
    pub fn edited(mut self, edit: Edit) -> Self {
        self.edit = edit;
        self
    }

    /// Commits one bundle and waits until every namespace has it.
    pub fn commit(&mut self, changes: impl IntoIterator<Item = impl Into<Change>>) -> Seq {
        let changes = changes.into_iter().map(Into::into).filter_map(self.edit);
        match &mut self.backend {
            Backend::Bare(bare) => bare.commit(changes.collect()),
            Backend::Whole { stores, runtime } => {
                let mut bundle = Bundle::new();
                changes.for_each(|change| bundle.stage(change));
                runtime.block_on(async {
                    let seq = stores.committer.commit(bundle).await.unwrap().seq;
                    stores.logs.reached(seq).await.unwrap();
                    seq
                })
            }
        }
    }
}

fn clock() -> SharedClock {
    Arc::new(ManualClock::at(Timestamp::from_millis(1)))
}

impl Bare {
    fn commit(&mut self, changes: Vec<Change>) -> Seq {
        self.seq = self.seq.next();
        let time = Timestamp::from_millis(self.seq.0.cast_signed());
        let commit: SharedCommit = Arc::new(Committed { seq: self.seq, time, changes });
        self.recent.record(&commit);
        let told = if self.tokens_lag { 3 } else { 4 };
        for (applier, progress) in &mut self.appliers[..told] {
            applier.apply(std::slice::from_ref(&commit)).unwrap();
            progress.advance(applier.applied());
        }
        self.seq
    }
}
