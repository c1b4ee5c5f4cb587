//! The journal on real files, and what it refuses by name.

use std::path::Path;
use std::sync::Arc;

use super::disk_model::{Faults, ModelDisk};
use super::format::{Batch, BatchFault, BatchHeader};
use super::io::{Folder, Memory};
use super::payload::PayloadError;
use super::reader::Reader;
use super::*;
use crate::model::change::{Change, UserChange};
use crate::model::id::AccountId;
use crate::model::random::SeededRng;
use crate::store::bundle::Committed;

fn change(key: &str) -> Vec<Change> {
    let account = AccountId(uuid::Uuid::from_bytes([1; 16]));
    vec![UserChange::DocumentDeleted { account, key: key.into() }.into()]
}

fn try_open(disk: SharedDisk) -> Result<Journal, StoreError> {
    Journal::open(disk, 4096, Seq(0), &SeededRng::new(1))
}

fn on(folder: &Path) -> Journal {
    try_open(Arc::new(Folder::new(folder))).unwrap()
}

fn put(journal: &mut Journal, key: &str) -> Seq {
    let seq = journal.stage(Timestamp::from_millis(5), &payload::encode(&change(key)));
    journal.flush().unwrap();
    seq
}

fn all(journal: &Journal) -> Vec<Committed> {
    Reader::new(Arc::clone(journal.catalog())).after(Seq(0), usize::MAX).unwrap()
}

fn keys(bundles: &[Committed]) -> Vec<&str> {
    let key = |bundle: &Committed| match bundle.changes.as_slice() {
        [Change::User(UserChange::DocumentDeleted { key, .. })] => key.len(),
        other => panic!("{other:?}"),
    };
    bundles.iter().map(|bundle| if key(bundle) > 9 { "long" } else { "short" }).collect()
}

#[test]
fn what_was_flushed_is_there_after_a_restart_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = on(folder.path());
    for _ in 0..40 {
        put(&mut journal, &"k".repeat(300));
        journal.prepare();
    }
    drop(journal);
    let mut journal = on(folder.path());
    assert_eq!(journal.last(), Seq(40));
    assert_eq!(put(&mut journal, "next"), Seq(41));
    let read = all(&journal);
    assert_eq!(read.iter().map(|bundle| bundle.seq.0).collect::<Vec<_>>(), (1..=41).collect::<Vec<_>>());
    assert!(folder.path().read_dir().unwrap().count() > 4);
}

#[test]
fn a_bundle_larger_than_a_segment_gets_one_of_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = on(folder.path());
    for length in [20_000, 1, 30_000, 2] {
        put(&mut journal, &"k".repeat(length));
    }
    drop(journal);
    assert_eq!(keys(&all(&on(folder.path()))), ["long", "short", "long", "short"]);
}

#[test]
fn time_never_goes_backwards_not_even_over_a_restart() {
    let disk: SharedDisk = Arc::new(Memory::default());
    let mut journal = try_open(Arc::clone(&disk)).unwrap();
    journal.stage(Timestamp::from_millis(9), &[]);
    journal.stage(Timestamp::from_millis(3), &[]);
    journal.flush().unwrap();
    let mut journal = try_open(disk).unwrap();
    journal.stage(Timestamp::from_millis(1), &[]);
    journal.flush().unwrap();
    assert!(all(&journal).iter().all(|bundle| bundle.time == Timestamp::from_millis(9)));
}

#[test]
fn a_reader_goes_on_where_it_was_and_starts_at_the_oldest_kept() {
    let disk: SharedDisk = Arc::new(Memory::default());
    let mut journal = try_open(disk).unwrap();
    for index in 0..60 {
        journal.stage(Timestamp::default(), &payload::encode(&change(&"k".repeat(100 + index))));
        if index % 3 == 0 {
            journal.flush().unwrap();
        }
    }
    journal.flush().unwrap();
    let mut reader = Reader::new(Arc::clone(journal.catalog()));
    let mut read = Vec::new();
    while let Some(last) = reader.after(Seq(read.len() as u64), 7).unwrap().last().map(|it| it.seq.0) {
        read.extend(read.len() as u64 + 1..=last);
    }
    assert_eq!(read, (1..=60).collect::<Vec<_>>());
    assert_eq!(reader.after(Seq(20), 1).unwrap()[0].seq, Seq(21));
    assert_eq!(journal.catalog().oldest(), Seq(1));
    journal.catalog().retire(Seq(50)).unwrap();
    let oldest = journal.catalog().oldest();
    assert!(oldest > Seq(1) && oldest <= Seq(51), "{oldest}");
    assert_eq!(reader.after(Seq(0), 1).unwrap()[0].seq, oldest);
    assert_eq!(reader.after(Seq(60), 1).unwrap(), []);
}

/// A journal with some batches in one segment on the model, and where each begins.
fn three_batches() -> (ModelDisk, String, Vec<usize>) {
    let disk = ModelDisk::default();
    let mut journal = try_open(Arc::new(disk.clone())).unwrap();
    let mut starts = Vec::new();
    for key in ["a", "b", "c"] {
        starts.push(usize::try_from(journal.end).unwrap());
        put(&mut journal, &key.repeat(200));
    }
    (disk, segment::name(Seq(1)), starts)
}

fn refusal(disk: &ModelDisk) -> StoreError {
    try_open(Arc::new(disk.clone())).err().expect("it opened")
}

#[test]
fn a_damaged_middle_is_refused_with_its_file_and_byte_and_left_alone() {
    let (disk, name, starts) = three_batches();
    disk.corrupt(&name, |bytes| bytes[starts[1]..starts[2]].fill(0));
    for _ in 0..2 {
        let StoreError::Damaged { path, offset, detail } = refusal(&disk) else { panic!() };
        assert_eq!((path, offset), (io::Disk::path(&disk, &name), starts[1] as u64));
        assert!(detail.contains("position 3 follows"), "{detail}");
    }
}

#[test]
fn a_last_batch_that_no_crash_could_have_cut_is_refused_too() {
    let (disk, name, starts) = three_batches();
    for at in [starts[2] + 5, starts[2] + 100] {
        let (disk, name) = (disk.after_kill(Faults::default()), name.clone());
        disk.corrupt(&name, |bytes| bytes[at] ^= 1);
        assert!(matches!(refusal(&disk), StoreError::Damaged { offset, .. } if offset == starts[2] as u64));
    }
}

#[test]
fn a_torn_tail_is_cut_but_not_below_what_a_store_has_applied() {
    let (disk, name, starts) = three_batches();
    // The second sector of the batch never arrived.
    let lost = (starts[2] / 512 + 1) * 512;
    disk.corrupt(&name, |bytes| bytes[lost..].fill(0));
    let shared: SharedDisk = Arc::new(disk.clone());
    let floored = Journal::open(Arc::clone(&shared), 4096, Seq(3), &SeededRng::new(1)).err().unwrap();
    let told = floored.to_string();
    assert!(told.contains("a store has applied 3") && told.contains("copy of the data folder"), "{told}");
    assert_eq!(all(&try_open(shared).unwrap()).len(), 2);
    disk.corrupt(&name, |bytes| assert!(tail::is_zero(&bytes[starts[2]..])));
}

#[test]
fn missing_foreign_and_renamed_segments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = on(folder.path());
    for _ in 0..40 {
        put(&mut journal, &"k".repeat(300));
    }
    let mut names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let aside = folder.path().join("aside");
    std::fs::rename(&names[1], &aside).unwrap();
    let refused = |detail: &str| {
        let error = try_open(Arc::new(Folder::new(folder.path()))).err().unwrap().to_string();
        assert!(error.contains(detail), "{error}");
    };
    refused("1 segments before it are missing");
    std::fs::copy(&names[0], &names[1]).unwrap();
    refused("under a wrong name");
    std::fs::rename(&aside, &names[1]).unwrap();
    std::fs::OpenOptions::new().write(true).open(&names[2]).unwrap().set_len(100).unwrap();
    refused("shorter than its header");
    let other = Journal::open(Arc::new(Memory::default()), 0, Seq(7), &SeededRng::new(1)).err().unwrap();
    assert!(other.to_string().contains("gone"), "{other}");
}

#[test]
fn a_newer_format_and_an_unknown_record_are_named() {
    let (disk, name, _) = three_batches();
    let newer = disk.after_kill(Faults::default());
    newer.corrupt(&name, |bytes| {
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let hash = blake3::hash(&bytes[..480]);
        bytes[480..512].copy_from_slice(hash.as_bytes());
    });
    assert!(matches!(refusal(&newer), StoreError::NewerFormat { found: 2, known: 1, .. }));

    let mut journal = try_open(Arc::new(disk.clone())).unwrap();
    let record = Record { kind: 9, seq: Seq(4), time: Timestamp::default(), payload: b"?" };
    format::push_record(&mut journal.staged, &record);
    (journal.staged_records, journal.last) = (1, Seq(4));
    journal.flush().unwrap();
    assert!(matches!(refusal(&disk), StoreError::NewerRecord { kind: 9, .. }));
}

/// Found by the fuzz target `journal`: it was read as damaged.
#[test]
fn a_journal_whose_only_segment_is_empty_reads_as_empty() {
    let disk = ModelDisk::default();
    let mut journal = try_open(Arc::new(disk.clone())).unwrap();
    put(&mut journal, &"k".repeat(3000));
    journal.stage(Timestamp::default(), &[]);
    let second = journal.last();
    journal.rotate(second, 0).unwrap();
    drop(journal);
    io::Disk::remove(&disk, &segment::name(Seq(1))).unwrap();
    let journal = Journal::open(Arc::new(disk), 4096, Seq(1), &SeededRng::new(1)).unwrap();
    assert_eq!((journal.last(), all(&journal)), (Seq(1), Vec::new()));
}

/// Found by the fuzz target `journal`: the next record's position would have overflowed.
#[test]
fn a_segment_that_begins_where_no_journal_comes_to_is_refused() {
    for (number, first) in [(1, u64::MAX), (u64::MAX, 1), (0, 1), (1, 0)] {
        let (journal, first) = (JournalId([7; 16]), Seq(first));
        let (floor, chain) = (Timestamp::default(), Chain::default());
        let header = SegmentHeader { journal, number, first, floor, chain };
        let disk = ModelDisk::default();
        let file = io::Disk::create(&disk, &segment::name(first)).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&[0; 4096], SEGMENT_HEADER as u64).unwrap();
        let StoreError::Damaged { offset: 0, detail, .. } = refusal(&disk) else { panic!() };
        assert!(detail.contains("no journal comes to"), "{detail}");
    }
}

#[test]
fn an_unknown_kind_of_change_is_named_when_it_is_read() {
    let mut journal = try_open(Arc::new(Memory::default())).unwrap();
    journal.stage(Timestamp::default(), &[0xE7, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    journal.flush().unwrap();
    let read = Reader::new(Arc::clone(journal.catalog())).after(Seq(0), 9);
    assert!(matches!(read, Err(StoreError::NewerRecord { kind: 999, .. })), "{read:?}");
    assert!(matches!(payload::decode(BUNDLE_V1, &[1, 2, 3]), Err(PayloadError::Malformed(_))));
}

#[test]
fn a_full_disk_stops_the_journal_before_anything_is_lost() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity: Some(6000), ..Faults::default() });
    let mut journal = try_open(Arc::new(disk.clone())).unwrap();
    let mut done = 0;
    let error = loop {
        journal.stage(Timestamp::default(), &payload::encode(&change(&"k".repeat(700))));
        match journal.flush() {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("cannot write /model/"), "{error}");
    journal.stage(Timestamp::default(), &[]);
    assert!(journal.flush().is_err(), "it went on after a failure");
    disk.set_faults(Faults::default());
    assert_eq!(all(&try_open(Arc::new(disk)).unwrap()).len(), done);
}

#[test]
fn after_a_failed_fsync_nothing_is_written_any_more() {
    let disk = ModelDisk::default();
    let mut journal = try_open(Arc::new(disk.clone())).unwrap();
    put(&mut journal, "a");
    disk.set_faults(Faults { fail_sync_after: Some(0), ..Faults::default() });
    for _ in 0..2 {
        journal.stage(Timestamp::default(), &payload::encode(&change("b")));
        assert!(journal.flush().is_err());
    }
    assert_eq!(journal.catalog().durable(), Seq(1));
}

#[test]
fn a_batch_is_valid_only_where_it_was_written() {
    let (disk, name, starts) = three_batches();
    let mut bytes = Vec::new();
    disk.corrupt(&name, |all| bytes = all[starts[1]..].to_vec());
    let header = read_back(&disk, &name);
    let place = Place { journal: header.journal, segment: 1, offset: starts[1] as u64 };
    assert!(Batch::decode(&bytes, &place).is_ok());
    let mut other = header.journal;
    other.0[0] ^= 1;
    for moved in [
        Place { offset: place.offset + 512, ..place },
        Place { segment: 2, ..place },
        Place { journal: other, ..place },
    ] {
        assert_eq!(Batch::decode(&bytes, &moved).unwrap_err(), BatchFault::NoHeader);
    }
}

fn read_back(disk: &ModelDisk, name: &str) -> SegmentHeader {
    let mut bytes = vec![0; SEGMENT_HEADER];
    io::Disk::open(disk, name).unwrap().read_at(&mut bytes, 0).unwrap();
    SegmentHeader::decode(&bytes).unwrap()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn hostile_bytes_are_faults_and_no_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..700),
        length in proptest::num::u64::ANY,
    ) {
        let place = Place { journal: JournalId([0; 16]), segment: 1, offset: 512 };
        let _ = SegmentHeader::decode(&bytes);
        let _ = BatchHeader::decode(&bytes, &place);
        let _ = payload::decode(BUNDLE_V1, &bytes);
        // A batch whose seals are right and whose records are not.
        let mut batch = Vec::new();
        format::begin_batch(&mut batch);
        batch.extend_from_slice(&length.to_le_bytes());
        batch.extend_from_slice(&bytes);
        format::seal_batch(&mut batch, &place, 3, Seq(u64::MAX - 1), Chain::default());
        let records = Batch::decode(&batch, &place).unwrap().records();
        proptest::prop_assert!(records.take(9).any(|record| record.is_err()));
        let _ = tail::judge(&bytes, &Place { offset: 100, ..place }, BatchFault::WrongHash { length });
    }
}
