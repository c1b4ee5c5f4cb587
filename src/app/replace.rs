//! Having another process serve instead: it is started, the house is vacated, everything is handed over. Until
//! the other one serves, whatever goes wrong leads back to where it began.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::control::reply::{Code, Failure};
use super::core::{Beneath, Core};
use super::doors;
use super::error::AppError;
use super::front::Front;
use super::handover::desk::{Attendant, Unattended};
use super::handover::program::Program;
use super::handover::relay::Relay;
use super::handover::successor::{Handed, Successor};
use super::handover::{Asked, feed, notify};
use super::house::{self, House};
use super::reload::{InForce, Source};
use super::upkeep::steps;
use crate::edge::body::BoxError;

/// For a process before this one to cut what it has, once it is told to.
const CUTTING: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

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
    let Asked { force, answer } = asked;
    let successor = match start(front, force, program, given_up).await {
        Ok(successor) => successor,
        Err(failure) => {
            failed(front, &house.core, &failure.message);
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
    move_out(front, house, source, successor, given_up).await
}

async fn start(
    front: &mut Front,
    force: bool,
    program: &Program,
    given_up: &watch::Receiver<bool>,
) -> Result<Successor, Failure> {
    if std::process::id() == 1 {
        let failure = Failure::new(
            Code::Refused,
            "this is the first process of its system or container, which ends with it",
        );
        return Err(failure.remedy("have the container replaced instead"));
    }
    if let Some(ending) = front.ending.take_if(|ending| !ending.is_over()) {
        if !force {
            let message =
                format!("process {}, which this one replaced, still has something open", ending.pid);
            front.ending = Some(ending);
            let remedy = "wait until it has ended, or cut what it has with --force";
            return Err(Failure::new(Code::Unavailable, message).remedy(remedy));
        }
        ending.cut();
        let until = Instant::now() + CUTTING;
        while !ending.is_over() {
            if Instant::now() >= until {
                let message = format!("process {}, which this one replaced, does not end", ending.pid);
                front.ending = Some(ending);
                return Err(Failure::new(Code::Unavailable, message).remedy("kill it"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    front.ending = None;
    let (program, given_up) = (program.clone(), given_up.clone());
    let started = tokio::task::spawn_blocking(move || Successor::start(&program, &given_up)).await;
    started.unwrap_or_else(|_| Err("starting it broke off".to_owned())).map_err(|why| {
        Failure::new(Code::Unavailable, format!("the next process cannot serve: {why}"))
            .remedy("this one serves on; mend the cause and restart again")
    })
}

/// Says what became of a restart that was none.
fn failed(front: &Front, core: &Core, why: &str) {
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
    successor: Successor,
    given_up: &watch::Receiver<bool>,
) -> Replaced {
    let in_force = house.reloader.in_force();
    front.patience = in_force.config.limits.handover_timeout;
    let core = house.vacate().await;
    // While there is somebody to record them.
    steps::denials(&core, None).await;
    front.edge.housekeeping().close_windows(None).await;
    let mut unattended = front.desk.close().await;
    *unattended = Attendant::Nobody;
    front.slots.clear();
    let lock = match core.stores.share_lock() {
        Ok(lock) => lock,
        Err(error) => {
            let why = AppError::Descriptors(error).to_string();
            return back(front, (core, unattended), source, &in_force, &why);
        }
    };
    let closed = match house::give_up(core).await {
        Ok(closed) => closed.map_err(|error| error.to_string()),
        Err(core) => {
            let why = "a command is still under way";
            return back(front, (core, unattended), source, &in_force, why);
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
            notify::handed_over(successor.pid());
            Replaced::By(successor, gone)
        }
        Err(why) => {
            let config = (*in_force.config).clone();
            let beneath = Beneath { lock, follower: None };
            match Core::open_with(config, front.views.clone(), beneath).await {
                Ok(core) => back(front, (Arc::new(core), unattended), source, &in_force, &why),
                Err(error) => {
                    tracing::error!(why, %error, "not restarted, and the stores cannot be opened again");
                    Replaced::Lost(error)
                }
            }
        }
    }
}

/// Behind the same front as before.
fn back(
    front: &Front,
    (core, mut unattended): (Arc<Core>, Unattended),
    source: &Source,
    in_force: &InForce,
    why: &str,
) -> Replaced {
    *unattended = doors::attendant(&core);
    drop(unattended);
    failed(front, &core, why);
    match House::open(core, front, source.clone(), in_force.banned.to_vec()) {
        Ok(house) => Replaced::Not(Box::new(house)),
        Err(error) => Replaced::Lost(error),
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
    let given_up = given_up.clone();
    let given = tokio::task::spawn_blocking(move || {
        let ready = successor.hand_over(&handed, &given_up);
        // What it holds itself is open without these.
        drop(handed);
        ready.map(|()| successor)
    });
    let successor = given.await.unwrap_or_else(|_| Err("handing over broke off".to_owned()))?;
    let wait = successor.until_closed().map_err(|error| error.to_string());
    wait.and_then(|wait| {
        beside("successor", move || {
            wait();
            let _ = tell.try_send(());
        })
    })?;
    Ok((successor, relay, gone))
}

fn beside(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|error| format!("no thread to follow it: {error}"))
}
