//! Having another process serve instead: it is started, the house is vacated, everything is handed over. Until
//! the other one serves, whatever goes wrong leads back to where it began.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::control::reply::{Code, Failure};
use super::core::{Beneath, Core};
use super::doors;
use super::error::AppError;
use super::front::Front;
use super::handover::desk::{Attendant, Unattended};
use super::handover::inherited::{Ending, Stage};
use super::handover::process::Process;
use super::handover::program::Program;
use super::handover::relay::Relay;
use super::handover::successor::{Handed, Successor};
use super::handover::{Asked, feed, notify};
use super::house::{self, House};
use super::reload::{InForce, Source};
use crate::audit::draft::Draft;
use crate::edge::body::BoxError;
use crate::model::event::{Intent, Outcome};

/// For a process before this one to cut what it has, once it is told to.
const CUTTING: Duration = Duration::from_secs(10);

/// What came of it.
pub(in crate::app) enum Replaced {
    /// Nothing: the house is as it was.
    Not(Box<House>),
    /// The other process serves; the signal is that it has ended, or is not to be believed any more.
    By(Successor, mpsc::Receiver<()>),
    /// The other did not serve, and the stores could not be opened again.
    Lost(AppError),
}

/// Starts another process, and has it serve.
pub(in crate::app) async fn replace(
    front: &mut Front,
    house: House,
    source: &Source,
    (program, asked): (&Program, Asked),
    given_up: &watch::Receiver<bool>,
) -> Replaced {
    let Asked { force, actor, origin, answer } = asked;
    let record = Draft::new(Intent::Restart, Outcome::Granted).by(actor).at(&origin);
    front.restarts.under_way.store(true, Ordering::Release);
    let successor = match start(front, force, program, (source, given_up)).await {
        Ok(successor) => successor,
        Err(failure) => {
            failed(front, &house.core, &failure.message, fell(record, "not_started")).await;
            front.restarts.under_way.store(false, Ordering::Release);
            // Who asked may have gone.
            let _ = answer.send(Err(failure));
            return Replaced::Not(Box::new(house));
        }
    };
    {
        let mut told = front.restarts.told.lock();
        (told.before, told.failed_at, told.failed_because) = (None, None, None);
    }
    let _ = answer.send(Ok(successor.pid()));
    let record = record.target(successor.pid());
    let replaced = move_out(front, house, source, (successor, record), given_up).await;
    front.restarts.under_way.store(false, Ordering::Release);
    if matches!(replaced, Replaced::Not(_)) {
        source.log.set_shared(false);
    }
    replaced
}

/// As the audit log has what came to nothing.
fn fell(record: Draft, reason: &str) -> Draft {
    record.outcome(Outcome::Failed).reason(reason)
}

async fn start(
    front: &mut Front,
    force: bool,
    program: &Program,
    (source, given_up): (&Source, &watch::Receiver<bool>),
) -> Result<Successor, Failure> {
    if std::process::id() == 1 {
        let failure = Failure::new(
            Code::Refused,
            "this is the first process of its system or container, which ends with it",
        );
        return Err(failure.remedy("have the container replaced instead"));
    }
    if notify::is_not_told() {
        let message = "systemd is not told who takes over: it would take the end of this process for the unit's, \
                       and end the next one with it";
        let remedy = "set Type=notify in the unit and restart it once with systemctl (docs/restart.md)";
        return Err(Failure::new(Code::Refused, message).remedy(remedy));
    }
    if let Some(ending) = front.ending.as_ref().filter(|ending| !ending.is_over()) {
        if !force {
            let message =
                format!("process {}, which this one replaced, still has something open", ending.pid());
            let remedy = "wait until it has ended, or cut what it has with --force";
            return Err(Failure::new(Code::Unavailable, message).remedy(remedy));
        }
        cut(ending).await;
    }
    front.ending = None;
    // Both write there until one of them has ended.
    source.log.set_shared(true);
    let (program, given_up) = (program.clone(), given_up.clone());
    let started = tokio::task::spawn_blocking(move || Successor::start(&program, &given_up)).await;
    let started = started.unwrap_or_else(|_| Err("starting it broke off".to_owned()));
    if started.is_err() {
        source.log.set_shared(false);
    }
    started.map_err(|why| {
        Failure::new(Code::Unavailable, format!("the next process cannot serve: {why}"))
            .remedy("this one serves on; mend the cause and restart again")
    })
}

/// Has a process before this one cut what it has, and end: by itself if it can.
async fn cut(ending: &Ending) {
    ending.cut();
    let mut stage = ending.stage();
    if timeout(CUTTING, stage.wait_for(|stage| *stage == Stage::Over)).await.is_err() {
        tracing::warn!(
            pid = ending.pid(),
            "a process that was to cut what it has does not end: it is killed"
        );
        drop(tokio::task::spawn_blocking(ending.kill()).await);
    }
}

/// Says what became of a restart that was none.
async fn failed(front: &Front, core: &Core, why: &str, record: Draft) {
    if core.stores.committer.read_only().is_none()
        && let Err(error) = core.trail.record(record).await
    {
        tracing::error!(%error, "the audit log does not have the restart that failed");
    }
    tracing::error!(why, "not restarted: this process serves on");
    let mut told = front.restarts.told.lock();
    told.failed_at = Some(core.clock.now().rfc3339());
    told.failed_because = Some(why.to_owned());
}

/// From here on the other process needs what this one has.
async fn move_out(
    front: &mut Front,
    house: House,
    source: &Source,
    (successor, record): (Successor, Draft),
    given_up: &watch::Receiver<bool>,
) -> Replaced {
    let in_force = house.reloader.in_force();
    front.patience = in_force.config.limits.handover_timeout;
    let way_back = Way { source, in_force: &in_force, record: fell(record.clone(), "fell_back") };
    let core = match house.vacate().await {
        Ok(core) => core,
        Err(core) => return way_back.back(front, core, None, "the clockwork does not come to rest").await,
    };
    // While there is somebody to record them. What is counted here from now on is told the next process.
    front.edge.housekeeping().close_windows(None).await;
    let mut unattended = front.desk.close().await;
    *unattended = Attendant::Nobody;
    // Nobody asks the API any more, so nobody is refused by it.
    let unwritten = core.auth.denials.close_windows(None).await;
    if unwritten > 0 {
        tracing::error!(unwritten, "counts of refusals could not be written before the stores are closed");
    }
    front.slots.clear();
    let lock = match core.stores.share_lock() {
        Ok(lock) => lock,
        Err(error) => {
            let why = AppError::Descriptors(error).to_string();
            return way_back.back(front, core, Some(unattended), &why).await;
        }
    };
    let closed = match house::give_up(core, record).await {
        Ok(closed) => closed.map_err(|error| error.to_string()),
        Err(core) => {
            return way_back.back(front, core, Some(unattended), "a command is still under way").await;
        }
    };
    let given = match closed {
        Ok(()) => give(front, successor, lock.as_ref(), given_up).await,
        Err(why) => Err(format!("the stores could not be closed: {why}")),
    };
    match given {
        Ok((successor, relay, gone)) => {
            *unattended = Attendant::Successor(relay);
            front.socket.leave();
            // By this process first: systemd may listen to nobody else yet.
            notify::handed_over(successor.pid());
            successor.yours();
            Replaced::By(successor, gone)
        }
        Err(why) => {
            let config = (*in_force.config).clone();
            let beneath = Beneath { lock, follower: None };
            match Core::open_with(config, front.views.clone(), beneath).await {
                Ok(core) => way_back.back(front, Arc::new(core), Some(unattended), &why).await,
                Err(error) => {
                    tracing::error!(why, %error, "not restarted, and the stores cannot be opened again");
                    Replaced::Lost(error)
                }
            }
        }
    }
}

/// Back to where it began.
struct Way<'a> {
    source: &'a Source,
    in_force: &'a InForce,
    record: Draft,
}

impl Way<'_> {
    /// Behind the same front as before.
    async fn back(
        self,
        front: &Front,
        core: Arc<Core>,
        unattended: Option<Unattended>,
        why: &str,
    ) -> Replaced {
        if let Some(mut unattended) = unattended {
            *unattended = doors::attendant(&core);
        }
        failed(front, &core, why, self.record).await;
        match House::open(core, front, self.source.clone(), self.in_force.banned.to_vec()) {
            Ok(house) => Replaced::Not(Box::new(house)),
            Err(error) => Replaced::Lost(error),
        }
    }
}

/// Gives everything to the other process, and waits until it serves.
async fn give(
    front: &Front,
    mut successor: Successor,
    lock: Option<&OwnedFd>,
    given_up: &watch::Receiver<bool>,
) -> Result<(Successor, Relay, mpsc::Receiver<()>), String> {
    let ready = async {
        let (feed, theirs) = UnixStream::pair()?;
        let (relay, asked) = UnixStream::pair()?;
        let handed = Handed {
            edge: front.edge.sockets()?,
            internal: front.internal.as_ref().map(std::net::TcpListener::try_clone).transpose()?,
            control: front.socket.listener()?,
            lock: lock.map(OwnedFd::try_clone).transpose()?,
            feed: theirs,
            relay: asked,
            process: Process::own()?,
        };
        Ok::<_, BoxError>((handed, feed, Relay::over(relay).await?))
    };
    let (handed, feed, relay) =
        ready.await.map_err(|error| format!("nothing can be handed over: {error}"))?;
    let (tell, gone) = mpsc::channel(1);
    let views = front.views.clone();
    let told = tell.clone();
    // Before the other process can commit anything.
    beside("feed", move || {
        feed::follow(feed, &views);
        let _ = told.try_send(());
    })?;
    // Nothing may go wrong once it serves: both would. So this thread is there before.
    let wait = successor.until_closed().map_err(|error| error.to_string())?;
    let (begin, served) = std::sync::mpsc::channel::<()>();
    beside("successor", move || {
        if served.recv().is_ok() {
            wait();
            let _ = tell.try_send(());
        }
    })?;
    let given_up = given_up.clone();
    let given = tokio::task::spawn_blocking(move || {
        let ready = successor.hand_over(&handed, &given_up);
        // What it holds itself is open without these.
        drop(handed);
        ready.map(|()| successor)
    });
    let successor = given.await.unwrap_or_else(|_| Err("handing over broke off".to_owned()))?;
    // The thread is waiting for it.
    let _ = begin.send(());
    Ok((successor, relay, gone))
}

fn beside(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|error| format!("no thread to follow it: {error}"))
}
