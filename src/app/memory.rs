//! Giving freed memory back to the operating system.
//!
//! The allocator purges pages some time after they were freed, but only when it is asked for memory
//! again: a node that has become quiet (after its start, after a storm of logins) would keep what it
//! needed at its busiest. So the clockwork asks from time to time.
//!
//! The one place here that calls the allocator beside `GlobalAlloc`, hence the one `unsafe`.

/// Purges what was freed long enough ago, of all threads; cheap where there is nothing.
#[expect(unsafe_code, reason = "the allocator's own function, which has no safe wrapper")]
pub(in crate::app) fn give_back() {
    // SAFETY: takes no pointers and touches only the allocator's own state, under its own locks; it may
    // be called from any thread at any time (mimalloc.h).
    unsafe { libmimalloc_sys::mi_collect(false) }
}
