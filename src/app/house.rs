//! What is opened on the stores while the node serves, beside the edge: the clockwork, the control socket, the
//! internal listener. Closed with them, and opened again where they are.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::control::server;
use super::core::Core;
use super::error::AppError;
use super::front::{BesideEdge, Front};
use super::reload::{Reloader, Source};
use super::upkeep::{self, steps};
use super::{certificates, memory};
use crate::audit::draft::Draft;
use crate::edge::acme::keeper::Keeper;
use crate::edge::start::Housekeeping;
use crate::model::caller::Actor;
use crate::model::event::{Intent, Outcome};
use crate::observe::internal::{self, Encode};

/// For commands and the clockwork's steps to end before a hand-over. An order at a CA may take longer.
const VACATING: Duration = Duration::from_secs(30);

/// A house that serves.
pub(in crate::app) struct House {
    pub core: Arc<Core>,
    pub reloader: Arc<Reloader>,
    keeper: Arc<Keeper>,
    upkeep: JoinSet<()>,
    /// Lets the upkeep come to rest.
    rest: watch::Sender<bool>,
    /// The control socket and the internal listener.
    side: JoinSet<()>,
    /// Ends them.
    stop: watch::Sender<bool>,
}

impl House {
    /// Opens it behind a front that stands already.
    pub fn open(
        core: Arc<Core>,
        front: &Front,
        source: Source,
        banned: Vec<IpNet>,
    ) -> Result<Self, AppError> {
        let log = source.log.clone();
        let (keeper, keeping) = certificates::keeper(&core, &front.terminator);
        front.slots.put(&core, Arc::clone(&front.verifier), log.clone(), Arc::clone(&keeper));
        let _ = core.listeners.set(front.listeners.lines());
        let reloader = Reloader::new(&core, source, (front.edge.changer(), front.terminator.clone()), banned);
        core.reloader.set(&reloader);
        let _ = core.upstreams.set(front.edge.upstreams());
        let _ = core.restarts.set(front.restarts.clone());
        let (stop, stopped) = watch::channel(false);
        let mut side = JoinSet::new();
        let socket = front.socket.share().map_err(AppError::Descriptors)?;
        // What is begun here is not broken off by a process before this one that goes back.
        let commands = server::serve(socket, Arc::<Core>::clone(&core), until(stopped.clone()));
        side.spawn(begun(front.owns.subscribe(), stopped.clone(), commands));
        if let Some(internal) = &front.internal {
            let internal = internal.try_clone().and_then(TcpListener::from_std);
            let internal = internal.map_err(AppError::Descriptors)?;
            let metrics = Arc::clone(&front.metrics);
            let encode: Encode = Arc::new(move || metrics.encode());
            let answers = internal::serve(internal, core.health.clone(), encode, until(stopped.clone()));
            side.spawn(begun(front.owns.subscribe(), stopped, answers));
        }
        let (rest, resting) = watch::channel(false);
        let beside = upkeep::Beside {
            terminator: front.terminator.clone(),
            edge: front.edge.housekeeping(),
            verifier: Arc::clone(&front.verifier),
            log,
        };
        let mut upkeep = upkeep::start(&core, beside, &resting);
        upkeep.spawn(keeping.run(resting));
        tracing::info!(position = core.stores.committer.durable().0, "serving");
        Ok(Self { core, reloader, keeper, upkeep, rest, side, stop })
    }

    /// Ends the clockwork first, then what commands come by, with what is left of the front.
    pub async fn rest(self, beside: BesideEdge) -> Arc<Core> {
        let Self { core, reloader, keeper, mut upkeep, rest, mut side, stop } = self;
        settle((reloader, keeper), &mut upkeep, &rest).await;
        let _ = stop.send(true);
        beside.end().await;
        while side.join_next().await.is_some() {}
        core
    }

    /// The other way about, for who comes after: what is asked for from now on waits for them. Gives the core back
    /// as an error if the clockwork does not come to rest in time; what is left of it ends after its step.
    pub async fn vacate(self) -> Result<Arc<Core>, Arc<Core>> {
        let Self { core, reloader, keeper, mut upkeep, rest, mut side, stop } = self;
        let _ = stop.send(true);
        let told = || {
            drop(reloader);
            rest.send_replace(true);
        };
        let at_rest = in_time(VACATING, &mut side, told, &mut upkeep).await;
        drop(keeper);
        if at_rest { Ok(core) } else { Err(core) }
    }
}

/// Waits for the one, tells the other, and waits for that. Who does not end in time is not waited for any more.
async fn in_time(
    patience: Duration,
    first: &mut JoinSet<()>,
    tell: impl FnOnce() + Send,
    then: &mut JoinSet<()>,
) -> bool {
    let ended = timeout(patience, async {
        while first.join_next().await.is_some() {}
        tell();
        while then.join_next().await.is_some() {}
    });
    let ended = ended.await.is_ok();
    first.detach_all();
    then.detach_all();
    ended
}

/// Opens a door once this process owns what is behind it.
async fn begun(
    mut owns: watch::Receiver<bool>,
    stopped: watch::Receiver<bool>,
    door: impl Future<Output = ()>,
) {
    let owned = tokio::select! {
        biased;
        () = until(stopped) => false,
        owned = owns.wait_for(|owns| *owns) => owned.is_ok(),
    };
    if owned {
        door.await;
    }
}

async fn settle(
    (reloader, keeper): (Arc<Reloader>, Arc<Keeper>),
    upkeep: &mut JoinSet<()>,
    rest: &watch::Sender<bool>,
) {
    // It holds the edge, whose threads are to end.
    drop(reloader);
    // Told and awaited, not aborted: a step cut in the middle leaves its work half done, and a task
    // that is only told to end still holds the house.
    rest.send_replace(true);
    while upkeep.join_next().await.is_some() {}
    drop(keeper);
}

/// Resolves once the flag is up, or nobody is left to put it up.
pub(in crate::app) async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|stop| *stop).await;
}

/// The last words of a node that ends, and its end.
pub(in crate::app) async fn finish(core: Arc<Core>, edge: Housekeeping) -> Result<(), AppError> {
    // Nobody is left who could be refused. A flood may have left counts by the ten thousand.
    let full = steps::is_full(&core).await;
    // The last words are few and may use the room that is kept for them.
    core.stores.committer.set_room(None);
    if full {
        let lost = [steps::largest_denials(&core).await, edge.close_largest(steps::LAST_COUNTS).await];
        steps::tell_given_up(&lost);
    } else {
        steps::denials(&core, None).await;
        edge.close_windows(None).await;
    }
    drop(edge);
    if core.stores.committer.read_only().is_none() {
        core.trail.record(Draft::new(Intent::Stop, Outcome::Granted).by(Actor::System)).await?;
    }
    match Arc::try_unwrap(core) {
        Ok(core) => core.close().await,
        Err(core) => {
            // A command that outlived its patience still holds the stores. They are safe as they are:
            // what was committed is in the journal, and the next start replays it.
            tracing::warn!("a command is still under way; stopping without a last checkpoint");
            if core.stores.committer.read_only().is_none() {
                core.heads.sign_now().await?;
            }
            Ok(())
        }
    }
}

/// Closes a house whose stores another process is to open, with that on record. Gives it back if somebody is still
/// in it.
pub(in crate::app) async fn give_up(
    core: Arc<Core>,
    restart: Draft,
) -> Result<Result<(), AppError>, Arc<Core>> {
    // Who is still in it (a command that outlived its patience) would keep the stores from being closed.
    let core = Arc::try_unwrap(core)?;
    let writable = core.stores.committer.read_only().is_none();
    if writable {
        let stop = Draft::new(Intent::Stop, Outcome::Granted).by(Actor::System).reason("handed_over");
        if let Err(error) = core.trail.record_all(vec![restart, stop]).await {
            return Ok(Err(error.into()));
        }
    }
    let closed = core.close().await;
    memory::give_back();
    Ok(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_come_to_rest_is_waited_for_so_long_and_no_longer_and_is_not_cut() {
        let (rest, resting) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let (mut side, mut upkeep) = (JoinSet::new(), JoinSet::new());
        side.spawn(async {});
        upkeep.spawn(until(resting.clone()));
        let told = || {
            rest.send_replace(true);
        };
        assert!(in_time(Duration::from_secs(60), &mut side, told, &mut upkeep).await, "told, and at rest");
        // A CA that does not answer.
        let (done, finished) = tokio::sync::oneshot::channel();
        upkeep.spawn(async move {
            until(ended).await;
            let _ = done.send(());
        });
        assert!(!in_time(Duration::from_millis(10), &mut side, || {}, &mut upkeep).await);
        drop((side, upkeep));
        end.send_replace(true);
        finished.await.expect("its step is finished");
    }

    #[tokio::test]
    async fn a_door_is_opened_once_it_is_ours_and_not_any_more_when_the_house_is_left() {
        let (owns, owned) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let opened = std::sync::atomic::AtomicU32::new(0);
        let door = || async { opened.store(1, std::sync::atomic::Ordering::Relaxed) };
        stop.send_replace(true);
        begun(owned.clone(), stopped.clone(), door()).await;
        assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 0, "who waits is somebody else's");
        stop.send_replace(false);
        let mut begun = std::pin::pin!(begun(owned, stopped, door()));
        assert!(timeout(Duration::from_millis(1), &mut begun).await.is_err());
        assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 0);
        owns.send_replace(true);
        begun.await;
        assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
