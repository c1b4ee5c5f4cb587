//! The audit chain's arithmetic: one event and the head before it give the next record. A pure
//! function of the journal's order, so that every engine computes the same chain.
//!
//! It stores nothing and proves nothing; `audit::verify` recomputes it from what an engine answers.
//!
//! A payload's first byte tells its form: 16 is the length of the event's id, with which an event
//! alone begins; an event with sealed fields has [`SEALED`] before it. No form's number is reused.

use super::error::StoreError;
use super::namespace::{LogHead, LogRecord};
use crate::model::change::Namespace;
use crate::model::event::{AuditEvent, Pruned, Seal, SealedEvent};
use crate::model::id::Seq;

/// The form of an event with sealed fields.
const SEALED: u8 = 2;

/// An event's bytes as the log keeps them and the chain covers them.
pub fn payload(event: &AuditEvent, seal: Option<&Seal>) -> Result<Vec<u8>, StoreError> {
    let encoded = match seal {
        None => postcard::to_stdvec(event),
        Some(seal) => postcard::to_stdvec(&(SEALED, event, seal)),
    };
    encoded.map_err(|error| StoreError::Engine {
        namespace: Namespace::Logs,
        detail: format!("event {} cannot be encoded: {error}", event.id),
    })
}

/// The record of `event`, committed at `seq`, in a chain that stands at `head`.
pub(in crate::store) fn following(
    head: LogHead,
    seq: Seq,
    event: &AuditEvent,
    seal: Option<&Seal>,
) -> Result<LogRecord, StoreError> {
    let payload = payload(event, seal)?;
    let index = head.count + 1;
    let hash = head.hash.next(index, seq, &payload);
    Ok(LogRecord { index, seq, payload, hash, columns_agree: true })
}

impl LogRecord {
    /// The event that the payload encodes, and its seal.
    pub fn event(&self) -> Result<(AuditEvent, Option<Seal>), StoreError> {
        let decoded = match self.payload.split_first() {
            Some((&SEALED, rest)) => {
                postcard::from_bytes(rest).map(|SealedEvent { event, seal }| (event, Some(seal)))
            }
            _ => postcard::from_bytes(&self.payload).map(|event| (event, None)),
        };
        decoded.map_err(|error| StoreError::Engine {
            namespace: Namespace::Logs,
            detail: format!("record {} of the audit log is not an event: {error}", self.index),
        })
    }

    /// Where the chain stands with this record as its last.
    pub(in crate::store) const fn head(&self) -> LogHead {
        LogHead { count: self.index, hash: self.hash }
    }
}

impl Pruned {
    /// Where the chain stands with all that is left after this one dropped.
    pub(in crate::store) const fn head(&self) -> LogHead {
        LogHead { count: self.through, hash: self.hash }
    }

    /// Whether this drops `record` as its last one: a base that is not the chain's own is not taken.
    pub(in crate::store) fn ends_with(&self, record: &LogRecord) -> bool {
        (self.through, self.seq, self.hash) == (record.index, record.seq, record.hash)
    }
}
