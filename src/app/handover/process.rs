//! Another process, held by a handle that never means a third: the system may give a process's number to
//! somebody else once it has ended, and a signal to the number would meet them. So each of the two gives the other a
//! handle of itself.
//!
//! Invariant: the process before is not ended while nobody else could serve. Until then nobody can have been answered
//! by this one either, so what it does not know yet has been promised to nobody.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// For a process that was killed to be gone.
const GONE: Duration = Duration::from_secs(5);

/// The process.
#[derive(Debug)]
pub(in crate::app) struct Process {
    pid: u32,
    handle: OwnedFd,
    standing: Mutex<Standing>,
}

/// Of the process before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// It serves, or would again.
    #[default]
    Needed,
    /// It would, but has missed something.
    Behind,
    /// This one serves.
    Replaced,
}

impl Process {
    /// By the handle that it gave.
    pub fn by(pid: u32, handle: OwnedFd) -> Arc<Self> {
        Arc::new(Self { pid, handle, standing: Mutex::default() })
    }

    /// A handle of this process, for another.
    ///
    /// # Errors
    /// If the system knows none.
    pub fn own() -> io::Result<OwnedFd> {
        pidfd_open(getpid(), PidfdFlags::empty()).map_err(|error| {
            io::Error::other(format!(
                "the system gives no handles of processes ({error}; Linux 5.3 does), so one that hung could not be \
                 ended for sure: stop the old one and start the new one instead"
            ))
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended. Blocking.
    pub fn until_ended(&self) {
        while !self.ends_within(None) {}
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ends_within(Some(Duration::ZERO))
    }

    fn ends_within(&self, patience: Option<Duration>) -> bool {
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut looked = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut looked, patience.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// It does not take in what it has to know: it is ended, at once if this process serves instead, or as soon as it
    /// does. Blocking, for moments.
    pub fn lose(&self, why: &dyn fmt::Display) {
        let mut standing = self.standing.lock();
        let (pid, gone) = (self.pid, self.has_ended());
        match *standing {
            Standing::Replaced => {
                if !gone {
                    tracing::warn!(%why, pid, "the process before this one does not take in what was revoked: it is killed");
                }
                self.end();
            }
            Standing::Needed | Standing::Behind => {
                if !gone {
                    tracing::warn!(%why, pid, "the process before this one takes in nothing: it is killed once this one can serve");
                }
                *standing = Standing::Behind;
            }
        }
    }

    /// This process serves instead from now on. Blocking, for moments.
    pub fn replaced(&self) {
        let mut standing = self.standing.lock();
        if *standing == Standing::Behind {
            self.end();
        }
        *standing = Standing::Replaced;
    }

    /// Sees to it that it serves nobody any more, whether it runs, hangs or was stopped. Blocking, for moments.
    pub fn end(&self) {
        if self.has_ended() {
            return;
        }
        match pidfd_send_signal(&self.handle, Signal::KILL) {
            // Nothing of it runs from here on, even if a disk that hangs keeps it from being gone.
            Ok(()) if self.ends_within(Some(GONE)) => {}
            Ok(()) => tracing::warn!(pid = self.pid(), "a process that was killed is not gone yet"),
            Err(error) => {
                if !self.has_ended() {
                    let pid = self.pid();
                    tracing::error!(%error, pid, "a process cannot be killed: nothing is committed until it has ended");
                }
                self.until_ended();
            }
        }
    }
}

#[cfg(test)]
pub(in crate::app) mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;

    /// One that does nothing, and was stopped.
    pub(in crate::app) fn stopped() -> (Child, Arc<Process>) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let number = child.id();
        (child, Process::by(number, handle))
    }

    #[test]
    fn one_that_was_stopped_is_ended_and_one_that_has_ended_is_no_matter() {
        let (mut child, process) = stopped();
        assert!(!process.has_ended());
        process.end();
        assert!(process.has_ended());
        assert!(!child.wait().unwrap().success());
        // Nobody's number any more, or somebody else's.
        process.end();
        process.until_ended();
    }

    #[test]
    fn one_that_takes_in_nothing_is_left_alive_until_another_serves() {
        let (mut child, process) = stopped();
        process.lose(&"it hangs");
        assert!(!process.has_ended() && child.try_wait().unwrap().is_none(), "nobody else serves yet");
        process.replaced();
        assert!(!child.wait().unwrap().success());
        // One that is behind in nothing goes on, until it is.
        let (mut child, process) = stopped();
        process.replaced();
        assert!(!process.has_ended());
        process.lose(&"it hangs");
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn the_handle_of_this_process_is_of_one_that_runs() {
        let process = Process::by(std::process::id(), Process::own().unwrap());
        assert!(!process.has_ended());
        assert_eq!(process.pid(), std::process::id());
    }
}
