//! What stands after the last good batch of the newest segment: nothing, a batch that a crash cut
//! off, or damage. Pure; recovery acts on the answer.
//!
//! A torn batch may be cut: nobody was told that it was durable. Damage must never be, so the two
//! are told apart by what a crash can and cannot do:
//!
//! - A batch is written only after the one before it is durable. So a batch header anywhere after
//!   the bad place proves that the bad place *was* durable: damage.
//! - A disk writes a sector wholly or not at all, and all bytes were zeros before. So a torn batch
//!   lacks at least one whole sector's part of itself, which is still zeros. A bad batch that lacks
//!   none (a flipped bit, say) was not torn: damage.
//!
//! What remains undecided is a last batch that was acknowledged, then damaged by zeros. That is
//! caught by the floor: recovery refuses to end below what any view has applied.

use super::format::{BATCH_HEADER, BatchFault, BatchHeader, Place, SECTOR};
use crate::model::id::Seq;

/// What follows the last good batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros to the end.
    Clean,
    /// A torn batch, whose last byte that is no zero is before this offset.
    Torn { until: usize },
}

static ZEROS: [u8; 4096] = [0; 4096];

/// Whether all bytes are zero. Compares blocks: a loop over bytes takes a second for a segment in
/// a debug build.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}

/// Judges the segment's `bytes` from `place.offset` on, where `fault` was found.
///
/// # Errors
/// The detail for the operator, if this is damage.
pub(super) fn judge(bytes: &[u8], place: &Place, fault: BatchFault) -> Result<Tail, String> {
    let at = usize::try_from(place.offset).unwrap_or(usize::MAX);
    let rest = bytes.get(at..).unwrap_or_default();
    if is_zero(rest) {
        return Ok(Tail::Clean);
    }
    if let Some((offset, first)) = later_batch(rest, place) {
        return Err(format!("{fault}, yet the batch from position {first} follows at byte {offset}"));
    }
    let extent = match fault {
        BatchFault::NoHeader => BATCH_HEADER,
        BatchFault::WrongHash { length } => usize::try_from(length).unwrap_or(usize::MAX),
        // The header is right, so this batch was written here: the file became shorter.
        BatchFault::TooLong { .. } => return Err(format!("{fault}: the file was made shorter")),
    };
    let (batch, beyond) = rest.split_at_checked(extent).unwrap_or((rest, &[]));
    if !lacks_a_sector(batch, at) {
        return Err(format!("{fault}, and none of its sectors is missing, so no crash cut it off"));
    }
    if matches!(fault, BatchFault::WrongHash { .. }) && !is_zero(beyond) {
        return Err(format!("{fault}, and bytes follow it that were never written"));
    }
    let trailing = rest.iter().rev().take_while(|byte| **byte == 0).count();
    Ok(Tail::Torn { until: bytes.len() - trailing })
}

fn later_batch(rest: &[u8], place: &Place) -> Option<(u64, Seq)> {
    let mut skipped = 0;
    for block in rest.chunks(ZEROS.len()) {
        if !is_zero(block) {
            for within in 0..block.len() {
                let from = skipped + within;
                let place = Place { offset: place.offset + from as u64, ..*place };
                let header = rest.get(from..).and_then(|bytes| BatchHeader::decode(bytes, &place));
                if let Some(header) = header.filter(|_| from > 0) {
                    return Some((place.offset, header.first));
                }
            }
        }
        skipped += block.len();
    }
    None
}

/// Whether the part of the batch that lies in some one sector is zeros. `at` is where it starts.
fn lacks_a_sector(mut batch: &[u8], at: usize) -> bool {
    let mut room = SECTOR - at % SECTOR;
    while !batch.is_empty() {
        let (part, rest) = batch.split_at_checked(room).unwrap_or((batch, &[]));
        if is_zero(part) {
            return true;
        }
        batch = rest;
        room = SECTOR;
    }
    false
}
