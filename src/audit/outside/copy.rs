//! The copy of the witness on another path. It is somebody else's file: its end is believed only
//! after it was proven against the log, and nothing in it is ever overwritten or cut but the beginning
//! of a line of our own that a crash left.
//!
//! Invariant: a copy whose end the log does not bear out is said so, counted, and added to all the
//! same, after the newest head in it that does fit: what was written into it neither stops the
//! heads that follow nor goes away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Counts, Target};
use crate::audit::head::HeadPublicKey;
use crate::audit::witness::{Reader, Witness, line, parse, tail};
use crate::model::event::SignedHead;
use crate::store::namespace::LogStore;

/// Whether the log bears a head out: it is genuine, and the record it speaks of is the log's.
pub type Check = Box<dyn Fn(&SignedHead) -> io::Result<bool> + Send>;

/// The check against a log.
pub fn check(key: HeadPublicKey, logs: LogStore) -> Check {
    Box::new(move |head| {
        let (true, Some(before)) = (key.verifies(head), head.count.checked_sub(1)) else { return Ok(false) };
        let record = logs.records(before, 1).map_err(io::Error::other)?.pop();
        if let Some(record) = record.filter(|record| record.index == head.count) {
            return Ok(record.hash == head.hash);
        }
        // Asked after the record, which retention may drop in between.
        let base = logs.base().map_err(io::Error::other)?;
        Ok(base.is_some_and(|base| {
            head.count < base.through || (head.count == base.through && head.hash == base.hash)
        }))
    })
}

/// How the file was left: if it is so still, nobody wrote to it since.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Left {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Left {
    fn of(file: &File) -> io::Result<Self> {
        let it = file.metadata()?;
        let changed = (it.ctime(), it.ctime_nsec());
        Ok(Self { device: it.dev(), inode: it.ino(), length: it.len(), changed })
    }
}

/// The file: opened for each head, so that one that was moved away or a mount that came back is
/// noticed.
pub(super) struct CopyFile {
    path: PathBuf,
    /// The node's own witness: what it has and the copy lacks is caught up with.
    own: PathBuf,
    check: Check,
    counts: Arc<Counts>,
    /// How it was left, and the count of the newest head in it.
    left: Option<(Left, u64)>,
}

impl CopyFile {
    pub fn new(path: PathBuf, own: PathBuf, check: Check, counts: Arc<Counts>) -> Self {
        Self { path, own, check, counts, left: None }
    }

    fn open(&self) -> io::Result<File> {
        // Its folder is not made: where a mount is missing nothing should be written beside it.
        let Some(folder) = self.path.parent().filter(|folder| folder.is_dir()) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its folder is not there"));
        };
        match std::fs::metadata(&self.path) {
            Ok(it) if !it.is_file() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"))
            }
            Ok(_) => OpenOptions::new().read(true).append(true).open(&self.path),
            Err(_) => {
                let mut new = OpenOptions::new();
                let file = new.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
                File::open(folder)?.sync_all()?;
                Ok(file)
            }
        }
    }

    /// The count of the head to go on after, in a file that somebody else may have written to.
    fn examine(&self, file: &mut File, head: &SignedHead) -> io::Result<u64> {
        let length = file.metadata()?.len();
        let bytes = tail(file, length)?;
        let torn = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if !torn.is_empty() {
            if self.is_begun(torn, head)? {
                file.set_len(length.saturating_sub(torn.len() as u64))?;
            } else {
                self.contradicted("it ends in a line that is none of this node's");
                file.write_all(b"\n")?;
            }
        }
        let whole = bytes.get(..bytes.len() - torn.len()).unwrap_or_default();
        match whole.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty()) {
            Some(last) => {
                if let Some(last) = parse(last)
                    && (self.check)(&last)?
                {
                    return Ok(last.count);
                }
                self.contradicted("its last line is no signed head that the log bears out");
            }
            None if bytes.len() as u64 >= length => return Ok(0),
            // What stands before all that was looked at is not known yet.
            None if torn.is_empty() => self.contradicted("it ends in nothing but empty lines"),
            None => {}
        }
        self.newest()
    }

    /// The count of the newest head in the whole file that the log bears out.
    fn newest(&self) -> io::Result<u64> {
        let mut newest = 0;
        for entry in Reader::open(&self.path)?.into_iter().flatten() {
            if let Some(head) = entry?.head.filter(|head| head.count > newest)
                && (self.check)(&head)?
            {
                newest = head.count;
            }
        }
        Ok(newest)
    }

    /// Whether an unterminated line is the beginning of one that we write.
    fn is_begun(&self, torn: &[u8], head: &SignedHead) -> io::Result<bool> {
        if line(head)?.starts_with(torn) {
            return Ok(true);
        }
        for entry in Reader::open(&self.own)?.into_iter().flatten() {
            if let Some(own) = entry?.head
                && line(&own)?.starts_with(torn)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn contradicted(&self, why: &str) {
        self.counts.contradicted();
        tracing::error!(
            witness = %self.path.display(),
            why,
            "the copy of the audit witness is not what this node wrote: it was changed, or the log was. It is \
             kept as it is and added to; run `keepgate audit verify --witness` with it"
        );
    }
}

impl Target for CopyFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn deliver(&mut self, head: &SignedHead) -> io::Result<()> {
        let mut file = self.open()?;
        let found = Left::of(&file)?;
        let left = self.left.take();
        let mut count = match left {
            Some((left, count)) if left == found => count,
            _ => self.examine(&mut file, head)?,
        };
        // Where a file system tells of our own writing late, the file is looked at again and ends as it did.
        let lacks_some = left.is_none_or(|(_, newest)| newest != count);
        let mut copy = Witness::of(file);
        if lacks_some {
            for entry in Reader::open(&self.own)?.into_iter().flatten() {
                if let Some(missed) = entry?.head.filter(|it| it.count > count && it.count < head.count)
                    && (self.check)(&missed)?
                {
                    copy.append(&missed)?;
                    count = missed.count;
                }
            }
        }
        if head.count > count {
            copy.append(head)?;
            count = head.count;
        }
        self.left = Some((Left::of(copy.file())?, count));
        Ok(())
    }
}
