//! Another process, held by a handle that never means a third: the system may give a process's number to
//! somebody else once it has ended, and a signal to the number would meet them. So each of the two gives the other a
//! handle of itself.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// For a process that was killed to be gone.
const GONE: Duration = Duration::from_secs(5);

/// The process.
#[derive(Debug)]
pub(in crate::app) struct Process {
    pid: u32,
    handle: OwnedFd,
}

impl Process {
    /// By the handle that it gave.
    pub fn by(pid: u32, handle: OwnedFd) -> Arc<Self> {
        Arc::new(Self { pid, handle })
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
    fn the_handle_of_this_process_is_of_one_that_runs() {
        let process = Process::by(std::process::id(), Process::own().unwrap());
        assert!(!process.has_ended());
        assert_eq!(process.pid(), std::process::id());
    }
}
