//! What a record of type "bundle, version 1" holds: its changes, each as kind, length, bytes.

use super::format::BUNDLE_V1;
use crate::model::change::Change;
use crate::model::change::codec::{self, CodecError};

const CHANGE_HEADER: usize = 10;

/// Why a payload cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum PayloadError {
    /// A kind of record or change that this binary does not know.
    #[error("a record of kind {0} is unknown to this binary")]
    Unknown(u16),
    /// Not what was written.
    #[error("{0}")]
    Malformed(String),
}

/// The changes as one payload.
pub(in crate::store) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    for change in changes {
        let start = out.len();
        out.extend_from_slice(&codec::kind(change).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        codec::encode(change, &mut out);
        let length = (out.len() - start - CHANGE_HEADER) as u64;
        if let Some(field) = out.get_mut(start + 2..start + CHANGE_HEADER) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }
    out
}

/// The changes of a record of that type.
pub(in crate::store) fn decode(kind: u16, mut payload: &[u8]) -> Result<Vec<Change>, PayloadError> {
    if kind != BUNDLE_V1 {
        return Err(PayloadError::Unknown(kind));
    }
    let mut changes = Vec::new();
    while !payload.is_empty() {
        let (kind, bytes, rest) =
            split(payload).ok_or_else(|| PayloadError::Malformed("a change is cut off".into()))?;
        changes.push(codec::decode(kind, bytes).map_err(|error| match error {
            CodecError::UnknownKind { kind } => PayloadError::Unknown(kind),
            malformed @ CodecError::Malformed { .. } => PayloadError::Malformed(malformed.to_string()),
        })?);
        payload = rest;
    }
    Ok(changes)
}

fn split(payload: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = payload.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((u16::from_le_bytes(*kind), bytes, rest))
}
