//! The stores' life: replay at the start, one thread for the committer and one for each view, and
//! the order in which they end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::commit::appliers::{self, Feed, Pace, Retention};
use super::commit::{Committer, Follower, Shared, thread};
use super::engines::Engines;
use super::error::StoreError;
use super::files;
use super::journal::Journal;
use super::journal::reader::Reader;
use super::lock::Lock;
use super::progress::Progress;
use super::view::Applier;
use crate::config;
use crate::model::change::Namespace;
use crate::model::id::Seq;
use crate::model::time::SharedClock;
use crate::observe::stores::StoreMeters;

/// Bundles replayed into a view at once.
const REPLAY: usize = 4096;

/// The threads. Dropping it stops them without a checkpoint.
pub(in crate::store) struct Running {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
    appliers: Vec<JoinHandle<Result<(), StoreError>>>,
    feeds: Vec<Feed>,
    checkpoint_at_end: Arc<AtomicBool>,
    /// Last, so that the folder is let go after all threads.
    lock: Option<Lock>,
}

/// How far each namespace's answers are complete.
pub(in crate::store) struct Positions {
    pub auth: Arc<Progress>,
    pub user: Arc<Progress>,
    pub logs: Arc<Progress>,
    pub tokens: Arc<Progress>,
}

/// In the order of [`Namespace::ALL`].
fn appliers_of(engines: &Engines) -> [&dyn Applier; 4] {
    [&*engines.auth.applier, &*engines.user.applier, &*engines.logs.applier, &*engines.tokens.applier]
}

/// The furthest position that any view has applied.
pub(in crate::store) fn furthest(engines: &Engines) -> Seq {
    appliers_of(engines).iter().map(|applier| applier.applied()).max().unwrap_or_default()
}

/// Brings every view up to the journal.
///
/// # Errors
/// `Damaged` if the journal no longer holds what a view lacks, and whatever reading or applying
/// fails with.
pub(in crate::store) fn replay(engines: &mut Engines, journal: &Journal) -> Result<(), StoreError> {
    let (oldest, last) = (journal.catalog().oldest(), journal.last());
    for (namespace, applier) in Namespace::ALL.iter().zip(appliers_of(engines)) {
        let applied = applier.applied();
        if applied.next() < oldest {
            return Err(journal.lacks(*namespace, applied));
        }
    }
    let mut from = appliers_of(engines).iter().map(|applier| applier.applied()).min().unwrap_or_default();
    if from < last {
        tracing::info!(from = from.0, to = last.0, "bringing the stores up to the journal");
    }
    let mut reader = Reader::new(Arc::clone(journal.catalog()));
    while from < last {
        let bundles: Vec<_> = reader.after(from, REPLAY)?.into_iter().map(Arc::new).collect();
        let Some(through) = bundles.last().map(|bundle| bundle.seq) else { break };
        engines.auth.applier.apply(&bundles)?;
        engines.user.applier.apply(&bundles)?;
        engines.logs.applier.apply(&bundles)?;
        engines.tokens.applier.apply(&bundles)?;
        from = through;
    }
    Ok(())
}

impl Running {
    /// Starts the threads over views that are up to the journal.
    pub fn start(
        engines: Engines,
        journal: Journal,
        clock: SharedClock,
        settings: &config::store::Store,
        followers: Vec<Follower>,
        lock: Option<Lock>,
    ) -> Result<(Self, Positions), StoreError> {
        let at = || Arc::new(Progress::at(journal.last()));
        let positions = Positions { auth: at(), user: at(), logs: at(), tokens: at() };
        let catalog = journal.catalog();
        let meters = Arc::clone(&engines.meters);
        Namespace::ALL.iter().for_each(|it| meters.view(*it).applied.set(journal.last().0));
        let (auth, user) = (positions.auth.clone(), positions.user.clone());
        let shared = Arc::new(Shared::new(Arc::clone(catalog), auth, user, Arc::clone(&meters)));
        let retention = Arc::new(Retention::new(Arc::clone(catalog)));
        let checkpoint_at_end = Arc::new(AtomicBool::new(false));
        let mut running = Self {
            shared: Arc::clone(&shared),
            committer: None,
            appliers: Vec::new(),
            feeds: Vec::new(),
            checkpoint_at_end: Arc::clone(&checkpoint_at_end),
            lock,
        };
        let Engines { auth, user, logs, tokens, recent, .. } = engines;
        let views = [
            (Namespace::Auth, auth.applier, Pace::AWAITED, Some(positions.auth.clone())),
            (Namespace::User, user.applier, Pace::AWAITED, Some(positions.user.clone())),
            (Namespace::Logs, logs.applier, Pace::AWAITED, Some(positions.logs.clone())),
            // The overlay answers for the tokens, and the committer moves their position.
            (Namespace::Tokens, tokens.applier, Pace::GATHERING, None),
        ];
        for (namespace, applier, pace, progress) in views {
            let feed = Feed::new(pace, Arc::clone(meters.view(namespace)));
            running.feeds.push(feed.clone());
            if let Some(progress) = &progress {
                let feed = feed.clone();
                progress.on_wait(move || feed.hurry());
            }
            let parts = appliers::Parts {
                shared: Arc::clone(&shared),
                namespace,
                applier,
                feed,
                progress,
                retention: Arc::clone(&retention),
                checkpoint_every: settings.checkpoint_every,
                checkpoint_bytes: settings.segment_bytes,
                checkpoint_at_end: Arc::clone(&checkpoint_at_end),
            };
            running.appliers.push(spawn(namespace.name(), move || appliers::run(parts))?);
        }
        let tokens = Arc::clone(&positions.tokens);
        let parts =
            thread::Parts { shared, journal, clock, recent, tokens, followers, views: running.feeds.clone() };
        running.committer = Some(spawn("committer", move || thread::run(parts))?);
        Ok((running, positions))
    }

    /// What the stores measure.
    pub fn meters(&self) -> Arc<StoreMeters> {
        Arc::clone(&self.shared.meters)
    }

    /// The folder's lock, for the process that comes after.
    pub fn share_lock(&self) -> std::io::Result<Option<OwnedFd>> {
        self.lock.as_ref().map(Lock::share).transpose()
    }

    /// A way to write.
    pub fn committer(&self) -> Committer {
        Committer::new(Arc::clone(&self.shared))
    }

    /// Stops, with a checkpoint of every view.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.checkpoint_at_end.store(true, Ordering::Release);
        self.stop()
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        self.shared.close();
        if let Some(committer) = self.committer.take() {
            // It catches its own panics.
            let _ = committer.join();
        }
        self.feeds.iter().for_each(Feed::close);
        let mut result = Ok(());
        for applier in self.appliers.drain(..) {
            // These catch their own panics, too.
            result = result.and(applier.join().unwrap_or(Ok(())));
        }
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What went wrong was logged where it happened.
        let _ = self.stop();
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|source| files::failed("cannot start a thread for", Path::new(name), source))
}
