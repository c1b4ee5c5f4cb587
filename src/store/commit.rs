//! The committer: takes bundles from many tasks, orders them, refuses those whose reads are stale,
//! makes a group of them durable with one fsync, shows them to the followers, hands them to the
//! views, and only then answers.

use crate::model::id::Seq;
use crate::model::time::Timestamp;

use super::bundle::{Bundle, Committed};
use super::error::CommitError;

/// Called on the committer's thread for every durable bundle, in order, before anyone is answered:
/// in-memory views (revocations, blacklist, keys) use it so that an acknowledged fact is in force
/// everywhere in the process. Must be quick and must not block.
pub type Follower = Box<dyn FnMut(&Committed) + Send>;

/// Where and when a bundle was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its position in the journal.
    pub seq: Seq,
    /// Its time.
    pub time: Timestamp,
}

/// The one way to write. Cheap to clone.
#[derive(Clone)]
pub struct Committer {}

impl Committer {
    /// Commits a bundle. Resolves once it is durable, the followers have seen it, and the namespaces
    /// it changed (but for logs, which follow in the background) answer with it applied.
    ///
    /// Dropping the future does not undo the commit.
    pub async fn commit(&self, bundle: Bundle) -> Result<Receipt, CommitError> {
        let _ = bundle;
        todo!("store helper")
    }

    /// The newest durable position.
    pub fn durable(&self) -> Seq {
        todo!("store helper")
    }

    /// Why the node takes no writes, if it does not.
    pub fn read_only(&self) -> Option<std::sync::Arc<str>> {
        todo!("store helper")
    }
}
