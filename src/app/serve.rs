//! Serving: the doors are opened in the order that lets nobody in too early, and closed in the
//! reverse, so that whoever is inside still finds everything.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::control::server;
use super::core::Core;
use super::doors;
use super::error::AppError;
use super::ready::Ready;
use super::{first_administrator, measures, upkeep};
use crate::audit::draft::Draft;
use crate::config::tls::CertificateSource;
use crate::model::caller::Actor;
use crate::model::event::{Intent, Outcome};
use crate::observe::metrics::Metrics;

/// Serves until `shutdown` resolves, then drains and closes.
pub(in crate::app) async fn serve(
    core: Core,
    shutdown: impl Future<Output = ()> + Send,
    on_ready: impl FnOnce(&Ready) + Send,
) -> Result<(), AppError> {
    let core = Arc::new(core);
    let metrics = Arc::new(Metrics::new());
    let administrator = first_administrator::make(&core).await?;
    let terminator = doors::terminator(&core)?;
    // The control socket first: its folder holds `ports.json`, and it fails if another daemon lives.
    let socket = server::bind(&core.config.data_dir)?;
    let internal = doors::internal(&core).await?;
    core.trail.record(Draft::new(Intent::Start, Outcome::Granted).by(Actor::System)).await?;
    let verifier = doors::verifier(&core);
    measures::register(&core, Arc::clone(&verifier), &metrics);
    let edge = doors::edge(&core, &terminator, verifier, &metrics)?;
    let listeners = doors::listeners(&core, &edge, internal.as_ref())?;
    let _ = core.listeners.set(listeners.lines());

    let (stop, stopped) = watch::channel(false);
    let mut side_doors = JoinSet::new();
    side_doors.spawn(server::serve(socket, core.clone(), until(stopped.clone())));
    if let Some(internal) = internal {
        let encode: crate::observe::internal::Encode = {
            let metrics = Arc::clone(&metrics);
            Arc::new(move || metrics.encode())
        };
        let health = core.health.clone();
        side_doors.spawn(crate::observe::internal::serve(internal, health, encode, until(stopped)));
    }
    let mut upkeep = upkeep::start(&core, &terminator);
    tracing::info!(listeners = ?core.listeners.get(), "serving");
    let data_dir = core.config.data_dir.clone();
    let ca = matches!(core.config.tls.source, CertificateSource::LocalCa { .. });
    let ca = ca.then(|| data_dir.join("tls/ca.pem"));
    on_ready(&Ready { listeners, data_dir, ca, administrator });

    shutdown.await;
    core.health.drain();
    let cut = edge.drain(core.config.limits.drain_timeout).await;
    if cut > 0 {
        tracing::warn!(cut, "requests were still open at the drain deadline and were cut");
    }
    // Waits for them: a task that is only told to end still holds the house.
    upkeep.shutdown().await;
    let _ = stop.send(true);
    while side_doors.join_next().await.is_some() {}
    close(core).await
}

/// Resolves once the flag is up, or nobody is left to put it up.
async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|stop| *stop).await;
}

async fn close(core: Arc<Core>) -> Result<(), AppError> {
    // Nobody is left who could be refused.
    upkeep::write_denials(&core, None).await;
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
