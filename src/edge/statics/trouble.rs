//! What the log says of a folder that fails. Every request for it fails then, and each is in the access log with its
//! status: here the cause is told when it begins and when it is over, or once in a while, so that no flood of
//! requests becomes a flood of lines.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seconds between two lines of the same kind.
const QUIET: u64 = 60;

/// What was told of one folder.
#[derive(Debug, Default)]
pub struct Trouble {
    /// It was told that the root cannot be opened, and not yet that it can.
    gone: AtomicBool,
    root: Seldom,
    file: Seldom,
    disk: Seldom,
}

impl Trouble {
    /// The root cannot be opened. It may come and go with whatever fails (descriptors, say).
    pub fn root_is_gone(&self, root: &Path, error: &io::Error, now: u64) {
        if !self.gone.load(Ordering::Relaxed)
            && let Some(untold) = self.root.due(now)
        {
            self.gone.store(true, Ordering::Relaxed);
            let root = root.display();
            tracing::warn!(%root, %error, untold, "a route's root cannot be opened: its requests are answered 500; said once until it is over, and once a minute");
        }
    }

    /// It was opened.
    pub fn root_is_there(&self, root: &Path) {
        // Looked at first: nearly always there is nothing to tell, and nothing is written.
        if self.gone.load(Ordering::Relaxed) && self.gone.swap(false, Ordering::Relaxed) {
            tracing::info!(root = %root.display(), "a route's root is served again");
        }
    }

    /// A file of it cannot be looked up or read.
    pub fn file(&self, root: &Path, error: &io::Error, now: u64) {
        if let Some(untold) = self.file.due(now) {
            tracing::warn!(root = %root.display(), %error, untold, "a file cannot be served; said once a minute");
        }
    }

    /// The disk does not answer in time.
    pub fn disk(&self, root: &Path, now: u64) {
        if let Some(untold) = self.disk.due(now) {
            let root = root.display();
            tracing::warn!(%root, untold, "the disk with a route's root does not answer; said once a minute");
        }
    }
}

/// Nothing of it makes two folders different.
impl PartialEq for Trouble {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trouble {}

/// A line that is written once in a while.
#[derive(Debug, Default)]
struct Seldom {
    /// One more than when it was last, in seconds since the epoch; 0 before.
    told: AtomicU64,
    untold: AtomicU64,
}

impl Seldom {
    /// How many went untold since the last, if it is due. A clock that was set back makes none wait.
    fn due(&self, now: u64) -> Option<u64> {
        let told = self.told.load(Ordering::Relaxed);
        let waits = told > 0 && now >= told - 1 && now - (told - 1) < QUIET;
        // Of several threads one tells.
        if waits || self.told.compare_exchange(told, now + 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_comes_and_goes_is_told_of_once_in_a_while() {
        let (trouble, root) = (Trouble::default(), Path::new("/srv/site"));
        let said = crate::observe::logging::testing::lines(|| {
            for now in [100, 110, 159, 161, 162] {
                trouble.root_is_gone(root, &io::ErrorKind::NotFound.into(), now);
                trouble.root_is_there(root);
            }
        });
        assert_eq!(said.len(), 4, "gone and back at 100 and at 161: {said:?}");
        assert!(said[2].contains("untold=2"), "{said:?}");
    }

    #[test]
    fn a_line_is_due_once_in_a_while_and_says_how_many_it_stands_for() {
        let seldom = Seldom::default();
        let told: Vec<_> = [100, 100, 159, 160, 161, 50, 51].map(|now| seldom.due(now)).to_vec();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1), None]);
        assert_eq!(Seldom::default().due(0), Some(0));
    }
}
