//! Reads durable bundles in order, from any position still held: for replay into a view, and for
//! whoever compares a view with the journal.
//!
//! It reads only below the durable position, so it never sees a batch half-written, and it proves
//! each batch by its hash and its chain like recovery does. It remembers where it was: reading on
//! costs no search.

use std::io;
use std::sync::Arc;

use super::format::{BATCH_HEADER, Batch, BatchHeader, Chain, Place, Record, SEGMENT_HEADER, SegmentHeader};
use super::io::SharedFile;
use super::payload::{self, PayloadError};
use super::recover::{damaged, failed};
use super::segment::{self, Catalog};
use crate::model::id::Seq;
use crate::store::bundle::Committed;
use crate::store::error::StoreError;

/// A reader of its own position.
pub(in crate::store) struct Reader {
    catalog: Arc<Catalog>,
    cursor: Option<Cursor>,
}

/// The start of the batch to read next.
struct Cursor {
    header: SegmentHeader,
    file: SharedFile,
    offset: u64,
    next: Seq,
    chain: Chain,
}

impl Reader {
    /// A reader of that journal.
    pub const fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, cursor: None }
    }

    /// The bundles after `seq`, at most `limit`, in order. Starts at the oldest held if those after
    /// `seq` are gone.
    pub fn after(&mut self, seq: Seq, limit: usize) -> Result<Vec<Committed>, StoreError> {
        let durable = self.catalog.durable();
        let mut found = Vec::new();
        let mut batch = Vec::new();
        // What is gone is passed over, so that a journal whose only segment is still empty reads as empty.
        let mut from = seq.max(Seq(self.catalog.oldest().0.saturating_sub(1)));
        while from < durable && found.len() < limit {
            let Some(mut cursor) = self.seek(Seq(from.0.saturating_add(1)))? else { break };
            let passed = self.read(&cursor, &mut batch, |record| {
                if record.seq > from && found.len() < limit {
                    let changes = payload::decode(record.kind, record.payload)?;
                    found.push(Committed { seq: record.seq, time: record.time, changes });
                }
                Ok(())
            })?;
            // A batch that `limit` may have cut short is where the next call goes on.
            if found.len() < limit {
                from = from.max(passed.last);
                cursor.pass(passed);
            }
            self.cursor = Some(cursor);
        }
        Ok(found)
    }

    /// A cursor at or before the batch of that position, in the same segment.
    fn seek(&mut self, seq: Seq) -> Result<Option<Cursor>, StoreError> {
        loop {
            let Some(header) = self.catalog.holding(seq) else { return Ok(None) };
            if let Some(cursor) =
                self.cursor.take().filter(|cursor| cursor.header == header && cursor.next <= seq)
            {
                return Ok(Some(cursor));
            }
            let name = segment::name(header.first);
            match self.catalog.disk.open(&name) {
                Ok(file) => return Ok(Some(Cursor::start(header, file))),
                // Retired between the two lines above: the catalog knows by now.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && self.catalog.oldest() > header.first => {}
                Err(error) => return Err(failed(&self.catalog.disk, "cannot open", &name)(error)),
            }
        }
    }

    /// Reads the cursor's batch and shows each record.
    fn read(
        &self,
        cursor: &Cursor,
        batch: &mut Vec<u8>,
        mut show: impl FnMut(&Record<'_>) -> Result<(), PayloadError>,
    ) -> Result<Passed, StoreError> {
        let disk = &self.catalog.disk;
        let SegmentHeader { journal, number, first, .. } = cursor.header;
        let place = Place { journal, segment: number, offset: cursor.offset };
        let wrong = |detail: String| damaged(disk, first, place.offset, detail);
        cursor.load(batch, &place).map_err(failed(disk, "cannot read", &segment::name(first)))?;
        let read = Batch::decode(batch, &place).map_err(|fault| wrong(fault.to_string()))?;
        if read.header.previous != cursor.chain || read.header.first != cursor.next {
            return Err(wrong(format!("the batch does not continue at position {}", cursor.next)));
        }
        let mut last = cursor.next;
        for record in read.records() {
            let record = record.map_err(|fault| wrong(fault.to_string()))?;
            last = record.seq;
            show(&record).map_err(|error| match error {
                PayloadError::Unknown(kind) => {
                    StoreError::NewerRecord { path: disk.path(&segment::name(first)), kind }
                }
                PayloadError::Malformed(detail) => wrong(detail),
            })?;
        }
        Ok(Passed { last, length: read.header.length, chain: read.chain })
    }
}

/// A batch that was read.
struct Passed {
    last: Seq,
    length: u64,
    chain: Chain,
}

impl Cursor {
    fn start(header: SegmentHeader, file: SharedFile) -> Self {
        Self { header, file, offset: SEGMENT_HEADER as u64, next: header.first, chain: header.chain }
    }

    const fn pass(&mut self, batch: Passed) {
        self.offset = self.offset.saturating_add(batch.length);
        (self.next, self.chain) = (batch.last.next(), batch.chain);
    }

    /// Fills the buffer with the batch; with its header alone if that is not good.
    fn load(&self, batch: &mut Vec<u8>, place: &Place) -> io::Result<()> {
        let left = self.file.length()?.saturating_sub(self.offset);
        batch.clear();
        batch.resize(BATCH_HEADER.min(usize::try_from(left).unwrap_or(BATCH_HEADER)), 0);
        self.file.read_at(batch, self.offset)?;
        let Some(header) = BatchHeader::decode(batch, place) else { return Ok(()) };
        batch.resize(usize::try_from(header.length.min(left)).map_err(io::Error::other)?, 0);
        self.file.read_at(batch, self.offset)
    }
}
