//! Turns: a hashing thread that computes is interrupted some hundred times a second and lets those go
//! first who wait.
//!
//! The idle class alone does not do that. Linux's scheduler (EEVDF) prefers whoever has had less than a
//! fair share. An edge thread that has just worked, and stood back for another thread of a moment,
//! has had more; so the processor falls to the hash, and the next look at the queue is the timer tick, up to
//! 4 ms later (seen with `perf sched`, in a storm of logins). A hash is one
//! call that cannot be cut into pieces, so the interruption is a signal, whose handler yields; Go's
//! runtime does the same, with the same signal, which nobody minds if it comes astray.
//!
//! Since Linux 6.18 (and its backports) who yields gives up the rest of a slice; before, a yield where nobody
//! else was owed anything changed little. It helps among the threads of one control group only: an
//! application in another competes with the group.
//!
//! `unsafe` is here for the system's timer calls, which have no safe wrapper in the libraries in use.

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;
use std::{io, mem};

/// Ignored by a process that knows nothing of it.
const SIGNAL: libc::c_int = libc::SIGURG;

/// How long another may wait for the processor. An interruption costs a microsecond or two, and where the
/// machine is a virtual one in a virtual one 30: 200 µs took a sixth of the logins there, and brought no less
/// waiting.
const TURN: Duration = Duration::from_millis(2);

/// A timer that interrupts the thread which made it.
pub(super) struct Turns(libc::timer_t);

impl Turns {
    /// A timer for the calling thread, standing still.
    ///
    /// # Errors
    /// The system's, where it has no such timers (a sandbox may refuse them).
    pub fn new() -> io::Result<Self> {
        static HANDLER: OnceLock<bool> = OnceLock::new();
        if !HANDLER.get_or_init(|| handle().is_ok()) {
            return Err(io::Error::other("the signal's handler was refused"));
        }
        // SAFETY: all-zero is a value of this plain C struct.
        #[expect(unsafe_code, reason = "a C struct with private padding")]
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        unblock()?;
        let mut timer = MaybeUninit::uninit();
        // SAFETY: both pointers live through the call; the timer is written when it answers 0.
        #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
        unsafe {
            match libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr()) {
                0 => Ok(Self(timer.assume_init())),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Runs `work` of the thread that made this, interrupted.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _stop = Stop(self);
        self.every(TURN);

        work()
    }

    /// Zero: not at all. Less than a second.
    fn every(&self, period: Duration) {
        debug_assert!(period.as_secs() == 0, "a turn is short");
        let period = libc::timespec { tv_sec: 0, tv_nsec: period.subsec_nanos().into() };
        let times = libc::itimerspec { it_interval: period, it_value: period };
        // SAFETY: the timer is ours until it is dropped, and the times live through the call. It cannot
        // fail then: the times are within bounds.
        #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
        unsafe {
            libc::timer_settime(self.0, 0, &raw const times, null_mut());
        }
    }
}

/// Stands the timer still, also when the work panics.
struct Stop<'a>(&'a Turns);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.every(Duration::ZERO);
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // SAFETY: nobody else has this timer, and it is not used again.
        #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
        unsafe {
            libc::timer_delete(self.0);
        }
    }
}

/// Lets the signal reach this thread: a parent may have left it blocked.
fn unblock() -> io::Result<()> {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: the set is made empty before it is read, and both calls keep nothing of it.
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    let error = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, signals.as_ptr(), null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Has the signal handled, in the whole process. System calls that it interrupts go on.
fn handle() -> io::Result<()> {
    // SAFETY: all-zero is a value of this plain C struct (an empty mask among it); the pointers live
    // through the call, and the handler is a function that does only what a handler may.
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = give_way as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        match libc::sigaction(SIGNAL, &raw const action, null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Lets others go first. Not where the thread competes on purpose: there a yield would give its share away.
extern "C" fn give_way(_: libc::c_int) {
    #[cfg(test)]
    tests::INTERRUPTED.set(true);
    // SAFETY: two system calls that touch no memory of ours; what a sandbox that refuses them leaves in
    // errno, which belongs to what was interrupted, is put back.
    #[expect(unsafe_code, reason = "libc, since a handler may not call what allocates or locks")]
    unsafe {
        let errno = *libc::__errno_location();
        if libc::sched_getscheduler(0) == libc::SCHED_IDLE {
            libc::sched_yield();
        }
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;

    use super::*;

    thread_local! {
        pub(super) static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    }

    /// Computes until it is interrupted, or for ten seconds; says which.
    fn compute() -> bool {
        INTERRUPTED.set(false);
        let begun = Instant::now();
        while !INTERRUPTED.get() && begun.elapsed() < Duration::from_secs(10) {
            std::hint::spin_loop();
        }
        INTERRUPTED.get()
    }

    #[test]
    fn work_is_interrupted_again_and_again_and_goes_on() {
        let turns = Turns::new().unwrap();
        assert!(turns.during(|| compute() && compute()));
        assert!(turns.during(compute));
    }

    #[test]
    fn the_timer_stands_still_when_the_work_has_ended_or_panicked() {
        let turns = Turns::new().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| turns.during(|| panic!("as planned")))).is_err());
        let mut left = MaybeUninit::<libc::itimerspec>::uninit();
        #[expect(unsafe_code, reason = "reads the timer; written when it answers 0")]
        let left = unsafe {
            assert_eq!(libc::timer_gettime(turns.0, left.as_mut_ptr()), 0);
            left.assume_init()
        };
        assert_eq!((left.it_value.tv_nsec, left.it_interval.tv_nsec), (0, 0));
    }
}
