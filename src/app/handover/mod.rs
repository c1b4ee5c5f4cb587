//! Restarting without a door being shut: the process that serves starts the next one, gives it the listening
//! sockets, the stores' lock and the stores, and ends what it has open.
//!
//! ```text
//! before                                          after
//! starts one that starts it, and ends ─────────>  reads and checks its configuration
//!         <─────────────────────────────  Hello
//! holds API requests, ends its clockwork,
//! closes the stores
//! sockets, lock, feed, relay, Go ──────────────>  opens the stores, and all behind its doors
//!         <─────────────────────────────  Ready
//! Yours ───────────────────────────────────────>  opens its doors; takes control.sock's file and
//! accepts nobody any more; ends what is open,     ports.json; tells of each revocation (feed) and
//! asks for the API there (relay)                  waits until it is in force before too, or nobody is there
//! ```
//!
//! Invariants: the listening sockets are open at every moment, and accepted from by one process; the
//! stores' lock is never free in between; until Ready whatever goes wrong leads back to where it began; from
//! Ready on no revocation is acknowledged that is not in force in both processes: one that does not take it in is
//! killed first; and a process whose feed ends cuts all it has.

pub(in crate::app) mod channel;
pub(in crate::app) mod desk;
pub(in crate::app) mod feed;
pub mod inherited;
pub(in crate::app) mod notify;
pub(in crate::app) mod process;
pub mod program;
pub(in crate::app) mod relay;
pub(in crate::app) mod successor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use self::inherited::Stage;
use super::control::reply::{Code, Failure};
use super::control::view::Restart;
use crate::model::caller::{Actor, Origin};

/// The variable that tells a process that its standard input is a channel to the process before it.
const VARIABLE: &str = "HANDOVER_KEEPGATE";
/// What it says to the process that is to start the next one and to end.
const FIRST: &str = "1";
/// What it says to the next one.
const SECOND: &str = "2";

/// Of what the two processes say to each other. Another number is another way: then a stop and a start.
const PROTOCOL: u32 = 2;

/// Somebody asks for a restart; answered with the next process's id once its configuration is checked.
pub(in crate::app) struct Asked {
    /// Even if it cuts what the process before this one has open.
    pub force: bool,
    /// Who, for the audit log.
    pub actor: Actor,
    pub origin: Origin,
    pub answer: oneshot::Sender<Result<u32, Failure>>,
}

impl Asked {
    /// Nobody waits to be answered: it stands in the logs and in `status`.
    pub fn by_signal(origin: Origin) -> Self {
        Self { force: false, actor: Actor::System, origin, answer: oneshot::channel().0 }
    }
}

/// Where restarts are asked for, and what came of the last.
#[derive(Clone)]
pub(in crate::app) struct Restarts {
    pub ask: mpsc::Sender<Asked>,
    pub told: Arc<Mutex<Restart>>,
    /// Whoever is asking.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether another process was started, and it is not decided yet who serves.
    pub under_way: Arc<AtomicBool>,
    /// Of the process before, if there was one.
    pub before: Option<watch::Receiver<Stage>>,
}

fn another() -> Failure {
    let failure = Failure::new(Code::Unavailable, "another restart is under way");
    failure.remedy("`keepgate status` says what comes of it; restart again after it, if need be")
}

impl Restarts {
    /// Asked for by `ask`; `told` is what came of the last, `before` how far the process before is.
    pub fn new(ask: mpsc::Sender<Asked>, told: Restart, before: Option<watch::Receiver<Stage>>) -> Self {
        Self {
            ask,
            told: Arc::new(Mutex::new(told)),
            turn: Arc::default(),
            under_way: Arc::default(),
            before,
        }
    }

    /// How it stands, for `status`.
    pub fn status(&self) -> Restart {
        let told = self.told.lock().clone();
        let over = self.before.as_ref().is_none_or(|stage| *stage.borrow() == Stage::Over);
        let before = told.before.filter(|_| !over);
        Restart { before, ..told }
    }

    /// The process that starts the next one, or why it does not.
    pub async fn restart(&self, force: bool, actor: Actor, origin: Origin) -> Result<u32, Failure> {
        let closing = || Failure::new(Code::Unavailable, "this node is stopping, or being replaced already");
        // One that waited for another would keep it from going on: a house is left once no command is under way.
        let Ok(_turn) = self.turn.try_lock() else { return Err(another()) };
        if self.under_way.load(Ordering::Acquire) {
            return Err(another());
        }
        let (answer, answered) = oneshot::channel();
        self.ask.send(Asked { force, actor, origin, answer }).await.map_err(|_| closing())?;
        answered.await.map_err(|_| closing())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::RequestId;

    #[tokio::test]
    async fn a_restart_beside_another_is_refused_at_once() {
        let (ask, mut asked) = mpsc::channel(4);
        let restarts = Restarts::new(ask, Restart::default(), None);
        let origin =
            || Origin { request: RequestId(uuid::Uuid::nil()), address: None, user_agent: String::new() };
        let restart = || restarts.restart(false, Actor::System, origin());
        // The first has asked and waits for its answer.
        let mut first = std::pin::pin!(restart());
        let second = tokio::select! {
            biased;
            _ = &mut first => panic!("nobody has answered"),
            second = restart() => second,
        };
        assert_eq!(second.unwrap_err().message, "another restart is under way");
        // It has its answer, and the other process does not serve yet.
        restarts.under_way.store(true, Ordering::Release);
        let _ = asked.recv().await.unwrap().answer.send(Ok(7));
        assert_eq!(first.await.unwrap(), 7);
        restart().await.unwrap_err();
        assert!(asked.try_recv().is_err(), "nobody was asked");
    }
}
