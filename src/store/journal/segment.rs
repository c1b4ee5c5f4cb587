//! Segments as files: their names, how one comes to be, which there are, which may go.
//!
//! A segment is zero-filled and durable before it gets its name, and its header is durable before
//! that too. So a named segment always has a whole header, the bytes after its last batch are
//! always zeros (recovery tells a torn tail from damage by that), and its existence proves that the
//! segment before it is complete.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

use super::format::{SEGMENT_HEADER, SegmentHeader};
use super::io::{SharedDisk, SharedFile};
use crate::model::id::Seq;

/// The name of the file that is prepared to become the next segment. Worthless after a restart.
pub(super) const SPARE: &str = "spare";
const SUFFIX: &str = ".segment";
const FILL: usize = 1024 * 1024;

/// The file name of the segment whose first bundle has that position: sorts as the positions do.
pub(super) fn name(first: Seq) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// The position in a segment's file name; `None` for any other file.
pub(super) fn first_of(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Seq)).flatten()
}

/// Makes the file that the next segment will be: `length` durable zeros.
fn make_spare(disk: &SharedDisk, length: u64) -> io::Result<()> {
    remove_if_there(disk, SPARE)?;
    let filled = disk.create(SPARE).and_then(|file| {
        write_zeros(&file, 0, length)?;
        file.sync()
    });
    if filled.is_err() {
        // A half-filled file would keep a full disk full. Its own failure adds nothing to this one.
        let _ = disk.remove(SPARE);
    }
    filled
}

/// Overwrites `from..to` with zeros; not durable by itself.
pub(super) fn write_zeros(file: &SharedFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(FILL).min(FILL)];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).unwrap_or(FILL).min(FILL);
        file.write_at(zeros.get(..step).unwrap_or_default(), at)?;
        at += step as u64;
    }
    Ok(())
}

pub(super) fn remove_if_there(disk: &SharedDisk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes segments, ahead of time if it was told to in time.
pub(super) struct Maker {
    disk: SharedDisk,
    length: u64,
    underway: Option<JoinHandle<io::Result<()>>>,
}

impl Maker {
    pub fn new(disk: SharedDisk, length: u64) -> Self {
        Self { disk, length, underway: None }
    }

    /// Starts to fill the next segment in the background, unless that is done or under way.
    pub fn prepare(&mut self) {
        if self.underway.is_some() {
            return;
        }
        let (disk, length) = (Arc::clone(&self.disk), self.length);
        let thread = std::thread::Builder::new().name("journal-segment".into());
        // Without a thread the segment is filled when it is needed, as after a failure.
        self.underway = thread.spawn(move || make_spare(&disk, length)).ok();
    }

    /// A new segment with that header and room for at least `room` bytes of batches. When it
    /// returns, the segment is durable under its name.
    pub fn make(&mut self, header: &SegmentHeader, room: u64) -> io::Result<Segment> {
        let needed = room.saturating_add(SEGMENT_HEADER as u64);
        let prepared = self.underway.take().and_then(|thread| thread.join().ok());
        // What failed in the background may succeed by now: an operator made room.
        if !matches!(prepared, Some(Ok(()))) || needed > self.length {
            make_spare(&self.disk, needed.max(self.length))?;
        }
        let file = self.disk.open(SPARE)?;
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        self.disk.rename(SPARE, &name(header.first))?;
        self.disk.sync_folder()?;
        let length = file.length()?;
        Ok(Segment { header: *header, file, length })
    }
}

/// One open segment.
pub(super) struct Segment {
    pub header: SegmentHeader,
    pub file: SharedFile,
    pub length: u64,
}

/// Which segments there are and how far they are durable; shared with the readers.
pub(in crate::store) struct Catalog {
    pub(super) disk: SharedDisk,
    segments: RwLock<VecDeque<SegmentHeader>>,
    durable: AtomicU64,
    removing: Mutex<()>,
}

impl Catalog {
    pub(super) fn new(disk: SharedDisk, segments: Vec<SegmentHeader>, durable: Seq) -> Self {
        let segments = RwLock::new(segments.into());
        Self { disk, segments, durable: AtomicU64::new(durable.0), removing: Mutex::new(()) }
    }

    /// How many segments there are.
    pub fn count(&self) -> usize {
        self.segments.read().len()
    }

    pub(super) fn add(&self, header: SegmentHeader) {
        self.segments.write().push_back(header);
    }

    pub(super) fn set_durable(&self, seq: Seq) {
        self.durable.store(seq.0, Ordering::Release);
    }

    /// The newest durable position.
    pub fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// The oldest position still held; the next one to come if there is none yet.
    pub fn oldest(&self) -> Seq {
        self.segments.read().front().map_or(Seq(1), |segment| segment.first)
    }

    /// The segment that holds the position, or the oldest if that is gone.
    pub(super) fn holding(&self, seq: Seq) -> Option<SegmentHeader> {
        let segments = self.segments.read();
        segments.iter().rev().find(|segment| segment.first <= seq).or(segments.front()).copied()
    }

    /// Removes the segments that hold nothing above `applied`, but for the newest of them: the one
    /// to look at when the operator asks what was last applied.
    ///
    /// Each removal is made durable before the next, or a crash could leave a gap in the middle.
    pub fn retire(&self, applied: Seq) -> io::Result<()> {
        let _one_at_a_time = self.removing.lock();
        while let Some(header) = self.pop_retired(applied) {
            let removed = self.disk.remove(&name(header.first)).and_then(|()| self.disk.sync_folder());
            if let Err(error) = removed {
                self.segments.write().push_front(header);
                return Err(error);
            }
            tracing::debug!(first = header.first.0, "journal segment removed, all stores are beyond it");
        }
        Ok(())
    }

    fn pop_retired(&self, applied: Seq) -> Option<SegmentHeader> {
        let mut segments = self.segments.write();
        // The oldest may go if the one after it is applied to its end, too.
        let applied_through_second = segments.get(2).is_some_and(|third| third.first <= applied.next());
        if applied_through_second { segments.pop_front() } else { None }
    }
}
