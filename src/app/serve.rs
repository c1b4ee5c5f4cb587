//! Serving: the doors are opened in the order that lets nobody in too early, and closed in the
//! reverse, so that whoever is inside still finds everything.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::control::server;
use super::core::Core;
use super::doors;
use super::error::AppError;
use super::ready::{Listeners, Ready};
use super::reload::{NAMES, Reloader, Source};
use super::upkeep::{self, steps};
use super::{Orders, certificates, first_administrator, measures};
use crate::audit::draft::Draft;
use crate::config::tls::CertificateSource;
use crate::edge::acme::keeper::Keeper;
use crate::edge::start::{Housekeeping, Running};
use crate::model::caller::{Actor, Origin};
use crate::model::event::{Intent, Outcome};
use crate::model::id::RequestId;
use crate::observe::internal::{self, Encode};
use crate::observe::metrics::Metrics;

/// Serves until `shutdown` resolves, then drains and closes.
pub(in crate::app) async fn serve(
    core: Core,
    orders: Orders<impl Future<Output = ()> + Send>,
    on_ready: impl FnOnce(&Ready) + Send,
) -> Result<(), AppError> {
    let core = Arc::new(core);
    let Orders { source, mut reload, shutdown } = orders;
    let doors = open(&core, source).await?;
    // Only now: had a door been stuck, the password would have been made and never shown.
    let administrator = first_administrator::make(&core).await?;
    let ca = matches!(core.config.tls.source, CertificateSource::LocalCa { .. });
    let data_dir = core.config.data_dir.clone();
    let ca = ca.then(|| data_dir.join("tls/ca.pem"));
    on_ready(&Ready { listeners: doors.listeners.clone(), data_dir, ca, administrator });
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            // A file that cannot be read to its end must not keep the house from closing.
            Some(()) = reload.recv() => tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = reload_by_signal(&core, &doors.reloader) => {}
            },
        }
    }
    close(core, doors).await
}

/// What came of it stands in the log and in `status`.
async fn reload_by_signal(core: &Core, reloader: &Arc<Reloader>) {
    let request = RequestId::new(core.clock.now(), &*core.rng);
    let origin = Origin { request, address: None, user_agent: String::new() };
    let _ = reloader.reload(core, Actor::System, &origin).await;
}

/// What stands open.
struct Doors {
    edge: Running,
    listeners: Listeners,
    upkeep: JoinSet<()>,
    reloader: Arc<Reloader>,
    keeper: Arc<Keeper>,
    /// Lets the upkeep come to rest.
    rest: watch::Sender<bool>,
    /// The control socket, the internal listener, and what looks after upstreams: names and checks.
    side: JoinSet<()>,
    /// Ends them.
    stop: watch::Sender<bool>,
}

async fn open(core: &Arc<Core>, source: Source) -> Result<Doors, AppError> {
    let metrics = Arc::new(Metrics::new(core.started_at));
    // Certificates first: nothing is worth opening without them.
    let terminator = doors::terminator(core)?;
    // The control socket next: its folder holds `ports.json`, and it fails if another daemon lives.
    let socket = server::bind(&core.config.data_dir)?;
    let internal = doors::internal(core).await?;
    // On record before the first request can be.
    core.trail.record(Draft::new(Intent::Start, Outcome::Granted).by(Actor::System)).await?;
    let verifier = doors::verifier(core);
    let log = source.log.clone();
    measures::register(core, Arc::clone(&verifier), log.clone(), &metrics);
    let (keeper, keeping) = certificates::keeper(core, &terminator, &metrics);
    let banned = core.config.blacklist.gather().map_err(AppError::Blacklist)?;
    core.blacklist.configure(&banned);
    // From here on requests are answered.
    let edge = doors::edge(core, &terminator, Arc::clone(&verifier), &metrics)?;
    let listeners = doors::listeners(core, &edge, internal.as_ref())?;
    let _ = core.listeners.set(listeners.lines());
    let reloader = Reloader::new(core, source, (edge.changer(), terminator.clone()), banned);
    let _ = core.reloader.set(Arc::downgrade(&reloader));
    let _ = core.upstreams.set(edge.upstreams());
    let (stop, stopped) = watch::channel(false);
    let mut side = JoinSet::new();
    let mut names = edge.names();
    // So that the first request finds servers, if a name server answers at once.
    let _ = tokio::time::timeout(NAMES, names.look(Instant::now())).await;
    side.spawn(names.run(until(stopped.clone())));
    side.spawn(edge.checker().run(until(stopped.clone())));
    side.spawn(server::serve(socket, core.clone(), until(stopped.clone())));
    if let Some(internal) = internal {
        let encode: Encode = Arc::new(move || metrics.encode());
        side.spawn(internal::serve(internal, core.health.clone(), encode, until(stopped)));
    }
    let (rest, resting) = watch::channel(false);
    let beside = upkeep::Beside { terminator, edge: edge.housekeeping(), verifier, log };
    let mut upkeep = upkeep::start(core, beside, &resting);
    upkeep.spawn(keeping.run(resting));
    tracing::info!(position = core.stores.committer.durable().0, "serving");
    Ok(Doors { edge, listeners, upkeep, reloader, keeper, rest, side, stop })
}

async fn close(core: Arc<Core>, doors: Doors) -> Result<(), AppError> {
    let Doors { edge, mut upkeep, reloader, keeper, rest, mut side, stop, .. } = doors;
    // Readiness first, so that whoever balances looks elsewhere.
    core.health.drain();
    let patience = reloader.drain_timeout();
    let housekeeping = edge.housekeeping();
    // It holds the edge, whose threads are to end.
    drop(reloader);
    let cut = edge.drain(patience).await;
    if cut > 0 {
        tracing::warn!(cut, "requests were still open at the drain deadline and were cut");
    }
    // Told and awaited, not aborted: a step cut in the middle leaves its work half done, and a task
    // that is only told to end still holds the house.
    rest.send_replace(true);
    while upkeep.join_next().await.is_some() {}
    drop(keeper);
    let _ = stop.send(true);
    while side.join_next().await.is_some() {}
    // Nobody is inside any more.
    finish(core, housekeeping).await
}

/// Resolves once the flag is up, or nobody is left to put it up.
async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|stop| *stop).await;
}

async fn finish(core: Arc<Core>, edge: Housekeeping) -> Result<(), AppError> {
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
