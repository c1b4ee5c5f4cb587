//! The scheduler's class of a hashing thread. In the idle class it runs when nobody else would, and is
//! put off the processor the moment somebody else wakes; a low priority alone lets it finish its slice
//! of a few milliseconds first, which is what a proxied request then waits for.
//!
//! The one place of this part with `unsafe`: the system call has no safe wrapper in the libraries in use.

use std::io;

use rustix::process::{Pid, getpriority_process, setpriority_process};

/// How a thread competes for the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Only with who is idle too (`SCHED_IDLE`).
    Idle,
    /// With everybody, at its niceness (`SCHED_OTHER`).
    Other,
}

/// Added to the hashing threads' niceness: what counts where the idle class does not.
pub(super) const NICENESS: i32 = 10;

/// Raises the niceness of this thread, which on Linux is a thread's own.
pub(super) fn step_back() {
    let lowered = getpriority_process(None).and_then(|own| setpriority_process(None, own + NICENESS));
    if let Err(error) = lowered {
        tracing::debug!(%error, "the hashing threads keep their priority");
    }
}

/// Puts one thread of this process into a class.
///
/// # Errors
/// The system's: since a thread in the idle class may be raised only to a niceness that it is granted
/// (`RLIMIT_NICE`), the way back may be refused.
pub(super) fn put(thread: Pid, class: Class) -> io::Result<()> {
    let policy = match class {
        Class::Idle => libc::SCHED_IDLE,
        Class::Other => libc::SCHED_OTHER,
    };
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one struct, which lives until it returns, and keeps nothing of it. A thread
    // that is gone is an error (ESRCH), not undefined behaviour.
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    let done =
        unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), policy, &raw const parameter) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a thread that is in the idle class may be taken out of it again, at the niceness of a hashing
/// thread. Tried on a thread that ends then: what is refused would last.
pub(super) fn may_come_back() -> bool {
    let trial = || {
        step_back();
        let own = rustix::thread::gettid();
        put(own, Class::Idle).is_ok() && put(own, Class::Other).is_ok()
    };
    let tried = std::thread::Builder::new().name("keepgate-hash-t".into()).spawn(trial);
    tried.is_ok_and(|trial| trial.join().unwrap_or(false))
}
