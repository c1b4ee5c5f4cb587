//! File descriptors: as many as the system allows, and connections only for as many as there are.
//!
//! A client that takes the last descriptor does more than keep others out: the journal could not open
//! its next segment, and a journal that cannot go on makes the node read-only. So connections are
//! budgeted below the limit, each with one to an application server beside it, and a reserve is kept
//! for everything else, the files that a route serves among it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::edge::statics::body::OPEN_FILES;

/// Descriptors that connections never get: stores and journal, logs, listeners, control connections.
const RESERVE: u64 = 256 + OPEN_FILES as u64;

/// Raises the soft limit of descriptors to the hard one. Returns the limit that is in force then;
/// `None` if there is none.
pub(in crate::app) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(?current, ?maximum, %error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current
}

/// How many of `wanted` connections fit below a limit of descriptors. Never none: a node without a
/// door could not even say what is wrong.
pub(in crate::app) fn affordable(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    let fitting = limit.saturating_sub(RESERVE) / 2;
    wanted.min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_their_upstreams_and_the_reserve_fit_below_the_limit() {
        assert_eq!(affordable(10_000, Some(1_024)), 256);
        assert_eq!(affordable(10_000, Some(20_512)), 10_000);
        assert_eq!(affordable(10_000, Some(20_511)), 9_999);
        assert_eq!(affordable(10_000, None), 10_000);
        assert_eq!(affordable(10_000, Some(100)), 1);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
