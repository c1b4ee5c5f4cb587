//! A test bed: a backend behind its four handles, and a stand-in for the committer that numbers
//! bundles, tells the overlay, and feeds the appliers at once.

use std::sync::Arc;

use tempfile::TempDir;

use crate::config;
use crate::model::change::Change;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::bundle::{Committed, SharedCommit};
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
    appliers: [(Box<dyn Applier>, Arc<Progress>); 4],
    recent: Arc<Recent>,
    seq: Seq,
    edit: Edit,
    /// Whether the tokens engine is left behind, so that the overlay must answer.
    tokens_lag: bool,
    _folder: Option<TempDir>,
}

impl Bed {
    pub fn over(engines: Engines, folder: Option<TempDir>) -> Self {
        let progress = |applier: &dyn Applier| Arc::new(Progress::at(applier.applied()));
        let Engines { auth, user, logs, tokens, recent } = engines;
        let at = [&auth.applier, &user.applier, &logs.applier, &tokens.applier].map(|it| progress(&**it));
        let [a, u, l, t] = at;
        Self {
            auth: AuthStore::new(auth.view, a.clone()),
            user: UserStore::new(user.view, u.clone()),
            logs: LogStore::new(logs.view, l.clone()),
            tokens: TokenStore::new(tokens.view, t.clone()),
            appliers: [(auth.applier, a), (user.applier, u), (logs.applier, l), (tokens.applier, t)],
            recent,
            seq: Seq(0),
            edit: Some,
            tokens_lag: false,
            _folder: folder,
        }
    }

    pub fn in_memory() -> Self {
        Self::over(Engines::in_memory(), None)
    }

    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engines = Engines::embedded(folder.path(), &config::store::Store::default()).unwrap();
        Self::over(engines, Some(folder))
    }

    pub fn with_lagging_tokens(mut self) -> Self {
        self.tokens_lag = true;
        self
    }

    pub fn edited(mut self, edit: Edit) -> Self {
        self.edit = edit;
        self
    }

    /// Commits one bundle.
    pub fn commit(&mut self, changes: impl IntoIterator<Item = impl Into<Change>>) -> Seq {
        let changes = changes.into_iter().map(Into::into).filter_map(self.edit).collect();
        self.seq = self.seq.next();
        let time = Timestamp::from_millis(self.seq.0.cast_signed());
        let commit: SharedCommit = Arc::new(Committed { seq: self.seq, time, changes });
        self.recent.record(&commit);
        let followers = if self.tokens_lag { 3 } else { 4 };
        for (applier, progress) in &mut self.appliers[..followers] {
            applier.apply(&[commit.clone()]).unwrap();
            progress.advance(applier.applied());
        }
        self.seq
    }
}
