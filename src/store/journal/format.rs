//! The journal's bytes: segment header, batch, record. Encoding and decoding, no I/O.
//!
//! ```text
//! segment  header (512 bytes) · batch · batch · … · zeros to the end of the preallocated file
//! header   magic 8 · version u32 · journal id 16 · segment number u64 · first seq u64
//!          · time floor i64 · chain carried in 32 · zeros · BLAKE3 of all before 32
//! batch    magic 4 · records u32 · length u64 · first seq u64 · chain before 32 · check 8
//!          · records · chain 32
//! record   length of payload u64 · type u16 · seq u64 · time i64 · payload · CRC-32 of all before
//! ```
//!
//! Integers are little-endian. A batch is what one fsync made durable. Its check and its chain are
//! taken over its [`Place`] too (journal, segment, offset), so bytes that lie where they were not
//! written are never valid: not those of another journal, nor of another place in this one. The
//! chain of a batch covers the chain before it, so the last one vouches for all.
//!
//! Every parser here takes hostile bytes: it answers with a fault and never panics.

use crate::model::id::Seq;
use crate::model::time::Timestamp;

/// What disks write whole or not at all, bytes.
pub(super) const SECTOR: usize = 512;
/// Length of a segment's header, bytes.
pub(super) const SEGMENT_HEADER: usize = 512;
/// Length of a batch's header, bytes.
pub(super) const BATCH_HEADER: usize = 64;
/// Length of a batch's trailer, bytes.
pub(super) const BATCH_TRAILER: usize = 32;
/// The format this binary writes and the newest it reads.
pub(super) const VERSION: u32 = 1;
/// No segment's number and no position comes near this one.
const FARTHEST: u64 = 1 << 62;
/// The one type of record so far: a bundle, version 1.
pub(super) const BUNDLE_V1: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"KGATEJNL";
const BATCH_MAGIC: [u8; 4] = *b"KGB\x01";
const RECORD_HEADER: usize = 26;
const RECORD_CHECK: usize = 4;

/// A hash in the journal's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Chain(pub [u8; 32]);

/// The id of one journal (one timeline): random, made with its first segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct JournalId(pub [u8; 16]);

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub journal: JournalId,
    pub segment: u64,
    pub offset: u64,
}

impl Place {
    fn hasher(&self, purpose: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.journal.0).update(&self.segment.to_le_bytes());
        hasher.update(&self.offset.to_le_bytes());
        hasher
    }

    fn check(&self, head: &[u8]) -> [u8; 8] {
        let mut check = [0; 8];
        self.hasher("keepgate 2026 journal batch header v1").update(head).finalize_xof().fill(&mut check);
        check
    }

    fn chain(&self, body: &[u8]) -> Chain {
        Chain(*self.hasher("keepgate 2026 journal chain v1").update(body).finalize().as_bytes())
    }
}

/// A segment's header: which journal and part of it, and what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct SegmentHeader {
    /// The journal it belongs to.
    pub journal: JournalId,
    /// Its number, from 1.
    pub number: u64,
    /// The position of the first bundle in it, also its name.
    pub first: Seq,
    /// The time of the last bundle before it: time never goes below.
    pub floor: Timestamp,
    /// The chain of the last batch before it.
    pub chain: Chain,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Its checksum does not match.
    Damaged,
    /// A newer binary wrote it.
    Newer(u32),
    /// A number or position that no journal comes to: counting on from it would overflow.
    Impossible,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.journal.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.floor.as_millis().to_le_bytes());
        out.extend_from_slice(&self.chain.0);
        out.resize(SEGMENT_HEADER - 32, 0);
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// The checksum's place is the same in every version, so damage is never taken for novelty.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let (body, hash) =
            bytes.get(..SEGMENT_HEADER).and_then(|all| all.split_last_chunk()).ok_or(HeaderFault::Damaged)?;
        let mut fields = Fields(body);
        let magic: Option<[u8; 8]> = fields.take();
        if blake3::hash(body) != blake3::Hash::from_bytes(*hash) || magic != Some(SEGMENT_MAGIC) {
            return Err(HeaderFault::Damaged);
        }
        let version = fields.u32().ok_or(HeaderFault::Damaged)?;
        if version != VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let header = fields.segment().ok_or(HeaderFault::Damaged)?;
        let possible = [header.number, header.first.0].iter().all(|count| (1..FARTHEST).contains(count));
        if possible { Ok(header) } else { Err(HeaderFault::Impossible) }
    }
}

/// A batch's header, checked against its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub records: u32,
    pub length: u64,
    pub first: Seq,
    pub previous: Chain,
}

impl BatchHeader {
    /// The header at the start of `bytes`, if there is one that was written for this place.
    pub fn decode(bytes: &[u8], place: &Place) -> Option<Self> {
        let (body, check) = bytes.get(..BATCH_HEADER)?.split_last_chunk::<8>()?;
        let mut fields = Fields(body);
        if fields.take() != Some(BATCH_MAGIC) || place.check(body) != *check {
            return None;
        }
        let records = fields.u32()?;
        let length = fields.u64()?;
        let first = Seq(fields.u64()?);
        let previous = Chain(fields.take()?);
        let shortest = (BATCH_HEADER + BATCH_TRAILER) as u64;
        (records > 0 && length > shortest).then_some(Self { records, length, first, previous })
    }
}

/// A whole batch whose chain hash is right.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub header: BatchHeader,
    pub chain: Chain,
    records: &'a [u8],
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchFault {
    #[error("no batch header that belongs here")]
    NoHeader,
    #[error("a batch of {length} bytes, which does not fit")]
    TooLong { length: u64 },
    #[error("a batch of {length} bytes whose hash does not match")]
    WrongHash { length: u64 },
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`.
    pub fn decode(bytes: &'a [u8], place: &Place) -> Result<Self, BatchFault> {
        let header = BatchHeader::decode(bytes, place).ok_or(BatchFault::NoHeader)?;
        let length = header.length;
        let all = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
        let (body, chain) =
            all.and_then(|all| all.split_last_chunk::<32>()).ok_or(BatchFault::TooLong { length })?;
        if place.chain(body) != Chain(*chain) {
            return Err(BatchFault::WrongHash { length });
        }
        let records = body.get(BATCH_HEADER..).unwrap_or_default();
        Ok(Self { header, chain: Chain(*chain), records })
    }

    /// Its records, in order.
    pub fn records(&self) -> Records<'a> {
        Records { rest: self.records, expected: self.header.first, left: self.header.records }
    }
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub kind: u16,
    pub seq: Seq,
    pub time: Timestamp,
    pub payload: &'a [u8],
}

/// The records of a batch do not add up, although its hash matches: it was written wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the records of the batch do not add up at position {0}")]
pub(super) struct RecordFault(pub Seq);

/// Reads records one by one; ends after the first fault.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    expected: Seq,
    left: u32,
}

impl<'a> Records<'a> {
    fn one(&mut self) -> Option<Record<'a>> {
        let whole = self.rest;
        let mut fields = Fields(whole);
        let length = usize::try_from(fields.u64()?).ok()?;
        let kind = u16::from_le_bytes(fields.take()?);
        let seq = Seq(fields.u64()?);
        let time = Timestamp::from_millis(i64::from_le_bytes(fields.take()?));
        let (payload, rest) = fields.0.split_at_checked(length)?;
        let (check, rest) = rest.split_first_chunk::<RECORD_CHECK>()?;
        let covered = whole.get(..RECORD_HEADER.checked_add(length)?)?;
        let right = crc32fast::hash(covered) == u32::from_le_bytes(*check) && seq == self.expected;
        self.rest = rest;
        right.then_some(Record { kind, seq, time, payload })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.rest.is_empty() {
            return None;
        }
        let fault = RecordFault(self.expected);
        let next = self.left.checked_sub(1).zip(self.one()).zip(self.expected.0.checked_add(1));
        match next {
            Some(((left, record), expected)) => {
                self.left = left;
                self.expected = Seq(expected);
                Some(Ok(record))
            }
            None => {
                self.left = 0;
                self.rest = &[];
                Some(Err(fault))
            }
        }
    }
}

/// Makes room for a batch's header in an empty buffer.
pub(super) fn begin_batch(out: &mut Vec<u8>) {
    out.clear();
    out.resize(BATCH_HEADER, 0);
}

/// Appends a record.
pub(super) fn push_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let start = out.len();
    out.reserve(RECORD_HEADER + record.payload.len() + RECORD_CHECK);
    out.extend_from_slice(&(record.payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&record.kind.to_le_bytes());
    out.extend_from_slice(&record.seq.0.to_le_bytes());
    out.extend_from_slice(&record.time.as_millis().to_le_bytes());
    out.extend_from_slice(record.payload);
    let check = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&check.to_le_bytes());
}

/// Fills in the header and appends the trailer; the new end of the chain.
pub(super) fn seal_batch(
    out: &mut Vec<u8>,
    place: &Place,
    records: u32,
    first: Seq,
    previous: Chain,
) -> Chain {
    let length = (out.len() + BATCH_TRAILER) as u64;
    let mut head = Vec::with_capacity(BATCH_HEADER);
    head.extend_from_slice(&BATCH_MAGIC);
    head.extend_from_slice(&records.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&first.0.to_le_bytes());
    head.extend_from_slice(&previous.0);
    let check = place.check(&head);
    head.extend_from_slice(&check);
    out.splice(..BATCH_HEADER, head);
    let chain = place.chain(out);
    out.extend_from_slice(&chain.0);
    chain
}

/// Takes fixed-size fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn segment(&mut self) -> Option<SegmentHeader> {
        Some(SegmentHeader {
            journal: JournalId(self.take()?),
            number: self.u64()?,
            first: Seq(self.u64()?),
            floor: Timestamp::from_millis(i64::from_le_bytes(self.take()?)),
            chain: Chain(self.take()?),
        })
    }
}
