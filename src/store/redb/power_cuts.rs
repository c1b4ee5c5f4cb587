//! Power cuts: a disk that keeps what was synced before the cut and, of what was written since, any
//! sectors and none of the others. Whatever it kept, the file opens, holds at least the last position
//! that a checkpoint called durable, and is exactly that prefix of the history it says it is.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::tests::opened;
use super::*;
use crate::model::id::Seq;
use crate::model::random::{self, SeededRng};
use crate::store::overlaid::TokenEngine;
use crate::store::view::Applier;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A file in memory that remembers everything that was done to it.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, Vec<Op>)>>);

fn place(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if file.len() < offset + data.len() {
        file.resize(offset + data.len(), 0);
    }
    file[offset..offset + data.len()].copy_from_slice(data);
}

impl Disk {
    fn operations(&self) -> usize {
        self.0.lock().1.len()
    }

    /// What is left if the power goes after so many operations.
    fn cut(&self, after: usize, rng: &SeededRng) -> Self {
        let guard = self.0.lock();
        let operations = &guard.1[..after];
        let synced = operations.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
        let mut file = Vec::new();
        for (at, op) in operations.iter().enumerate() {
            let sure = at < synced;
            match op {
                Op::Write(offset, data) => {
                    for (sector, data) in data.chunks(SECTOR).enumerate() {
                        if sure || random::bytes::<1>(rng)[0] & 1 == 0 {
                            place(&mut file, usize::try_from(*offset).unwrap() + sector * SECTOR, data);
                        }
                    }
                }
                Op::Length(length) if sure || random::bytes::<1>(rng)[0] & 1 == 0 => {
                    file.resize(usize::try_from(*length).unwrap(), 0);
                }
                Op::Length(_) | Op::Sync => {}
            }
        }
        Self(Arc::new(Mutex::new((file, Vec::new()))))
    }

    fn open(&self) -> Database {
        Database::builder().create_with_backend(self.clone()).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let guard = self.0.lock();
        let found = guard.0.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut guard = self.0.lock();
        guard.0.resize(usize::try_from(length).unwrap(), 0);
        guard.1.push(Op::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().1.push(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut guard = self.0.lock();
        place(&mut guard.0, usize::try_from(offset).unwrap(), data);
        guard.1.push(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn site() -> Site {
    Site { path: PathBuf::from("view.redb") }
}

fn engine(database: Database) -> (RedbReader, RedbApplier) {
    let site = site();
    let applied = prepare(&database, &site).unwrap();
    let database = Arc::new(database);
    (RedbReader { database: database.clone(), site: site.clone() }, RedbApplier::new(database, site, applied))
}

#[test]
fn whatever_a_power_cut_leaves_a_checkpoint_was_honest() {
    let disk = Disk::default();
    let database = disk.open();
    create(&database).unwrap();
    // Before this the file does not have its name.
    let named = disk.operations();
    let (reader, mut applier) = engine(database);
    let history: Vec<_> = (1..=60).map(opened).collect();
    let mut durable = vec![(named, 0)];
    for (round, batch) in history.chunks(4).enumerate() {
        applier.apply(batch).unwrap();
        if round % 3 == 2 {
            let through = applier.checkpoint().unwrap();
            durable.push((disk.operations(), through.0));
        }
    }
    let all = disk.operations();
    drop((reader, applier));
    let rng = SeededRng::new(7);
    for after in (named..=all).chain(named..=all) {
        let promised = durable.iter().filter(|(at, _)| *at <= after).map(|(_, seq)| *seq).max().unwrap();
        let (reader, mut applier) = engine(disk.cut(after, &rng).open());
        let held = applier.applied().0;
        assert!(held >= promised, "{promised} was durable, {held} is left after {after} operations");
        let sessions = reader.sessions(None, usize::MAX).unwrap().value;
        assert_eq!(sessions.len() as u64, held, "after {after} operations");
        applier.apply(&history).unwrap();
        assert_eq!(applier.applied(), Seq(60));
        assert_eq!(reader.sessions(None, usize::MAX).unwrap().value.len(), 60);
    }
}
