//! Fuzz target: the journal's files, whatever someone or something has written to them. It is opened or
//! refused, and what is read of it is what was written, from some whole batch to some whole batch: never
//! another record, never one in the middle missing, and never fewer than a view has applied.

use std::sync::Arc;

use super::format::{BatchHeader, SegmentHeader};
use super::io::{Disk as _, Memory};
use super::reader::Reader;
use super::*;
use crate::fuzzing::input::Input;
use crate::model::change::{Change, UserChange};
use crate::model::id::AccountId;
use crate::model::random::SeededRng;
use crate::store::bundle::Committed;

/// A folder's files as they are carried from disk to disk.
type Files = Vec<(String, Vec<u8>)>;

/// Recovery and the reader: over any bytes as a segment, over segments that are sealed rightly around
/// nonsense, and over a journal that was damaged after it was written.
pub(in crate::store) fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => any(input.rest()),
        1 => sealed(input),
        2 => damaged_while_open(input),
        _ => damaged(input),
    }
}

fn open(disk: &SharedDisk, floor: Seq) -> Result<Journal, StoreError> {
    Journal::open(Arc::clone(disk), SMALLEST_SEGMENT, floor, &SeededRng::new(1))
}

fn read(journal: &Journal) -> Result<Vec<Committed>, StoreError> {
    Reader::new(Arc::clone(journal.catalog())).after(Seq(0), usize::MAX)
}

fn disk_of(files: &Files) -> SharedDisk {
    let disk = Memory::default();
    for (name, bytes) in files {
        let file = disk.create(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        file.write_at(bytes, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    Arc::new(disk)
}

fn files_of(disk: &SharedDisk) -> Files {
    let names = disk.list().unwrap_or_default();
    let content = |name: &String| {
        let file = disk.open(name).ok()?;
        let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
        file.read_at(&mut bytes, 0).ok()?;
        Some(bytes)
    };
    names.into_iter().filter_map(|name| content(&name).map(|bytes| (name, bytes))).collect()
}

/// What was opened works: it is read, takes a record more, and is opened again.
fn works(disk: &SharedDisk, mut journal: Journal) {
    let before = journal.last();
    let held = read(&journal);
    journal.stage(Timestamp::default(), &[]);
    journal.flush().unwrap_or_else(|error| panic!("it opened and takes nothing: {error}"));
    assert!(journal.last() > before);
    if let Err(error) = &held {
        // Recovery reads no payload; everything else it has proven.
        let StoreError::Damaged { detail, .. } = error else { return };
        assert!(detail.starts_with("a change"), "recovery let pass what the reader does not: {error}");
    }
    if let Ok(held) = held {
        let more = read(&journal).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(more.get(..held.len()), Some(held.as_slice()));
        assert_eq!(more.len(), held.len() + 1);
    }
    let again = open(disk, before).unwrap_or_else(|error| panic!("it opens once only: {error}"));
    assert_eq!(again.last(), before.next());
}

fn any(bytes: &[u8]) {
    let disk = disk_of(&vec![(segment::name(Seq(1)), bytes.to_vec())]);
    if let Ok(journal) = open(&disk, Seq(0)) {
        works(&disk, journal);
    }
    let place = Place { journal: JournalId([0; 16]), segment: 1, offset: 512 };
    let _ = BatchHeader::decode(bytes, &place);
    let _ = payload::decode(BUNDLE_V1, bytes);
}

/// A segment whose hashes are all right, as whoever can write the file can make it.
fn sealed(mut input: Input<'_>) {
    let wild = input.byte();
    let first = if wild & 1 == 0 { Seq(1) } else { Seq(u64::from_le_bytes(input.array())) };
    let number = if wild & 2 == 0 { 1 } else { u64::from_le_bytes(input.array()) };
    let floor = if wild & 4 == 0 { 0 } else { i64::from_le_bytes(input.array()) };
    let header = SegmentHeader {
        journal: JournalId([7; 16]),
        number,
        first,
        floor: Timestamp::from_millis(floor),
        chain: Chain(input.array()),
    };
    let mut bytes = header.encode();
    let (mut next, mut chain) = (first, header.chain);
    while !input.is_empty() && bytes.len() < 3000 {
        let wild = input.byte();
        let place = Place { journal: header.journal, segment: number, offset: bytes.len() as u64 };
        let mut batch = Vec::new();
        format::begin_batch(&mut batch);
        if wild & 128 != 0 {
            // Of some other history.
            next = Seq(next.0.wrapping_add(u64::from(input.byte() & 1)));
            chain.0[0] ^= input.byte();
        }
        let begins = next;
        let count = u32::from(wild % 4);
        for _ in 0..count {
            let kind = if wild & 16 == 0 { BUNDLE_V1 } else { u16::from_le_bytes(input.array()) };
            let time = Timestamp::from_millis(i64::from_le_bytes(input.array()));
            let length = input.below(200);
            format::push_record(&mut batch, &Record { kind, seq: next, time, payload: input.bytes(length) });
            next = Seq(next.0.wrapping_add(1));
        }
        if wild & 32 != 0 {
            let length = input.below(64);
            batch.extend_from_slice(input.bytes(length));
        }
        let said = if wild & 64 == 0 { count } else { u32::from_le_bytes(input.array()) };
        chain = format::seal_batch(&mut batch, &place, said, begins, chain);
        bytes.extend_from_slice(&batch);
    }
    bytes.resize(SMALLEST_SEGMENT as usize, 0);
    let disk = disk_of(&vec![(segment::name(first), bytes)]);
    if let Ok(journal) = open(&disk, Seq(0)) {
        works(&disk, journal);
    }
}

/// A journal of a few batches, in one segment or several.
fn written(input: &mut Input<'_>) -> (SharedDisk, Journal, Vec<Committed>) {
    let disk: SharedDisk = Arc::new(Memory::default());
    let mut journal = open(&disk, Seq(0)).unwrap_or_else(|error| panic!("{error}"));
    for batch in 0..=input.byte() % 6 {
        for _ in 0..=input.byte() % 3 {
            let key = "k".repeat(input.below(1500));
            let account = AccountId(uuid::Uuid::from_bytes([batch; 16]));
            let change: Change = UserChange::DocumentDeleted { account, key }.into();
            let time = Timestamp::from_millis(i64::from(batch));
            journal.stage(time, &payload::encode(&[change]));
        }
        journal.flush().unwrap_or_else(|error| panic!("{error}"));
    }
    let all = read(&journal).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(all.last().map(|bundle| bundle.seq), Some(journal.last()));
    (disk, journal, all)
}

fn damaged(mut input: Input<'_>) {
    let (disk, journal, all) = written(&mut input);
    let last = journal.last();
    let mut files = files_of(&disk);
    let laid = batches(&files);
    for _ in 0..=input.byte() % 4 {
        damage(&mut files, &mut input);
    }
    // A view has applied everything: nothing may be missing at the end.
    let disk = disk_of(&files);
    if let Ok(journal) = open(&disk, last) {
        let held = read(&journal).unwrap_or_else(|error| panic!("it opened and cannot be read: {error}"));
        assert!(all.ends_with(&held), "another journal passed for this one");
        works(&disk, journal);
    }
    let disk = disk_of(&files);
    if let Ok(journal) = open(&disk, Seq(0)) {
        let held = read(&journal).unwrap_or_else(|error| panic!("it opened and cannot be read: {error}"));
        let from =
            held.first().map_or(0, |bundle| all.iter().take_while(|other| other.seq < bundle.seq).count());
        let kept = all.get(from..).is_some_and(|rest| rest.starts_with(&held));
        assert!(kept, "records that were never written, or a hole between them");
        // Cut off at the end is only what a crash may have left there: nothing that stands after it.
        let mut lost = laid.iter().filter(|batch| batch.first > journal.last()).skip(1);
        let stands =
            |batch: &Laid| files.iter().any(|(name, bytes)| *name == batch.segment && batch.is_in(bytes));
        assert!(!lost.any(stands), "a damaged middle was cut off with what follows it");
        works(&disk, journal);
    }
}

/// A batch where it was written.
struct Laid {
    segment: String,
    at: usize,
    header: Vec<u8>,
    first: Seq,
}

impl Laid {
    fn is_in(&self, segment: &[u8]) -> bool {
        segment.get(self.at..self.at + self.header.len()) == Some(self.header.as_slice())
    }
}

/// Every batch, in order.
fn batches(files: &Files) -> Vec<Laid> {
    let mut laid = Vec::new();
    for (name, bytes) in files {
        let Ok(SegmentHeader { journal, number, .. }) = SegmentHeader::decode(bytes) else { continue };
        let mut at = SEGMENT_HEADER;
        while let Some(rest) = bytes.get(at..) {
            let Some(header) =
                BatchHeader::decode(rest, &Place { journal, segment: number, offset: at as u64 })
            else {
                break;
            };
            let bytes = rest.get(..format::BATCH_HEADER).unwrap_or_default().to_vec();
            laid.push(Laid { segment: name.clone(), at, header: bytes, first: header.first });
            at += usize::try_from(header.length).unwrap_or(usize::MAX);
        }
    }
    laid.sort_by_key(|batch| batch.first);
    laid
}

fn damage(files: &mut Files, input: &mut Input<'_>) {
    let (what, which) = (input.byte() % 9, input.below(files.len().max(1)));
    let (from, length) = (input.below(6000), input.below(1200));
    let other = input.below(files.len().max(1));
    let source: Vec<u8> =
        files.get(other).and_then(|(_, bytes)| bytes.get(from..)).unwrap_or_default().to_vec();
    let Some((_, bytes)) = files.get_mut(which) else { return };
    let to = input.below(6000);
    match what {
        0 => bytes.iter_mut().skip(to).take(1).for_each(|byte| *byte ^= input.byte()),
        1 => bytes.iter_mut().skip(from).take(length).for_each(|byte| *byte = 0),
        2 => bytes.iter_mut().skip(from / 512 * 512).take(512).for_each(|byte| *byte = 0),
        3 => bytes.truncate(from),
        4 => bytes.extend(input.bytes(length)),
        5 => bytes.iter_mut().skip(to).zip(source.iter().take(length)).for_each(|(to, from)| *to = *from),
        6 => bytes.iter_mut().skip(from).zip(input.bytes(length)).for_each(|(to, from)| *to = *from),
        7 => *bytes = source,
        _ => drop(files.remove(which)),
    }
}

/// A file that changes beneath an open journal: the reader refuses, or reads what was written.
fn damaged_while_open(mut input: Input<'_>) {
    let (disk, journal, all) = written(&mut input);
    for _ in 0..=input.byte() % 3 {
        let names = disk.list().unwrap_or_default();
        let name = names.get(input.below(names.len().max(1))).cloned().unwrap_or_default();
        let (at, bytes) = (input.below(6000) as u64, [input.byte(), input.byte()]);
        if let Ok(file) = disk.open(&name)
            && at + 2 <= file.length().unwrap_or_default()
        {
            file.write_at(&bytes, at).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    if let Ok(held) = read(&journal) {
        assert_eq!(held, all, "the reader took damaged records");
    }
}
