//! The journal: the one place where a bundle becomes durable, and the order of everything.
//!
//! One writer stages records and makes them durable as one batch with one fsync; readers follow
//! from any position still held. It knows nothing of changes, views or commands: a record is a
//! position, a time and a payload (`payload.rs` says what the payload holds).
//!
//! Invariants: what [`Journal::flush`] answered for is found again after any crash, in order; of
//! what it did not answer for, a whole batch may be found, never a part; a damaged middle is
//! refused and never skipped; after a failed write or fsync nothing is written any more.

#[cfg(test)]
pub(in crate::store) mod disk_model;
pub(in crate::store) mod format;
#[cfg(any(test, fuzzing))]
pub(in crate::store) mod fuzz;
pub(in crate::store) mod io;
pub(in crate::store) mod payload;
pub(in crate::store) mod reader;
mod recover;
pub(in crate::store) mod segment;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod torture;

use std::sync::Arc;

use crate::model::change::Namespace;
use crate::model::id::Seq;
use crate::model::random::{self, Rng};
use crate::model::time::Timestamp;
use crate::store::error::{COPIED, StoreError};
use format::{BUNDLE_V1, Chain, JournalId, Place, Record, SEGMENT_HEADER, SegmentHeader};
use io::SharedDisk;
use recover::{Found, failed};
use segment::{Catalog, Maker, Segment};

/// A batch larger than this, bytes, has a segment of its own. So recovery knows how far a torn batch
/// can reach.
const LARGE_BATCH: u64 = 8 * 1024 * 1024;
/// The smallest segment, bytes: less would be all headers.
const SMALLEST_SEGMENT: u64 = 4096;

/// The writing end. There is one.
pub(in crate::store) struct Journal {
    disk: SharedDisk,
    catalog: Arc<Catalog>,
    maker: Maker,
    segment: Segment,
    /// Where the next batch goes.
    end: u64,
    chain: Chain,
    last: Seq,
    time: Timestamp,
    staged: Vec<u8>,
    staged_records: u32,
    failed: bool,
}

impl Journal {
    /// Recovers the journal on `disk`, or makes a new one if there is none. `floor` is the highest
    /// position that a view has applied, `segment_bytes` the size of segments to come.
    ///
    /// # Errors
    /// `Damaged` (and nothing was changed), `NewerFormat`, `NewerRecord`, or `Io`.
    pub fn open(disk: SharedDisk, segment_bytes: u64, floor: Seq, rng: &dyn Rng) -> Result<Self, StoreError> {
        let mut maker = Maker::new(Arc::clone(&disk), segment_bytes.max(SMALLEST_SEGMENT));
        let found = match recover::recover(&disk, floor)? {
            Some(found) => found,
            None => create(&disk, &mut maker, rng)?,
        };
        let Found { segments, newest, end, last, chain, time } = found;
        let catalog = Arc::new(Catalog::new(Arc::clone(&disk), segments, last));
        let mut staged = Vec::new();
        format::begin_batch(&mut staged);
        let (segment, staged_records) = (newest, 0);
        Ok(Self {
            disk,
            catalog,
            maker,
            segment,
            end,
            chain,
            last,
            time,
            staged,
            staged_records,
            failed: false,
        })
    }

    /// The last position, staged ones included.
    pub const fn last(&self) -> Seq {
        self.last
    }

    /// The time of the last record: a later one may not have an earlier time.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// What readers need.
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The refusal to serve a view that needs what the journal no longer holds.
    pub fn lacks(&self, namespace: Namespace, applied: Seq) -> StoreError {
        let (name, oldest) = (namespace.name(), self.catalog.oldest());
        let detail =
            format!("it begins at position {oldest}, but the {name} store ends at {applied} ({COPIED})");
        StoreError::Damaged { path: self.disk.path(""), offset: 0, detail }
    }

    /// Adds a record to the batch to come; its position.
    pub fn stage(&mut self, time: Timestamp, payload: &[u8]) -> Seq {
        self.last = self.last.next();
        self.time = self.time.max(time);
        let record = Record { kind: BUNDLE_V1, seq: self.last, time: self.time, payload };
        format::push_record(&mut self.staged, &record);
        self.staged_records += 1;
        self.last
    }

    /// Makes everything staged durable, as one batch. After an error the journal takes nothing any
    /// more: what an fsync has failed to write may be gone without a second error.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.staged_records == 0 {
            return Ok(());
        }
        if self.failed {
            let source = std::io::Error::other("it failed before");
            return Err(failed(&self.disk, "cannot write", "")(source));
        }
        self.failed = true;
        self.write().map_err(failed(
            &self.disk,
            "cannot write",
            &segment::name(self.segment.header.first),
        ))?;
        self.failed = false;
        self.catalog.set_durable(self.last);
        Ok(())
    }

    /// Has the next segment made in the background once this one is half full.
    pub fn prepare(&mut self) {
        if self.end > self.segment.length / 2 {
            self.maker.prepare();
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let length = (self.staged.len() + format::BATCH_TRAILER) as u64;
        let first = Seq(self.last.0 + 1 - u64::from(self.staged_records));
        let used = self.end > SEGMENT_HEADER as u64;
        if self.end + length > self.segment.length || (used && length > LARGE_BATCH) {
            self.rotate(first, length)?;
        }
        let SegmentHeader { journal, number, .. } = self.segment.header;
        let place = Place { journal, segment: number, offset: self.end };
        let chain = format::seal_batch(&mut self.staged, &place, self.staged_records, first, self.chain);
        self.segment.file.write_at(&self.staged, self.end)?;
        self.segment.file.sync()?;
        (self.chain, self.end) = (chain, self.end + length);
        format::begin_batch(&mut self.staged);
        self.staged_records = 0;
        Ok(())
    }

    /// Goes on in a new segment. Everything before is durable by now, so its existence proves that
    /// the old one is complete. A segment that is still empty, but too small for this batch, is
    /// replaced by a larger one under its name and number.
    fn rotate(&mut self, first: Seq, room: u64) -> std::io::Result<()> {
        let old = self.segment.header;
        let empty = old.first == first;
        let next =
            SegmentHeader { number: old.number + 1, first, floor: self.time, chain: self.chain, ..old };
        let header = if empty { old } else { next };
        self.segment = self.maker.make(&header, room)?;
        self.end = SEGMENT_HEADER as u64;
        if !empty {
            self.catalog.add(header);
        }
        Ok(())
    }
}

fn create(disk: &SharedDisk, maker: &mut Maker, rng: &dyn Rng) -> Result<Found, StoreError> {
    let journal = JournalId(random::bytes(rng));
    let (first, floor, chain) = (Seq(1), Timestamp::default(), Chain::default());
    let header = SegmentHeader { journal, number: 1, first, floor, chain };
    let newest = maker.make(&header, 0).map_err(failed(disk, "cannot create", &segment::name(first)))?;
    let end = SEGMENT_HEADER as u64;
    Ok(Found { segments: vec![header], newest, end, last: Seq(0), chain, time: floor })
}
