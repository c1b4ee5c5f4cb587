//! Serving: the doors are opened in the order that lets nobody in too early, and closed in the
//! reverse, so that whoever is inside still finds everything. Or another process takes over
//! ([`super::handover`]).

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::core::Core;
use super::error::AppError;
use super::front::Front;
use super::handover::inherited::{Ending, Inherited, Stage};
use super::handover::{Asked, notify, successor::Successor};
use super::house::{self, House};
use super::ready::Ready;
use super::reload::{Reloader, Source};
use super::replace::{self, Replaced};
use super::{Orders, first_administrator};
use crate::config::tls::CertificateSource;
use crate::edge::connection::Farewell;
use crate::model::caller::{Actor, Origin};
use crate::model::id::RequestId;

/// For a process that cuts what it has to have its counts of refusals recorded by the one that took over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves, then drains and closes; or until another process serves instead, then
/// drains.
pub(in crate::app) async fn serve(
    core: Core,
    found: Inherited,
    orders: Orders<impl Future<Output = ()> + Send>,
    on_ready: impl FnOnce(&Ready) + Send,
) -> Result<(), AppError> {
    let core = Arc::new(core);
    let Orders { source, mut reload, mut restart, program, shutdown } = orders;
    let banned = core.config.blacklist.gather().map_err(AppError::Blacklist)?;
    core.blacklist.configure(&banned);
    let (mut front, mut asked) = Front::open(&core, found).await?;
    // Only now: had a door been stuck, the password would have been made and never shown.
    let administrator = first_administrator::make(&core).await?;
    let ca = matches!(core.config.tls.source, CertificateSource::LocalCa { .. });
    let data_dir = core.config.data_dir.clone();
    let ca = ca.then(|| data_dir.join("tls/ca.pem"));
    let mut house = House::open(core, &front, source.clone(), banned)?;
    let listeners = front.listeners.clone();
    on_ready(&Ready { listeners, data_dir: data_dir.clone(), ca, administrator });
    let mut stage = front.ending.as_ref().map(Ending::stage);
    match &front.ending {
        Some(ending) => ending.tell_ready(),
        None => notify::ready(),
    }
    let mut shutdown = std::pin::pin!(shutdown);
    let mut stopping = false;
    while !stopping {
        let asked = tokio::select! {
            biased;
            () = &mut shutdown => break,
            // A file that cannot be read to its end must not keep the house from closing.
            Some(()) = reload.recv() => {
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    () = reload_by_signal(&house.core, &house.reloader) => {}
                }
                continue;
            }
            reached = next(&mut stage) => {
                before_is(reached, &mut front, &data_dir, &source);
                continue;
            }
            Some(asked) = asked.recv() => asked,
            Some(()) = restart.recv() => Asked::by_signal(by_signal(&house.core)),
        };
        let (give_up, given_up) = watch::channel(false);
        let replaced = {
            let replacing = replace::replace(&mut front, house, &source, (&program, asked), &given_up);
            let mut replacing = std::pin::pin!(replacing);
            tokio::select! {
                biased;
                () = &mut shutdown => {
                    stopping = true;
                    give_up.send_replace(true);
                    replacing.await
                }
                replaced = &mut replacing => replaced,
            }
        };
        match replaced {
            Replaced::Not(back) => house = *back,
            Replaced::By(successor, gone) => {
                // A stop that came meanwhile has been told already.
                let stop = async {
                    if !stopping {
                        shutdown.await
                    }
                };
                depart(front, successor, gone, stop).await;
                return Ok(());
            }
            Replaced::Lost(error) => return Err(error),
        }
    }
    close(front, house).await
}

/// The next stage of the process before; never, if there is none or it is over.
async fn next(stage: &mut Option<watch::Receiver<Stage>>) -> Stage {
    if let Some(stage) = stage
        && stage.changed().await.is_ok()
    {
        return *stage.borrow_and_update();
    }
    std::future::pending().await
}

/// Takes what it leaves.
fn before_is(reached: Stage, front: &mut Front, data_dir: &Path, source: &Source) {
    if reached >= Stage::Gives && !*front.owns.borrow() {
        front.claim(data_dir);
        // Also by this process: the one before may be gone.
        notify::handed_over(std::process::id());
    }
    if reached == Stage::Over {
        source.log.set_shared(false);
    }
}

/// Of a signal, which says nothing of who sent it.
fn by_signal(core: &Core) -> Origin {
    let request = RequestId::new(core.clock.now(), &*core.rng);
    Origin { request, address: None, user_agent: String::new() }
}

/// What came of it stands in the log and in `status`.
async fn reload_by_signal(core: &Core, reloader: &Arc<Reloader>) {
    notify::reloading();
    let _ = reloader.reload(core, Actor::System, &by_signal(core)).await;
    notify::ready();
}

/// Ends what is open in a process that another has replaced, in its time or at once.
async fn depart(
    front: Front,
    successor: Successor,
    mut gone: mpsc::Receiver<()>,
    stop: impl Future<Output = ()>,
) {
    let housekeeping = front.edge.housekeeping();
    tokio::select! {
        () = leave(front, &successor) => return,
        _ = gone.recv() => tracing::warn!("the process that took over has ended, or says so: cutting what is open"),
        () = stop => tracing::info!("cutting what is open"),
    }
    // What was refused here stands in the log of the process that has the stores, if that is there.
    drop(timeout(LAST_WORDS, housekeeping.close_windows(None)).await);
}

async fn leave(front: Front, successor: &Successor) {
    let patience = front.patience;
    tracing::info!(
        pid = successor.pid(),
        seconds = patience.as_secs(),
        "another process serves now; what is open here is finished"
    );
    let (edge, beside) = front.part();
    let cut = edge.drain(Farewell::HandOver, patience).await;
    beside.end().await;
    if cut > 0 {
        tracing::warn!(cut, "requests or tunnels were still open at limits.handover_timeout and were cut");
    }
    tracing::info!("all is finished");
}

async fn close(front: Front, house: House) -> Result<(), AppError> {
    notify::stopping();
    // Readiness first, so that whoever balances looks elsewhere.
    house.core.health.drain();
    let patience = house.reloader.drain_timeout();
    let housekeeping = front.edge.housekeeping();
    let (edge, beside) = front.part();
    let cut = edge.drain(Farewell::Drain, patience).await;
    if cut > 0 {
        tracing::warn!(cut, "requests were still open at the drain deadline and were cut");
    }
    let core = house.rest(beside).await;
    // Nobody is inside any more.
    house::finish(core, housekeeping).await
}
