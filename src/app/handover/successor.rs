//! The next process, as the one that starts it sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::channel::{Channel, Said, What};
use super::process::Process;
use super::program::Program;
use super::{FIRST, PROTOCOL, VARIABLE};
use crate::edge::start::Given;

/// For it to read and check its configuration.
const PREPARING: Duration = Duration::from_secs(30);
/// For it to open the stores, and its doors.
const OPENING: Duration = Duration::from_secs(60);
/// Between two looks whether somebody has lost patience with it.
const LOOK: Duration = Duration::from_millis(100);

/// What was said, and the file that came with it.
type Heard = (Said, Option<OwnedFd>);

/// What is handed over. Copies: here everything stays open until the next process is ready.
pub(in crate::app) struct Handed {
    pub edge: Given,
    pub internal: Option<std::net::TcpListener>,
    pub control: UnixListener,
    pub lock: Option<OwnedFd>,
    pub feed: UnixStream,
    pub relay: UnixStream,
    /// Of this process.
    pub process: OwnedFd,
}

/// A process that was started to take over.
pub(in crate::app) struct Successor {
    /// What started it, and has ended once it speaks.
    starter: Child,
    process: Option<Arc<Process>>,
    channel: Channel,
    served: bool,
}

impl Successor {
    /// Starts it, and waits until it has checked its configuration. Blocking.
    ///
    /// # Errors
    /// Why there is none, in one line; it has ended then.
    pub fn start(program: &Program, given_up: &watch::Receiver<bool>) -> Result<Self, String> {
        let path = program.check()?;
        let (channel, theirs) = Channel::pair().map_err(|error| format!("no channel to it: {error}"))?;
        let mut command = Command::new(path);
        command.args(&program.arguments).env(VARIABLE, FIRST).stdin(Stdio::from(OwnedFd::from(theirs)));
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        let starter = command.spawn().map_err(|error| format!("cannot start {}: {error}", path.display()))?;
        // It holds the other end, and would never be seen to close it.
        drop(command);
        let mut this = Self { starter, process: None, channel, served: false };
        match this.wait(PREPARING, given_up)? {
            (Said::Hello { protocol: PROTOCOL, version, pid }, Some(handle)) => {
                tracing::info!(pid, version, "the next process has checked its configuration");
                this.process = Some(Process::by(pid, handle));
                // It has nothing more to do, and its child is nobody's when it is gone.
                let _ = (this.starter.kill(), this.starter.wait());
                Ok(this)
            }
            (Said::Hello { protocol, version, .. }, _) => Err(format!(
                "keepgate {version} hands over by protocol {protocol}, this one by {PROTOCOL}: stop this one and \
                 start the other"
            )),
            (other, _) => Err(format!("it said {other:?} first")),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pid())
    }

    /// Gives it everything, and waits until it serves. Blocking.
    ///
    /// # Errors
    /// Why it does not, in one line.
    pub fn hand_over(&mut self, handed: &Handed, given_up: &watch::Receiver<bool>) -> Result<(), String> {
        self.give(handed).map_err(|error| format!("it did not take over: {error}"))?;
        match self.wait(OPENING, given_up)?.0 {
            Said::Ready => {
                self.served = true;
                Ok(())
            }
            other => Err(format!("it said {other:?} when it should serve")),
        }
    }

    /// Tells it that this process does not go back any more.
    pub fn yours(&self) {
        // If it has gone nobody is to be told; that is found out by who waits for it.
        let _ = self.channel.say(&Said::Yours);
    }

    /// Waits until it ends, or wants this process to end. Blocking; another hold on its channel.
    ///
    /// # Errors
    /// When the system has no descriptor.
    pub fn until_closed(&self) -> io::Result<impl FnOnce() + use<>> {
        let channel = self.channel.share()?;
        Ok(move || channel.until_closed())
    }

    fn give(&self, handed: &Handed) -> io::Result<()> {
        let Handed { edge, internal, control, lock, feed, relay, process } = handed;
        let sockets = edge.https.iter().map(|socket| (What::Https, socket.as_fd()));
        let sockets = sockets.chain(edge.http.iter().map(|socket| (What::Http, socket.as_fd())));
        let sockets = sockets.chain(internal.iter().map(|socket| (What::Internal, socket.as_fd())));
        let sockets = sockets.chain(lock.iter().map(|lock| (What::Lock, lock.as_fd())));
        let own = [
            (What::Process, process.as_fd()),
            (What::Control, control.as_fd()),
            (What::Feed, feed.as_fd()),
            (What::Relay, relay.as_fd()),
        ];
        for (what, socket) in sockets.chain(own) {
            self.channel.give(what, socket)?;
        }
        self.channel.say(&Said::Go)
    }

    /// What it says next, within `patience`; in short turns, so that a stop need not wait for it.
    fn wait(&mut self, patience: Duration, given_up: &watch::Receiver<bool>) -> Result<Heard, String> {
        let until = Instant::now() + patience;
        loop {
            match self.channel.hear(LOOK) {
                Ok((Said::Refused { why }, _)) => return Err(why),
                Ok(heard) => return Ok(heard),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.ended()),
                Err(error) => return Err(format!("it says what is not understood: {error}")),
            }
            if *given_up.borrow() {
                return Err("this process is to stop".to_owned());
            }
            if Instant::now() >= until {
                return Err(format!("it was not ready after {} s", patience.as_secs()));
            }
        }
    }

    fn ended(&mut self) -> String {
        let _ = self.starter.kill();
        match self.starter.wait() {
            // It did what it was to do.
            Ok(status) if status.success() => {
                "it ended before it was ready; its words are in the log".to_owned()
            }
            Ok(status) => format!("it ended before it was ready ({status}); its words are in the log"),
            Err(error) => format!("it ended before it was ready ({error})"),
        }
    }
}

impl Drop for Successor {
    /// One that does not serve must not go on: it may be about to open the stores. One that has not spoken yet finds
    /// nobody to speak to, and ends.
    fn drop(&mut self) {
        if !self.served {
            let _ = (self.starter.kill(), self.starter.wait());
            if let Some(process) = &self.process {
                process.end();
            }
        }
    }
}
