//! Recovery: reads every segment, proves the chain from the oldest batch to the newest, and mends
//! what a crash may leave, in that order.
//!
//! It changes nothing until all is proven, and refuses (`StoreError::Damaged`) rather than skip.
//! Mending can itself be cut off by a crash at any point and then simply happens again.

use std::io;
use std::ops::Range;

use super::LARGE_BATCH;
use super::format::{
    BUNDLE_V1, Batch, BatchFault, Chain, HeaderFault, Place, SEGMENT_HEADER, SegmentHeader, VERSION,
};
use super::io::{SharedDisk, SharedFile};
use super::segment::{self, SPARE, Segment};
use super::tail::{self, Tail};
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::error::{COPIED, StoreError};
use crate::store::files;

/// Read at once, bytes.
const BLOCK: usize = 256 * 1024;

/// Where the journal stands, proven.
pub(super) struct Found {
    pub segments: Vec<SegmentHeader>,
    pub newest: Segment,
    /// Where the next batch goes in the newest segment.
    pub end: u64,
    pub last: Seq,
    pub chain: Chain,
    pub time: Timestamp,
}

/// Recovers the journal on `disk`; `None` if there is none yet. `floor` is the highest position
/// that a view has applied: a journal that ends below it has lost what was acknowledged.
pub(super) fn recover(disk: &SharedDisk, floor: Seq) -> Result<Option<Found>, StoreError> {
    let names = disk.list().map_err(failed(disk, "cannot list", ""))?;
    let mut firsts: Vec<Seq> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    firsts.sort_unstable();
    let segments: Vec<SegmentHeader> =
        firsts.iter().map(|first| read_header(disk, *first)).collect::<Result<_, _>>()?;
    let Some(newest) = segments.last().copied() else {
        return if floor == Seq(0) { Ok(None) } else { Err(missing(disk, floor)) };
    };
    for (one, next) in segments.iter().zip(segments.iter().skip(1)) {
        prove_complete(disk, one, next)?;
    }
    let file = open(disk, newest.first)?;
    let (content, walked) = read_and_walk(disk, &newest, &file)?;
    let tail = tail::judge(&content.bytes, &walked.place, walked.fault)
        .map_err(|detail| damaged(disk, newest.first, walked.place.offset, detail))?;
    if walked.last < floor {
        let detail =
            format!("it ends at position {}, but a store has applied {floor} ({COPIED})", walked.last);
        return Err(damaged(disk, newest.first, walked.place.offset, detail));
    }
    mend(disk, &file, &content, &walked, tail).map_err(failed(
        disk,
        "cannot mend",
        &segment::name(newest.first),
    ))?;
    let newest = Segment { header: newest, file, length: content.length };
    let Walked { place, last, chain, time, .. } = walked;
    Ok(Some(Found { segments, newest, end: place.offset, last, chain, time }))
}

/// Shapes an I/O error, for `map_err`.
pub(super) fn failed(
    disk: &SharedDisk,
    what: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = disk.path(name);
    move |source| files::failed(what, &path, source)
}

/// A precise refusal.
pub(super) fn damaged(disk: &SharedDisk, first: Seq, offset: u64, detail: String) -> StoreError {
    StoreError::Damaged { path: disk.path(&segment::name(first)), offset, detail }
}

fn missing(disk: &SharedDisk, floor: Seq) -> StoreError {
    let detail =
        format!("the journal's segments are gone, but a store has applied position {floor} ({COPIED})");
    StoreError::Damaged { path: disk.path(""), offset: 0, detail }
}

fn open(disk: &SharedDisk, first: Seq) -> Result<SharedFile, StoreError> {
    let name = segment::name(first);
    disk.open(&name).map_err(failed(disk, "cannot open", &name))
}

fn read_header(disk: &SharedDisk, first: Seq) -> Result<SegmentHeader, StoreError> {
    let file = open(disk, first)?;
    let name = segment::name(first);
    if file.length().map_err(failed(disk, "cannot read", &name))? < SEGMENT_HEADER as u64 {
        return Err(damaged(disk, first, 0, "it is shorter than its header".into()));
    }
    let mut bytes = vec![0; SEGMENT_HEADER];
    file.read_at(&mut bytes, 0).map_err(failed(disk, "cannot read", &name))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.first == first => Ok(header),
        Ok(header) => {
            let detail = format!("it is the segment from position {}, under a wrong name", header.first);
            Err(damaged(disk, first, 0, detail))
        }
        Err(HeaderFault::Damaged) => {
            Err(damaged(disk, first, 0, "the header's checksum does not match".into()))
        }
        Err(HeaderFault::Impossible) => {
            Err(damaged(disk, first, 0, "its number or position is one that no journal comes to".into()))
        }
        Err(HeaderFault::Newer(found)) => {
            Err(StoreError::NewerFormat { path: disk.path(&name), found, known: VERSION })
        }
    }
}

/// What is in a segment, without most of the zeros at its end: a young segment is little else, and
/// memory for them would stay with the process.
struct Content {
    bytes: Vec<u8>,
    /// The file's.
    length: u64,
}

/// Reads a segment up to its last byte that is no zero, and as many zeros after it as a torn batch can
/// reach.
fn read(
    disk: &SharedDisk,
    header: &SegmentHeader,
    file: &SharedFile,
    zeros: u64,
) -> Result<Content, StoreError> {
    let read = || {
        let length = file.length()?;
        let room = usize::try_from(length).unwrap_or(BLOCK).min(BLOCK);
        let (mut bytes, mut used, mut block) = (Vec::new(), 0, vec![0; room]);
        // Room for all of it costs nothing until it is filled; growing by doubling costs twice what is
        // read. If there is no such room, so be it.
        drop(bytes.try_reserve_exact(usize::try_from(length).unwrap_or_default()));
        for at in (0..length).step_by(BLOCK) {
            let size = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
            let part = block.get_mut(..size).unwrap_or_default();
            file.read_at(part, at)?;
            if !tail::is_zero(part) {
                bytes.resize(usize::try_from(at).map_err(io::Error::other)?, 0);
                bytes.extend_from_slice(part);
                used = at + size as u64;
            }
        }
        let kept = used.saturating_add(zeros).min(length);
        bytes.resize(usize::try_from(kept).map_err(io::Error::other)?, 0);
        Ok(Content { bytes, length })
    };
    read().map_err(failed(disk, "cannot read", &segment::name(header.first)))
}

/// Reads a segment and walks its batches.
fn read_and_walk(
    disk: &SharedDisk,
    header: &SegmentHeader,
    file: &SharedFile,
) -> Result<(Content, Walked), StoreError> {
    let content = read(disk, header, file, LARGE_BATCH)?;
    let walked = walk(disk, header, &content.bytes)?;
    // A batch too large to share a segment may reach further: then every zero counts.
    let cut = (content.bytes.len() as u64) < content.length;
    if !(cut && matches!(walked.fault, BatchFault::TooLong { .. })) {
        return Ok((content, walked));
    }
    let content = read(disk, header, file, u64::MAX)?;
    let walked = walk(disk, header, &content.bytes)?;
    Ok((content, walked))
}

/// Proves that a segment reaches up to the one after it.
fn prove_complete(disk: &SharedDisk, one: &SegmentHeader, next: &SegmentHeader) -> Result<(), StoreError> {
    if one.journal != next.journal {
        let detail = format!("it belongs to another journal than {}", segment::name(one.first));
        return Err(damaged(disk, next.first, 0, detail));
    }
    if one.number.checked_add(1) != Some(next.number) {
        let detail = format!(
            "{} segments before it are missing",
            next.number.saturating_sub(one.number).saturating_sub(1)
        );
        return Err(damaged(disk, next.first, 0, detail));
    }
    let (_, walked) = read_and_walk(disk, one, &open(disk, one.first)?)?;
    // Bytes after its end mean nothing: the chain says that nothing belongs there.
    if next.first == walked.last.next() && next.chain == walked.chain {
        return Ok(());
    }
    let detail = format!(
        "{}; it ends at position {}, but the next segment begins at {}",
        walked.fault, walked.last, next.first
    );
    Err(damaged(disk, one.first, walked.place.offset, detail))
}

/// How far a segment's batches are good.
struct Walked {
    /// Where the first byte that is no good batch stands.
    place: Place,
    /// What is there instead.
    fault: BatchFault,
    last: Seq,
    chain: Chain,
    time: Timestamp,
    last_batch: Range<usize>,
}

fn walk(disk: &SharedDisk, header: &SegmentHeader, content: &[u8]) -> Result<Walked, StoreError> {
    let mut at = SEGMENT_HEADER;
    let mut last = Seq(header.first.0.saturating_sub(1));
    let (mut chain, mut time, mut last_batch) = (header.chain, header.floor, at..at);
    loop {
        let place = Place { journal: header.journal, segment: header.number, offset: at as u64 };
        let batch = match Batch::decode(content.get(at..).unwrap_or_default(), &place) {
            Ok(batch) => batch,
            Err(fault) => return Ok(Walked { place, fault, last, chain, time, last_batch }),
        };
        let wrong = |detail: String| damaged(disk, header.first, place.offset, detail);
        if batch.header.previous != chain || batch.header.first != last.next() {
            return Err(wrong(format!("the batch does not continue position {last}")));
        }
        for record in batch.records() {
            let record = record.map_err(|fault| wrong(fault.to_string()))?;
            if record.kind != BUNDLE_V1 {
                let path = disk.path(&segment::name(header.first));
                return Err(StoreError::NewerRecord { path, kind: record.kind });
            }
            (last, time) = (record.seq, time.max(record.time));
        }
        chain = batch.chain;
        let end = at + usize::try_from(batch.header.length).unwrap_or(0);
        last_batch = at..end;
        at = end;
    }
}

/// Makes what was found true on the disk, too.
///
/// After a failed fsync the kernel may call pages clean that never reached the disk: what was read
/// here is then not what a power cut would leave, and no later fsync would write it. So the last
/// batch is written once more, and the zeros after it, as far as a torn batch can reach.
fn mend(
    disk: &SharedDisk,
    file: &SharedFile,
    content: &Content,
    walked: &Walked,
    tail: Tail,
) -> io::Result<()> {
    segment::remove_if_there(disk, SPARE)?;
    let (end, length) = (walked.place.offset, content.length);
    if let Tail::Torn { until } = tail {
        let bytes = (until as u64).saturating_sub(end);
        let position = walked.last.0;
        tracing::warn!(position, bytes, "removed a journal batch that a crash cut off, unacknowledged");
    }
    let reach = if walked.last_batch.is_empty() { length } else { end.saturating_add(LARGE_BATCH) };
    segment::write_zeros(file, end, reach.min(length))?;
    if let Some(batch) = content.bytes.get(walked.last_batch.clone()) {
        file.write_at(batch, walked.last_batch.start as u64)?;
    }
    file.sync()?;
    disk.sync_folder()
}
