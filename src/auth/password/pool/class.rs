//! The scheduler's class of a hashing thread. In the idle class it runs when nobody else would, and is
//! put off the processor the moment somebody else wakes; a low priority alone lets it finish its slice
//! of a few milliseconds first, which is what a proxied request then waits for.
//!
//! `unsafe` is here for system calls that have no safe wrapper in the libraries in use.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, getpriority_process, setpriority_process};

/// How a thread competes for the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Only with who is idle too (`SCHED_IDLE`).
    Idle,
    /// With everybody, at its niceness (`SCHED_OTHER`).
    Other,
}

/// The slice of a thread in the idle class, the longest that the scheduler grants. How much a thread gives
/// away when it yields, and so for how long everybody else comes before it, goes by its slice. Linux before
/// 6.12 knows no slice of a thread's own and ignores it.
const LONGEST_SLICE: Duration = Duration::from_millis(100);

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
    let (policy, slice) = match class {
        Class::Idle => (libc::SCHED_IDLE, LONGEST_SLICE),
        Class::Other => (libc::SCHED_OTHER, Duration::ZERO),
    };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>().try_into().unwrap_or_default(),
        sched_policy: policy.unsigned_abs(),
        sched_flags: 0,
        sched_nice: getpriority_process(Some(thread))?,
        sched_priority: 0,
        sched_runtime: slice.as_nanos().try_into().unwrap_or_default(),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call reads one struct, which lives until it returns, and keeps nothing of it. A thread
    // that is gone is an error (ESRCH), not undefined behaviour.
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    let done = unsafe {
        libc::syscall(libc::SYS_sched_setattr, thread.as_raw_nonzero().get(), &raw const attributes, 0)
    };
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
