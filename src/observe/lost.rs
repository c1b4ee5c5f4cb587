//! Lines of the log that could not be written: whoever writes them has nobody to tell, so they are counted.
//!
//! Not here: lines that never came so far because the queue was full; its own counter has those.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes what it is given elsewhere, and counts the lines that this fails for.
pub(super) struct CountsLost<W> {
    to: W,
    lost: Arc<AtomicU64>,
}

impl<W> CountsLost<W> {
    pub(super) const fn new(to: W, lost: Arc<AtomicU64>) -> Self {
        Self { to, lost }
    }
}

/// How many lines these are.
pub(super) fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count().max(1) as u64
}

impl<W: Write> Write for CountsLost<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    /// A line, or some.
    fn write_all(&mut self, some: &[u8]) -> io::Result<()> {
        self.to.write_all(some).inspect_err(|_| {
            self.lost.fetch_add(lines(some), Ordering::Relaxed);
        })
    }

    /// What cannot be flushed stays, and is tried again with the next line.
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
