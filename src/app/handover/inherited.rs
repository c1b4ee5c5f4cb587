//! What a process finds open when it starts: from the process before it, or from the service manager (socket
//! activation, `sd_listen_fds(3)`).

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::sync::watch;
use tokio::time::timeout;

use super::channel::{Channel, Said, What};
use super::process::Process;
use super::program::Program;
use super::{FIRST, PROTOCOL, SECOND, VARIABLE};
use crate::config::Config;
use crate::edge::start::Given;

/// For the process before to close its stores.
const CLOSING: Duration = Duration::from_secs(120);

/// For the process before to answer that it goes back no more.
const ANSWERING: Duration = Duration::from_secs(10);

/// The process before this one.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    pid: u32,
}

/// What was found open. Empty for a start from nothing.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(in crate::app) edge: Given,
    pub(in crate::app) internal: Option<TcpListener>,
    pub(in crate::app) control: Option<UnixListener>,
    pub(in crate::app) before: Option<Before>,
}

/// What comes from a process that is still there.
#[derive(Debug)]
pub(in crate::app) struct Before {
    pub channel: Channel,
    pub process: Arc<Process>,
    pub lock: Option<OwnedFd>,
    pub feed: Option<UnixStream>,
    pub relay: UnixStream,
}

/// A process before this one that may still have something open.
#[derive(Debug)]
pub(in crate::app) struct Ending {
    process: Arc<Process>,
    channel: Channel,
    stage: watch::Receiver<Stage>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app) enum Stage {
    /// It may go back to serving, and end this one.
    Undecided,
    /// It will not: what has one owner is this process's.
    Gives,
    /// It has ended.
    Over,
}

impl Predecessor {
    /// Whether this process was started only to start another, and has: one that nobody waits for belongs to whoever
    /// takes in orphans, as the first did. A service manager holds a child of its own otherwise than a grandchild
    /// that it is told of: systemd kills that at a stop without letting it finish.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn starts_another(program: &Program) -> io::Result<bool> {
        if std::env::var_os(VARIABLE).is_none_or(|value| value != FIRST) {
            return Ok(false);
        }
        let path = program.check().map_err(io::Error::other)?;
        Command::new(path).args(&program.arguments).env(VARIABLE, SECOND).spawn()?;
        Ok(true)
    }

    /// The process that had this one this one, if it did so to be replaced.
    ///
    /// # Errors
    /// If something else says so.
    pub fn find() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let wrong = || {
            io::Error::other(format!(
                "{VARIABLE} is set, which only keepgate itself does for the process that is to replace it: unset it"
            ))
        };
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        // Of a pair of sockets: who made it.
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|_| wrong())?;
        if peer.uid != rustix::process::geteuid() {
            return Err(wrong());
        }
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        // Nothing of it is left where others would look for an input.
        if let Ok(null) = std::fs::File::open("/dev/null") {
            rustix::stdio::dup2_stdin(null)?;
        }
        Ok(Some(Self { channel: Channel::of(stream), pid }))
    }

    /// Tells it that this process cannot serve.
    pub fn refuse(&self, why: &str) {
        let _ = self.channel.say(&Said::Refused { why: why.chars().take(8_000).collect() });
    }

    /// Another hold on it.
    ///
    /// # Errors
    /// When the system has no descriptor.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { channel: self.channel.share()?, pid: self.pid })
    }

    /// Tells it that nothing is wrong so far, and waits until it has closed its stores. Blocking.
    ///
    /// # Errors
    /// When it has changed its mind, or ended.
    pub fn take_over(self) -> io::Result<Inherited> {
        let (version, own) = (env!("CARGO_PKG_VERSION").to_owned(), Process::own()?);
        let hello = Said::Hello { protocol: PROTOCOL, version, pid: std::process::id() };
        self.channel.say_with(&hello, own)?;
        let (mut found, mut lock, mut feed, mut relay) = (Inherited::default(), None, None, None);
        let mut process = None;
        loop {
            match self.channel.hear(CLOSING)? {
                (Said::Take(what), Some(file)) => match what {
                    What::Https => found.edge.https.push(file.into()),
                    What::Http => found.edge.http.push(file.into()),
                    What::Internal => found.internal = Some(file.into()),
                    What::Control => found.control = Some(file.into()),
                    What::Lock => lock = Some(file),
                    What::Feed => feed = Some(file.into()),
                    What::Relay => relay = Some(file.into()),
                    What::Process => process = Some(Process::by(self.pid, file)),
                },
                (Said::Go, None) => break,
                (other, _) => return Err(io::Error::other(format!("it said {other:?}"))),
            }
        }
        let (Some(feed), Some(relay), Some(process)) = (feed, relay, process) else {
            return Err(io::Error::other("it handed over less than is needed"));
        };
        found.before = Some(Before { channel: self.channel, process, lock, feed: Some(feed), relay });
        Ok(found)
    }
}

impl Inherited {
    /// The sockets of the service manager, if there are any.
    ///
    /// # Errors
    /// With what is wrong with them.
    pub fn from_service_manager(config: &Config) -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut found = Self::default();
        for at in 0..sockets.len() {
            let wrong = |error| io::Error::other(format!("socket {at} of the service manager: {error}"));
            let Some(socket) = sockets.take_tcp_listener(at).map_err(wrong)? else { continue };
            // Processes that this one starts are given what they need.
            fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
            let local = socket.local_addr()?;
            let listen = &config.listen;
            match names.get(at).copied() {
                Some("https") => found.edge.https.push(socket),
                Some("http") => found.edge.http.push(socket),
                Some("internal") => found.internal = Some(socket),
                _ if listen.http.contains(&local) => found.edge.http.push(socket),
                _ if listen.internal == Some(local) => found.internal = Some(socket),
                _ => found.edge.https.push(socket),
            }
        }
        Ok(found)
    }
}

impl Ending {
    /// Watches it end.
    pub fn watch(channel: Channel, process: Arc<Process>) -> io::Result<Self> {
        let theirs = channel.share()?;
        let (tell, stage) = watch::channel(Stage::Undecided);
        let watched = Arc::clone(&process);
        std::thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            // One that goes back ends this process before it closes the channel: where it is closed without a
            // word, it has ended itself, or is about to.
            while !matches!(theirs.hear(None), Ok((Said::Yours, _)) | Err(_)) {}
            tell.send_replace(Stage::Gives);
            watched.until_ended();
            tell.send_replace(Stage::Over);
            tracing::info!(pid = watched.pid(), "the process before this one has ended");
        })?;
        Ok(Self { process, channel, stage })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Tells it that this process serves. One that does not answer hangs, and both would serve nobody: it is ended.
    /// Blocking, for moments, if it is behind.
    pub fn tell_ready(&self) {
        self.ready_within(ANSWERING);
    }

    fn ready_within(&self, patience: Duration) {
        self.process.replaced();
        // If it has gone there is nobody to be told.
        let _ = self.channel.say(&Said::Ready);
        let (process, mut stage) = (Arc::clone(&self.process), self.stage.clone());
        tokio::spawn(async move {
            if timeout(patience, stage.wait_for(|stage| *stage >= Stage::Gives)).await.is_err() {
                let pid = process.pid();
                tracing::warn!(
                    pid,
                    "the process before this one does not answer: it is killed, for this one can serve"
                );
                let _ = tokio::task::spawn_blocking(move || process.end()).await;
            }
        });
    }

    /// Has it cut what it has.
    pub fn cut(&self) {
        self.channel.close();
    }

    /// Ends it, for it does not end by itself. Blocking.
    pub fn kill(&self) -> impl FnOnce() + use<> {
        let process = Arc::clone(&self.process);
        move || process.end()
    }

    /// For others to see how far it is.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        *self.stage.borrow() == Stage::Over
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::stopped;
    use super::*;

    #[tokio::test]
    async fn one_that_does_not_answer_is_ended_only_once_this_process_can_serve() {
        let (mut child, process) = stopped();
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::of(there);
        let ending = Ending::watch(here, process).unwrap();
        let mut stage = ending.stage();
        let moment = Duration::from_millis(20);
        assert!(timeout(moment, stage.changed()).await.is_err(), "it may go back as long as it likes");
        assert!(child.try_wait().unwrap().is_none());
        ending.ready_within(moment);
        assert!(matches!(there.hear(ANSWERING).unwrap(), (Said::Ready, None)));
        let ended = async {
            while child.try_wait().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(ANSWERING, ended).await.expect("it is killed");
        assert!(child.try_wait().unwrap().is_some_and(|status| !status.success()));
        drop(there);
        stage.wait_for(|stage| *stage == Stage::Over).await.unwrap();
    }
}
