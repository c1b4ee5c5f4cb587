//! The process before this one, held by a handle that never means another: the system may give a process's number to
//! somebody else once it has ended, and a signal to the number would meet them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};

/// For a process that was killed to be gone.
const GONE: Duration = Duration::from_secs(5);

/// The process.
#[derive(Debug)]
pub(in crate::app) struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl Process {
    /// The process that started this one, if it is still there and has this number.
    ///
    /// # Errors
    /// If not, or if the system knows no handles of processes (before Linux 5.3).
    pub fn parent(pid: Pid) -> io::Result<Arc<Self>> {
        let this = Self::of(pid)?;
        // Its number was its own when the handle was made: it has not ended since.
        if getppid() == Some(pid) { Ok(this) } else { Err(io::Error::other("it has ended")) }
    }

    fn of(pid: Pid) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { pid, handle: pidfd_open(pid, PidfdFlags::empty())? }))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
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
                    tracing::error!(%error, pid, "the process before this one cannot be killed: nothing is committed until it has ended");
                }
                self.until_ended();
            }
        }
    }
}

#[cfg(test)]
pub(in crate::app) mod tests {
    use std::process::{Child, Command};

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    /// One that does nothing, and was stopped.
    pub(in crate::app) fn stopped() -> (Child, Arc<Process>) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
        (child, Process::of(pid).unwrap())
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
    fn a_number_that_is_not_the_parents_is_none() {
        let own = rustix::process::getpid();
        assert_eq!(Process::parent(own).unwrap_err().to_string(), "it has ended");
        assert_eq!(Process::parent(getppid().unwrap()).unwrap().pid(), std::os::unix::process::parent_id());
    }
}
