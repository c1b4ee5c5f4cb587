//! A disk that does everything a real one may do to those who trust it too much. For tests.
//!
//! It keeps what the process sees apart from what would survive a power cut. A write is pending, a
//! sector at a time, until its file is synced; a name is pending until the folder is. At a crash any
//! subset of what is pending survives. It can also stop after any number of operations, fail an
//! fsync the way Linux does (the pages are dropped but still read back), run full, and, as the
//! positive control of every test that uses it, lie about fsync.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::format::SECTOR;
use super::io::{Disk, File, SharedFile};
use crate::model::random::{self, SeededRng};

/// A number below `bound`.
pub fn below(rng: &SeededRng, bound: usize) -> usize {
    usize::try_from(u64::from_le_bytes(random::bytes(rng))).unwrap() % bound
}

/// How the disk misbehaves.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Operations that succeed before everything stops.
    pub stop_after: Option<usize>,
    /// Syncs that succeed before one fails.
    pub fail_sync_after: Option<usize>,
    /// Bytes that fit.
    pub capacity: Option<usize>,
    /// Says that it synced, and did not.
    pub lies: bool,
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sector by sector as it was seen when written, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Move(String, String, usize),
    Remove(String),
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    faults: Faults,
}

/// The disk. Clones of the handle are the same disk.
#[derive(Clone, Default)]
pub struct ModelDisk(Arc<Mutex<State>>);

struct ModelFile(ModelDisk, usize);

impl ModelDisk {
    /// A new process on the same running machine: the old one was killed, the page cache was not.
    pub fn after_kill(&self, faults: Faults) -> Self {
        let mut state = self.0.lock().clone();
        state.faults = faults;
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk after a power cut: of what was pending, any subset.
    pub fn after_power_cut(&self, rng: &SeededRng, faults: Faults) -> Self {
        let mut state = self.0.lock().clone();
        let percent = [0, 10, 50, 90, 100][below(rng, 5)];
        let survives = || below(rng, 100) < percent;
        for inode in &mut state.inodes {
            for (sector, bytes) in std::mem::take(&mut inode.pending) {
                if survives() {
                    put(&mut inode.durable, sector * SECTOR, &bytes);
                }
            }
            inode.seen.clone_from(&inode.durable);
        }
        for change in std::mem::take(&mut state.pending_names) {
            if survives() {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        state.faults = faults;
        Self(Arc::new(Mutex::new(state)))
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Changes a file behind everyone's back, durably.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.names[name];
        let inode = &mut state.inodes[inode];
        change(&mut inode.seen);
        inode.durable.clone_from(&inode.seen);
    }

    /// Counts an operation: `Err` if the machine stops at it, after it took what effect it took.
    fn operate(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.0.lock();
        let left = state.faults.stop_after;
        if left == Some(0) {
            return Err(stopped());
        }
        act(&mut state)?;
        state.faults.stop_after = left.map(|left| left - 1);
        if left == Some(1) { Err(stopped()) } else { Ok(()) }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine stopped")
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    content.resize(content.len().max(offset + bytes.len()), 0);
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn apply(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Add(name, inode) => {
            names.insert(name, inode);
        }
        // A folder's entry names a file, so a rename is of that file, whatever else is lost.
        NameChange::Move(from, to, inode) => {
            if names.get(&from) == Some(&inode) {
                names.remove(&from);
            }
            names.insert(to, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

fn rename_all(state: &mut State, change: NameChange) {
    apply(&mut state.names, change.clone());
    state.pending_names.push(change);
}

impl Disk for ModelDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SharedFile> {
        let mut inode = 0;
        self.operate(|state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            inode = state.inodes.len();
            state.inodes.push(Inode::default());
            rename_all(state, NameChange::Add(name.into(), inode));
            Ok(())
        })?;
        Ok(Arc::new(ModelFile(self.clone(), inode)))
    }

    fn open(&self, name: &str) -> io::Result<SharedFile> {
        let inode = *self.0.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(ModelFile(self.clone(), inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(|state| {
            let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            rename_all(state, NameChange::Move(from.into(), to.into(), inode));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(|state| {
            if !state.names.contains_key(name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            rename_all(state, NameChange::Remove(name.into()));
            Ok(())
        })
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.operate(|state| {
            if state.faults.lies || state.faults.stop_after == Some(1) {
                return Ok(());
            }
            for change in std::mem::take(&mut state.pending_names) {
                apply(&mut state.durable_names, change);
            }
            Ok(())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/model").join(name)
    }
}

impl File for ModelFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().inodes[self.1].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.0.0.lock();
        let found = state.inodes[self.1].seen.get(offset..offset + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.operate(|state| {
            let used: usize = state.inodes.iter().map(|inode| inode.seen.len()).sum();
            let inode = &mut state.inodes[self.1];
            let grows = (offset + bytes.len()).saturating_sub(inode.seen.len());
            if grows > 0 && state.faults.capacity.is_some_and(|capacity| used + grows > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            put(&mut inode.seen, offset, bytes);
            for sector in offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR) {
                let end = inode.seen.len().min((sector + 1) * SECTOR);
                inode.pending.push((sector, inode.seen[sector * SECTOR..end].to_vec()));
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.0.operate(|state| {
            if state.faults.lies || state.faults.stop_after == Some(1) {
                return Ok(());
            }
            let pending = std::mem::take(&mut state.inodes[self.1].pending);
            if state.faults.fail_sync_after == Some(0) {
                state.faults.fail_sync_after = None;
                return Err(io::Error::other("input/output error"));
            }
            state.faults.fail_sync_after = state.faults.fail_sync_after.map(|left| left - 1);
            for (sector, bytes) in pending {
                put(&mut state.inodes[self.1].durable, sector * SECTOR, &bytes);
            }
            Ok(())
        })
    }
}
