//! Random histories on the disk model, stopped at random operations, in recovery too. The witness
//! knows what was acknowledged; after every recovery it is compared with what the journal holds.
//!
//! `KEEPGATE_TORTURE_IMAGES` sets how many crash images are looked at (10,000 by default, about two
//! seconds; a night's run is some tens of millions). A failure names its seed.

use std::sync::Arc;

use super::disk_model::{Faults, ModelDisk, below};
use super::io::SharedDisk;
use super::reader::Reader;
use super::{Journal, payload, segment};
use crate::model::change::{Change, UserChange};
use crate::model::id::{AccountId, Seq};
use crate::model::random::SeededRng;
use crate::model::time::Timestamp;
use crate::store::bundle::Committed;
use crate::store::error::StoreError;

const SEGMENT: u64 = 4096;

fn changes(rng: &SeededRng) -> Vec<Change> {
    let account = AccountId(uuid::Uuid::from_bytes([7; 16]));
    // Keys that repeat one byte, the zero byte too: whole sectors of zeros inside a batch.
    let key = |_| String::from_utf8(vec![u8::try_from(below(rng, 3)).unwrap(); below(rng, 900)]).unwrap();
    let change = |key| UserChange::DocumentDeleted { account, key }.into();
    (0..=below(rng, 2)).map(key).map(change).collect()
}

/// What was acknowledged, what may have been committed, and what the views have applied.
#[derive(Default)]
struct Witness {
    acknowledged: Vec<Vec<Change>>,
    unanswered: Vec<Vec<Change>>,
    applied: u64,
}

impl Witness {
    /// Compares with a journal that was just opened; takes what it holds as acknowledged.
    fn compare(&mut self, journal: &Journal) -> Result<(), String> {
        let oldest = journal.catalog().oldest();
        let found = Reader::new(Arc::clone(journal.catalog()))
            .after(Seq(oldest.0 - 1), usize::MAX)
            .map_err(|error| error.to_string())?;
        let kept = usize::try_from(oldest.0 - 1).unwrap();
        if oldest.0 - 1 > self.applied {
            return Err(format!("what is not applied was retired: oldest {oldest}"));
        }
        let whole = [self.acknowledged.clone(), self.unanswered.clone()].concat();
        let known = if kept + found.len() == whole.len() { &whole } else { &self.acknowledged };
        if known.len() != kept + found.len() {
            let (acknowledged, unanswered) = (self.acknowledged.len(), self.unanswered.len());
            let found = kept + found.len();
            return Err(format!("{found} found of {acknowledged} acknowledged, {unanswered} unanswered"));
        }
        in_order(&found, oldest, &known[kept..])?;
        self.acknowledged = known.clone();
        self.unanswered.clear();
        Ok(())
    }
}

fn in_order(found: &[Committed], oldest: Seq, known: &[Vec<Change>]) -> Result<(), String> {
    let mut time = Timestamp::from_millis(i64::MIN);
    for (index, (found, known)) in found.iter().zip(known).enumerate() {
        if found.seq.0 != oldest.0 + index as u64 || found.changes != *known || found.time < time {
            return Err(format!("position {} is not what was committed there", found.seq));
        }
        time = found.time;
    }
    Ok(())
}

fn open(disk: &ModelDisk, witness: &Witness, rng: &SeededRng) -> Result<Journal, StoreError> {
    let disk: SharedDisk = Arc::new(disk.clone());
    Journal::open(disk, SEGMENT, Seq(witness.applied), rng)
}

fn faults(rng: &SeededRng, lies: bool, operations: usize) -> Faults {
    let mut faults = Faults { lies, ..Faults::default() };
    match below(rng, 10) {
        0 => faults.fail_sync_after = Some(below(rng, operations / 2)),
        1 => {}
        _ => faults.stop_after = Some(below(rng, operations)),
    }
    faults
}

fn crash(disk: &ModelDisk, rng: &SeededRng, faults: Faults) -> ModelDisk {
    if below(rng, 4) == 0 { disk.after_kill(faults) } else { disk.after_power_cut(rng, faults) }
}

/// Writes until something fails or enough is written.
fn work(journal: &mut Journal, witness: &mut Witness, rng: &SeededRng) {
    for _ in 0..below(rng, 12) {
        for _ in 0..=below(rng, 3) {
            let changes = changes(rng);
            let time = Timestamp::from_millis(i64::try_from(below(rng, 1000)).unwrap());
            journal.stage(time, &payload::encode(&changes));
            witness.unanswered.push(changes);
        }
        if journal.flush().is_err() {
            return;
        }
        witness.acknowledged.append(&mut witness.unanswered);
        if below(rng, 4) == 0 {
            let through = below(rng, witness.acknowledged.len() + 1) as u64;
            witness.applied = witness.applied.max(through);
            let _ = journal.catalog().retire(Seq(witness.applied));
        }
    }
}

/// One history of a few crashes; how many images it looked at.
fn history(seed: u64, lies: bool) -> Result<usize, String> {
    let rng = SeededRng::new(seed);
    let mut witness = Witness::default();
    let mut disk = ModelDisk::default();
    disk.set_faults(faults(&rng, lies, 40));
    let images = 2 + below(&rng, 6);
    for image in 0..images {
        // The last image is looked at on a disk that works.
        let next = if image + 2 < images { faults(&rng, lies, 25) } else { Faults::default() };
        match open(&disk, &witness, &rng) {
            Ok(mut journal) => {
                witness.compare(&journal)?;
                work(&mut journal, &mut witness, &rng);
            }
            Err(StoreError::Io { .. }) if image + 1 < images => {}
            Err(error) => return Err(error.to_string()),
        }
        disk = crash(&disk, &rng, next);
    }
    Ok(images)
}

fn budget() -> usize {
    std::env::var("KEEPGATE_TORTURE_IMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_shows_a_part_of_what_was_not() {
    let (mut seed, mut images) = (0, 0);
    while images < budget() {
        images += history(seed, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        seed += 1;
    }
}

#[test]
fn a_disk_that_lies_about_fsync_is_caught() {
    let caught = (0..200).filter(|seed| history(*seed, true).is_err()).count();
    assert!(caught > 50, "only {caught} of 200 histories on a lying disk were noticed");
}

/// A journal of a few segments; the disk, its positions, and the size of the last batch.
fn written(rng: &SeededRng) -> (ModelDisk, Vec<Committed>, u64) {
    let disk = ModelDisk::default();
    let mut journal = open(&disk, &Witness::default(), rng).unwrap();
    let mut last_batch = 0;
    for _ in 0..12 {
        let before = journal.last();
        for _ in 0..=below(rng, 2) {
            journal.stage(Timestamp::default(), &payload::encode(&changes(rng)));
        }
        journal.flush().unwrap();
        last_batch = journal.last().0 - before.0;
    }
    let all = Reader::new(Arc::clone(journal.catalog())).after(Seq(0), usize::MAX).unwrap();
    (disk, all, last_batch)
}

#[test]
fn a_flipped_bit_is_refused_and_never_skipped() {
    let mut refused = 0;
    for seed in 0..400 {
        let rng = SeededRng::new(seed);
        let (disk, all, last_batch) = written(&rng);
        let names = super::io::Disk::list(&disk).unwrap();
        let firsts: Vec<Seq> = names.iter().filter_map(|name| segment::first_of(name)).collect();
        let name = segment::name(firsts[below(&rng, firsts.len())]);
        disk.corrupt(&name, |bytes| {
            let at = below(&rng, bytes.len());
            bytes[at] ^= 1 << below(&rng, 8);
        });
        let floored = Witness { applied: all.len() as u64, ..Witness::default() };
        match open(&disk, &floored, &rng) {
            // A bit among the zeros at the end, where nothing was lost.
            Ok(journal) => assert_eq!(journal.last().0, all.len() as u64, "seed {seed}"),
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        match open(&disk, &Witness::default(), &rng) {
            Ok(journal) => {
                let left = Reader::new(Arc::clone(journal.catalog())).after(Seq(0), usize::MAX).unwrap();
                assert!(left.len() as u64 >= all.len() as u64 - last_batch, "seed {seed}");
                assert_eq!(left, all[..left.len()], "seed {seed}");
            }
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "seed {seed}: {error}"),
        }
    }
    assert!(refused > 200, "only {refused} of 400 flips hit something");
}
