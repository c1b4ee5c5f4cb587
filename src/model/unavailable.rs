//! Why a node does nothing for anybody at the moment, whatever was asked: shared by every service, so that
//! each surface words it once.

use std::sync::Arc;
use std::time::Duration;

/// Not now; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unavailable {
    /// More work than the budget allows; nothing was tried.
    #[error("busy; try again in {} s", retry_after.as_millis().div_ceil(1000))]
    Overloaded {
        /// When to try again (`Retry-After`).
        retry_after: Duration,
    },
    /// The node takes no writes.
    #[error("this node is read-only: {reason}")]
    ReadOnly {
        /// Why, for operators.
        reason: Arc<str>,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closing,
}
