//! Progress of long work, for a person at a terminal: on standard error, and nothing at all where
//! that is a pipe or a file, so that logs and scripts see results and errors only.
//!
//! Invariant: it decides nothing and can fail at nothing; what is left of it when dropped is wiped.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Of work with a known number of steps.
const STEPS: &str = "{msg}  [{bar:30}] {human_pos} of {human_len}  {elapsed}, {eta} left";
/// Of work whose steps are counted as they come.
const COUNT: &str = "{spinner} {msg}  {human_pos}  {elapsed}";
/// Of work without steps.
const WAIT: &str = "{spinner} {msg}  {elapsed}";
/// Between two pictures of work whose steps cannot be counted.
const TICK: Duration = Duration::from_millis(120);

/// Shown from when it is made until it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work of so many steps, such as accounts to import.
    pub(super) fn steps(what: &'static str, total: u64) -> Self {
        Self::drawn(what, Some(total), STEPS)
    }

    /// Work of steps that can be counted, but not beforehand.
    pub(super) fn counting(what: &'static str) -> Self {
        Self::drawn(what, None, COUNT)
    }

    /// Work that somebody else does and says nothing of until it is done.
    pub(super) fn waiting(what: &'static str) -> Self {
        let waiting = Self::drawn(what, None, WAIT);
        if !waiting.0.is_hidden() {
            // From a thread of its own: this one is waiting.
            waiting.0.enable_steady_tick(TICK);
        }
        waiting
    }

    /// So many more steps are done.
    pub(super) fn advance(&self, by: usize) {
        self.0.inc(by as u64);
    }

    fn drawn(what: &'static str, total: Option<u64>, template: &str) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests' standard error may be a terminal or not; either way nothing may go wrong.
    #[test]
    fn work_is_counted_with_and_without_an_end() {
        let import = Progress::steps("importing", 1000);
        import.advance(500);
        import.advance(700);
        assert_eq!((import.0.position(), import.0.length()), (1200, Some(1000)));
        let export = Progress::counting("exporting");
        export.advance(3);
        assert_eq!((export.0.position(), export.0.length()), (3, None));
        drop(Progress::waiting("verifying"));
    }

    #[test]
    fn every_template_is_one_that_indicatif_reads() {
        for template in [STEPS, COUNT, WAIT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
