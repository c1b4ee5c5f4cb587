//! Log files: one a day in UTC, `keepgate.DATE.log`, and further parts of a day that has much to say,
//! `keepgate.DATE.2.log`. Old days go, and the oldest parts when all together reach their bound.
//!
//! Invariant: what was written stays below the bound at every moment, the file being written included:
//! each part is at most an eighth of it, and before one is begun, room for it is made. One thread
//! writes (the log's), and nobody else removes; where another process takes over, its log's thread does, in turns
//! with this one's: who has the folder's lock looks at what is there and goes on with that. While the disk is short the bound is what there was when it
//! became so: the oldest part goes before the log takes room that is kept for revocations.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::model::time::SharedClock;

/// Parts that the bound is shared by: as many go at once as hold an eighth of what is kept.
const PARTS: u64 = 8;

/// What a log may come to on a disk that is short, where it held less before: enough to say why.
const LEAST: u64 = 4 << 20;

/// Looks whether it is this process's turn, where two write; and between two of them.
const TURNS: u32 = 200;
/// See [`TURNS`].
const LOOK: Duration = Duration::from_millis(1);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Days, the one being written included.
    pub days: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// A part of a day's log. The order is that of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    date: String,
    number: u32,
}

impl Part {
    fn name(&self) -> String {
        match self.number {
            1 => format!("keepgate.{}.log", self.date),
            number => format!("keepgate.{}.{number}.log", self.date),
        }
    }

    /// Of a file's name; none if the file is not ours.
    fn of(name: &str) -> Option<Self> {
        let middle = name.strip_prefix("keepgate.")?.strip_suffix(".log")?;
        let (date, number) = match middle.split_once('.') {
            Some((date, number)) => (date, number.parse().ok()?),
            None => (middle, 1),
        };
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        let part = Self { date: date.to_owned(), number };
        (digits == 8 && date.len() == 10 && part.name() == name).then_some(part)
    }
}

/// The files of a folder, written one after the other.
pub struct DailyFiles {
    folder: PathBuf,
    bounds: Bounds,
    clock: SharedClock,
    current: Option<(Part, File, u64)>,
    short: Arc<AtomicBool>,
    /// The bound while the disk is short.
    short_bytes: Option<u64>,
    shared: Arc<AtomicBool>,
    /// Whether it was, at the last line.
    was_shared: bool,
}

impl DailyFiles {
    /// Makes the folder (0700) if need be, and goes on with the newest file of today.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(folder: &Path, bounds: Bounds, clock: SharedClock) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (folder, short) = (folder.to_owned(), Arc::default());
        let shared = Arc::default();
        let (current, short_bytes, was_shared) = (None, None, false);
        let mut files = Self { folder, bounds, clock, current, short, short_bytes, shared, was_shared };
        // A process before this one may be writing.
        let turn = files.turn()?;
        files.ready(0)?;
        drop(turn);
        Ok(files)
    }

    /// To be set while the disk is short: the log then grows no further.
    pub fn short(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.short)
    }

    /// To be set while another process writes here too.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared)
    }

    /// Waits for the other process to have written, for moments: one that was stopped just then must not stop this
    /// log. At worst both make room at once, and a little more of what is old is gone.
    fn turn(&self) -> io::Result<File> {
        let folder = File::open(&self.folder)?;
        for _ in 0..TURNS {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOOK),
                // Not every file system has locks.
                Ok(()) | Err(_) => break,
            }
        }
        Ok(folder)
    }

    /// Waits for a turn, if another process writes too, and forgets what was known before.
    fn share(&mut self) -> io::Result<Option<File>> {
        let shared = self.shared.load(Ordering::Relaxed);
        if shared || self.was_shared {
            self.current = None;
        }
        self.was_shared = shared;
        shared.then(|| self.turn()).transpose()
    }

    /// Bytes of one part.
    fn most(&self) -> u64 {
        self.bytes() / PARTS
    }

    /// Bytes of all files.
    fn bytes(&self) -> u64 {
        self.short_bytes.unwrap_or(self.bounds.bytes)
    }

    /// Takes on the bound that fits the disk as it is.
    fn follow_disk(&mut self) -> io::Result<()> {
        let short = self.short.load(Ordering::Relaxed);
        if short != self.short_bytes.is_some() {
            self.short_bytes = if short {
                let there: u64 = self.parts()?.iter().map(|(_, length)| length).sum();
                Some(there.max(LEAST).min(self.bounds.bytes))
            } else {
                None
            };
            // Room is made by the new bound before another line.
            self.current = None;
        }
        Ok(())
    }

    /// The file for the next `bytes`, which are not torn.
    fn ready(&mut self, bytes: u64) -> io::Result<(&mut File, &mut u64)> {
        let today = self.clock.now().rfc3339().get(..10).unwrap_or_default().to_owned();
        let most = self.most();
        let fits = |length: u64| length == 0 || length.saturating_add(bytes) <= most;
        let stays = self.current.as_ref().is_some_and(|(part, _, length)| {
            // A clock that was set back begins no older file: the order would be lost.
            part.date >= today && fits(*length)
        });
        if !stays {
            self.current = Some(self.begin(today, fits)?);
        }
        match &mut self.current {
            Some((_, file, length)) => Ok((file, length)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn begin(&self, today: String, fits: impl Fn(u64) -> bool) -> io::Result<(Part, File, u64)> {
        let parts = self.parts()?;
        let last = parts.last().filter(|(part, _)| part.date >= today);
        let part = match last {
            None => Part { date: today, number: 1 },
            Some((part, length)) if fits(*length) => part.clone(),
            Some((part, _)) => Part { number: part.number.saturating_add(1), ..part.clone() },
        };
        self.make_room(parts, &part)?;
        let path = self.folder.join(part.name());
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok((part, file, length))
    }

    /// Removes the oldest, so that `next` may be filled.
    fn make_room(&self, mut parts: Vec<(Part, u64)>, next: &Part) -> io::Result<()> {
        parts.retain(|(part, _)| part != next);
        let mut days: Vec<_> = parts.iter().map(|(part, _)| &part.date).chain([&next.date]).collect();
        days.dedup();
        let oldest = days.len().checked_sub(self.bounds.days).and_then(|at| days.get(at));
        let oldest = oldest.map(|date| (*date).clone()).unwrap_or_default();
        let room = self.bytes().saturating_sub(self.most());
        let mut kept: u64 = parts.iter().map(|(_, length)| length).sum();
        for (part, length) in parts {
            if part.date < oldest || kept > room {
                match fs::remove_file(self.folder.join(part.name())) {
                    // The other process was first.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
                kept = kept.saturating_sub(length);
            }
        }
        Ok(())
    }

    /// The files that are ours and their lengths, oldest first.
    fn parts(&self) -> io::Result<Vec<(Part, u64)>> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(part) = entry.file_name().to_str().and_then(Part::of) {
                match entry.metadata() {
                    Ok(found) => parts.push((part, found.len())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        parts.sort();
        Ok(parts)
    }
}

impl Write for DailyFiles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _turn = self.share()?;
        self.follow_disk()?;
        // What is longer than a part goes on in the next.
        let bytes = bytes.get(..usize::try_from(self.most()).unwrap_or(usize::MAX)).unwrap_or(bytes);
        let (file, length) = self.ready(bytes.len() as u64)?;
        let written = file.write(bytes)?;
        *length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.current.as_mut().map_or(Ok(()), |(_, file, _)| file.flush())
    }
}
