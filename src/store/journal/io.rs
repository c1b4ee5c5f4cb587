//! The few file operations the journal needs, as a trait, so that a test can be the disk: one that
//! loses unsynced writes, tears sectors and lies about fsync (`disk_model.rs`).
//!
//! Deliberately small: no append, no seek, no truncation. Files are created at their full length
//! and overwritten in place, because an overwrite is half the price of growing a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

/// The folder that holds the journal's files.
pub(in crate::store) trait Disk: Send + Sync {
    /// The names in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; an existing one of that name is an error.
    fn create(&self, name: &str) -> io::Result<SharedFile>;
    /// An existing file, to read and write.
    fn open(&self, name: &str) -> io::Result<SharedFile>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// The file as an operator would look for it.
    fn path(&self, name: &str) -> PathBuf;
}

/// A disk shared by the writer, the readers and the background.
pub(in crate::store) type SharedDisk = Arc<dyn Disk>;

/// One open file. Reads and writes are whole: a short one is an error.
pub(in crate::store) trait File: Send + Sync {
    /// Its length, bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes at `offset`, growing the file if need be.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable. After an error nothing may be assumed of either.
    fn sync(&self) -> io::Result<()>;
}

/// A file shared by the writer and the readers.
pub(in crate::store) type SharedFile = Arc<dyn File>;

/// A folder of the operating system.
pub(in crate::store) struct Folder(PathBuf);

impl Folder {
    /// The folder at that path, which exists.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<SharedFile> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<SharedFile> {
        Ok(Arc::new(fs::OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A folder in memory, for the in-memory stores: same journal, nothing survives the process.
#[derive(Default)]
pub(in crate::store) struct Memory(Mutex<BTreeMap<String, SharedFile>>);

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SharedFile> {
        let file: SharedFile = Arc::new(MemoryFile::default());
        match self.0.lock().entry(name.to_owned()) {
            std::collections::btree_map::Entry::Vacant(vacant) => Ok(Arc::clone(vacant.insert(file))),
            std::collections::btree_map::Entry::Occupied(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn open(&self, name: &str) -> io::Result<SharedFile> {
        self.0.lock().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("(memory)").join(name)
    }
}

#[derive(Default)]
struct MemoryFile(RwLock<Vec<u8>>);

impl File for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.read().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.read();
        let found = span(offset, buffer.len()).and_then(|span| bytes.get(span));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.0.write();
        let span = span(offset, bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        if content.len() < span.end {
            content.resize(span.end, 0);
        }
        content.get_mut(span).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn span(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}
