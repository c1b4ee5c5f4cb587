//! Panics in the log: one error event with the place and a backtrace, for every panic of the
//! process. Catching them (so that one request's panic is that request's 500) is the edge's and
//! the pools' business; by then the stack is unwound, which is why the backtrace is taken here.

use std::backtrace::Backtrace;
use std::sync::Once;

static INSTALLED: Once = Once::new();

/// Sends every panic to the log with its backtrace. Calling it again changes nothing.
pub fn install() {
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("(not text)");
            let backtrace = Backtrace::force_capture();
            tracing::error!(target: "keepgate::panic", place, %backtrace, "panic: {message}");
        }));
    });
}
