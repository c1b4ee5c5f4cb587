//! The work of keeping certificates, turn by turn: what is due is ordered, one order at a time over all
//! certificates, so that a CA sees one polite client; then an operator's command, or a nap.
//!
//! It ends with the node and not before: a defect costs a turn, or an order that counts as failed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::commands::Ask;
use super::failure::{Failure, Why};
use super::keeper::Keeper;
use super::store::Id;
use crate::model::caller::Actor;

/// Longest sleep: clocks are set.
const NAP: Duration = Duration::from_secs(60);
/// Shortest: whatever is wrong, it costs no processor.
const BREATH: Duration = Duration::from_millis(200);
/// Longest conversation with a CA.
const CONVERSATION: Duration = Duration::from_secs(600);
/// For an account that is being made when the node closes.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Raised when the node closes; a sender that is gone counts as raised.
pub(super) type Stopped = watch::Receiver<bool>;

/// The node closes.
#[derive(Debug)]
pub(super) struct Closing;

/// The keeper's work, to be run once.
pub struct Work {
    keeper: Arc<Keeper>,
    asks: mpsc::Receiver<Ask>,
}

impl Work {
    pub(super) const fn new(keeper: Arc<Keeper>, asks: mpsc::Receiver<Ask>) -> Self {
        Self { keeper, asks }
    }

    /// Keeps the certificates until the flag is raised.
    pub async fn run(mut self, stopped: Stopped) {
        while let Ok(()) = self.turn(&stopped).await {}
        let _ = timeout(LAST_WORDS, self.keeper.desk.making.lock()).await;
    }

    pub(super) async fn turn(&mut self, stopped: &Stopped) -> Result<(), Closing> {
        let keeper = Arc::clone(&self.keeper);
        let pause = keeper.unharmed(keeper.pass(stopped)).await.unwrap_or(Ok(NAP))?;
        tokio::select! {
            biased;
            () = until(stopped.clone()) => Err(Closing),
            // Before commands, which may be about what is new.
            () = keeper.certificates.changed() => Ok(()),
            Some(ask) = self.asks.recv() => keeper.unharmed(keeper.answer(ask, stopped)).await.unwrap_or(Ok(())),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

impl Keeper {
    /// Does what is due and says how long nothing will be.
    async fn pass(&self, stopped: &Stopped) -> Result<Duration, Closing> {
        let Some(acme) = self.certificates.acme() else { return Ok(NAP) };
        self.catch_up().await;
        let mut pause = NAP;
        for names in &acme.certificates {
            let id = Id::of(names, &acme.directory);
            let mut current = self.current(names, &acme.directory);
            if let Some(served) = current.as_ref().filter(|_| self.record(&id).is_asking(self.clock.now())) {
                self.suggestion(&acme, &id, served, stopped).await?;
            }
            let now = self.clock.now();
            if self.record(&id).due(current.as_ref().map(|served| served.life), now) <= now {
                // What came of it is on record; the next try has its time.
                let _ = self.order(&acme, (names, &id), Actor::System, stopped).await?;
                current = self.current(names, &acme.directory);
            }
            let now = self.clock.now();
            pause =
                pause.min(self.record(&id).due(current.as_ref().map(|served| served.life), now).since(now));
        }
        Ok(pause.max(BREATH))
    }

    /// What came of it; [`None`] if it panicked, which the log has.
    async fn unharmed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let done = AssertUnwindSafe(work).catch_unwind().await;
        if done.is_err() {
            self.counts.failed.up();
            tracing::error!("a defect interrupted the keeping of certificates, which goes on");
        }
        done.ok()
    }
}

/// Speaks with a CA until it is done, takes too long, or the node closes. What panics at a CA's words has
/// failed like anything else, so that it is not tried again at once.
pub(super) async fn conversation<T>(
    stopped: &Stopped,
    speaking: impl Future<Output = Result<T, Failure>>,
) -> Result<Result<T, Failure>, Closing> {
    let speaking = timeout(CONVERSATION, AssertUnwindSafe(speaking).catch_unwind());
    tokio::select! {
        biased;
        () = until(stopped.clone()) => Err(Closing),
        spoken = speaking => Ok(match spoken {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err(Failure::new(Why::Unusable, "a defect in keepgate: the log has more of it")),
            Err(_) => Err(Failure::new(Why::Unreachable, "the CA did not finish in time")),
        })
    }
}

async fn until(mut stopped: Stopped) {
    let _ = stopped.wait_for(|stop| *stop).await;
}
