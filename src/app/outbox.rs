//! Files that a command hands out together: all of them or none, in place of nothing unless that is said.
//!
//! The folder is looked up once and held, and what goes into it is opened there before anything is asked for that
//! cannot be taken back: who moves the folder, or puts a link under its name, moves nothing of what is written.
//!
//! Invariant: whatever goes wrong leaves what was there before, or all of what is new. Only an end between two of the
//! renames (a power cut, a kill) leaves a part of each: the certificate goes before its key, and what it took the place
//! of is beside it under the name of its draft.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, fallocate, fchmod,
    flock, fsync, ftruncate, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::setup::SetupError;

/// What any of the files is taken to need at most.
const ROOM: u64 = 64 * 1024;

/// One of the files.
#[derive(Clone, Copy, Debug)]
pub struct Sheet {
    /// Its name in the folder.
    pub name: &'static str,
    /// Who may read it.
    pub mode: u32,
}

/// Why they cannot be put there.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Nothing is written over unless it is meant.
    #[error("{} is there already", .0.display())]
    There(PathBuf),
    /// Somebody else is at it.
    #[error("another command is writing into {}", .0.display())]
    Shared(PathBuf),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] SetupError),
}

/// A folder that the files can be put into, until dropped: then it is as it was.
#[derive(Debug)]
#[must_use = "nothing is there until it is put"]
pub struct Outbox {
    path: PathBuf,
    folder: OwnedFd,
    over: bool,
    drafts: Vec<Draft>,
    /// The folders that were made: where, and under which name.
    made: Vec<(OwnedFd, OsString)>,
}

#[derive(Debug)]
struct Draft {
    sheet: Sheet,
    name: String,
    file: File,
}

impl Outbox {
    /// Opens the folder, which is made if need be, and files in it with room for what is to come.
    pub fn prepare(path: &Path, sheets: &[Sheet], over: bool) -> Result<Self, OutboxError> {
        let mut made = Vec::new();
        let folder = match open(path, &mut made) {
            Ok(folder) => folder,
            Err(error) => {
                unmake(&made);
                return Err(failed(path, error).into());
            }
        };
        let mut outbox = Self { path: path.to_owned(), folder, over, drafts: Vec::new(), made };
        outbox.is_free(sheets)?;
        for sheet in sheets {
            outbox.draft(*sheet).map_err(|error| outbox.failed(sheet, error))?;
        }
        if over && let [first, second, ..] = &*outbox.drafts {
            // Twice: as they were. Not every filesystem can.
            let turn = || exchange(&outbox.folder, &first.name, &second.name);
            turn().and_then(|()| turn()).map_err(|error| outbox.failed(&first.sheet, error))?;
        }
        Ok(outbox)
    }

    /// Whether nothing is in the way, and nobody else is at it.
    fn is_free(&self, sheets: &[Sheet]) -> Result<(), OutboxError> {
        match flock(&self.folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(OutboxError::Shared(self.path.clone())),
            locked => locked.map_err(|error| failed(&self.path, error))?,
        }
        for sheet in sheets {
            match statat(&self.folder, sheet.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed(sheet, error).into()),
                // A link to nowhere is something, too.
                Ok(_) if !self.over => return Err(OutboxError::There(self.path.join(sheet.name))),
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    return Err(self.failed(sheet, Errno::ISDIR).into());
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn draft(&mut self, sheet: Sheet) -> Result<(), Errno> {
        let name = format!("{}.new", sheet.name);
        // Left by one that was killed: nobody else is here.
        match unlinkat(&self.folder, &name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => return Err(error),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
        self.drafts.push(Draft { sheet, name, file: file.into() });
        let Some(Draft { file, .. }) = self.drafts.last() else { return Ok(()) };
        match fallocate(file, FallocateFlags::empty(), 0, ROOM) {
            // It has to be found out by writing.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            reserved => reserved,
        }
    }

    /// Puts these texts there, in the order of the sheets. The last one's name is the last to change.
    pub fn put(mut self, texts: &[&str]) -> Result<(), SetupError> {
        for (draft, text) in self.drafts.iter_mut().zip(texts) {
            draft.write(text).map_err(|error| failed(&self.path.join(draft.sheet.name), error))?;
        }
        let mut placed = Vec::new();
        for draft in &self.drafts {
            match place(&self.folder, draft, self.over) {
                Ok(stood) => placed.push((draft, stood)),
                Err(error) => {
                    placed.iter().rev().for_each(|(draft, stood)| take_back(&self.folder, draft, *stood));
                    return Err(self.failed(&draft.sheet, error));
                }
            }
        }
        // What was there goes only once what is there now stays.
        let kept = fsync(&self.folder).map_err(|error| failed(&self.path, error));
        self.made.clear();
        kept
    }

    fn failed(&self, sheet: &Sheet, error: impl Into<io::Error>) -> SetupError {
        failed(&self.path.join(sheet.name), error)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        for draft in &self.drafts {
            let _ = unlinkat(&self.folder, &draft.name, AtFlags::empty());
        }
        unmake(&self.made);
    }
}

impl Draft {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        ftruncate(&self.file, text.len() as u64)?;
        // Whatever the process keeps from others by itself: these are handed out.
        fchmod(&self.file, Mode::from_raw_mode(self.sheet.mode))?;
        self.file.sync_all()
    }
}

/// Gives a draft its name; what had it has the draft's then. Whether anything had.
fn place(folder: &OwnedFd, draft: &Draft, over: bool) -> Result<bool, Errno> {
    let name = draft.sheet.name;
    if over {
        match exchange(folder, &draft.name, name) {
            Err(Errno::NOENT) => {}
            placed => return placed.map(|()| true),
        }
    }
    match renameat_with(folder, &draft.name, folder, name, RenameFlags::NOREPLACE) {
        // A filesystem that cannot say no; that nothing was there has been looked at, and the folder is locked.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(folder, &draft.name, folder, name),
        placed => placed,
    }
    .map(|()| false)
}

fn take_back(folder: &OwnedFd, draft: &Draft, stood: bool) {
    let name = draft.sheet.name;
    let taken = match stood {
        true => exchange(folder, name, &draft.name),
        // Its draft's name is nobody else's.
        false => renameat(folder, name, folder, &draft.name),
    };
    if let Err(error) = taken {
        tracing::error!(name, %error, "what was put there just now cannot be taken back");
    }
}

fn exchange(folder: &OwnedFd, one: &str, other: &str) -> Result<(), Errno> {
    renameat_with(folder, one, folder, other, RenameFlags::EXCHANGE)
}

/// Opens a folder; makes it and those above it where they are missing, each private.
fn open(path: &Path, made: &mut Vec<(OwnedFd, OsString)>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let at = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    match (openat(CWD, at, flags, Mode::empty()), at.parent(), at.file_name()) {
        (Err(Errno::NOENT), Some(parent), Some(name)) => {
            let parent = open(parent, made)?;
            match mkdirat(&parent, name, Mode::RWXU) {
                // Somebody else was quicker, or it is a link to nowhere.
                Err(Errno::EXIST) => {}
                created => {
                    created?;
                    fsync(&parent)?;
                    made.push((parent.try_clone().map_err(|_| Errno::MFILE)?, name.to_owned()));
                }
            }
            openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        (opened, ..) => opened,
    }
}

/// Removes folders that nothing came into.
fn unmake(made: &[(OwnedFd, OsString)]) {
    for (parent, name) in made.iter().rev() {
        let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
    }
}

fn failed(path: &Path, error: impl Into<io::Error>) -> SetupError {
    SetupError { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests;
