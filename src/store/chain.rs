//! The audit chain's arithmetic: one event and the head before it give the next record. A pure
//! function of the journal's order, so that every engine computes the same chain.
//!
//! It stores nothing and proves nothing; `audit::verify` recomputes it from what an engine answers.

use super::error::StoreError;
use super::namespace::{LogHead, LogRecord};
use crate::model::change::Namespace;
use crate::model::event::AuditEvent;
use crate::model::id::Seq;

/// The record of `event`, committed at `seq`, in a chain that stands at `head`.
pub(in crate::store) fn following(
    head: LogHead,
    seq: Seq,
    event: &AuditEvent,
) -> Result<LogRecord, StoreError> {
    let payload = postcard::to_stdvec(event).map_err(|error| StoreError::Engine {
        namespace: Namespace::Logs,
        detail: format!("event {} cannot be encoded: {error}", event.id),
    })?;
    let index = head.count + 1;
    let hash = head.hash.next(index, seq, &payload);
    Ok(LogRecord { index, seq, payload, hash, columns_agree: true })
}

impl LogRecord {
    /// The event that the payload encodes.
    pub fn event(&self) -> Result<AuditEvent, StoreError> {
        postcard::from_bytes(&self.payload).map_err(|error| StoreError::Engine {
            namespace: Namespace::Logs,
            detail: format!("record {} of the audit log is not an event: {error}", self.index),
        })
    }

    /// Where the chain stands with this record as its last.
    pub(in crate::store) const fn head(&self) -> LogHead {
        LogHead { count: self.index, hash: self.hash }
    }
}
