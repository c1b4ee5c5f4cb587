//! A file on its way to a client: read piece by piece on the runtime's blocking threads, each when the last has
//! gone. What is shorter than it was when its length was told breaks off: what came would be no file of ours.
//!
//! Invariant: no more than [`OPEN_FILES`] are open or being opened at once, however many ask and however slow the
//! disk or those who take them are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::edge::body::{BodyError, BoxError};
use crate::edge::stall::Stall;
use crate::edge::watch::Watched;
use crate::observe::metrics::tunnels::Cut;

/// Most bytes read at once, and held.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Files that the process has open for clients at once; a file that was read whole is closed. One client may ask
/// for a hundred over a connection and take none of them.
pub const OPEN_FILES: usize = 256;

/// Room for open files, one for all threads.
#[derive(Debug)]
pub struct Rooms(Arc<Semaphore>);

/// Room for one open file.
#[derive(Debug)]
pub struct Room(
    #[expect(dead_code, reason = "gives its place back when it is dropped")] OwnedSemaphorePermit,
);

impl Default for Rooms {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OPEN_FILES)))
    }
}

impl Rooms {
    /// Room for one more, if there is some.
    pub fn take(&self) -> Option<Room> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Room)
    }
}

/// What is left of a file, or of a part of one.
#[derive(Debug)]
pub struct FileBody {
    /// `None` once nothing more has to be read.
    file: Option<(Arc<File>, Room)>,
    at: u64,
    left: u64,
    /// What was read when it was opened.
    first: Bytes,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    stall: Stall,
    watched: Watched,
}

impl FileBody {
    /// So many bytes from `at` on, of which `first` was read; with patience of `stall`, for as long as it may.
    pub fn new(
        (file, room): (File, Room),
        (at, left): (u64, u64),
        first: Bytes,
        stall: Duration,
        watched: Watched,
    ) -> Self {
        let whole = first.len() as u64 >= left;
        let file = (!whole).then(|| (Arc::new(file), room));
        Self { file, at, left, first, reading: None, stall: Stall::new(stall), watched }
    }

    /// Ready when it may not go on.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.watched.poll_cut(cx)
    }

    fn broken(&mut self, why: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.left = 0;
        Poll::Ready(Some(Err(why.into())))
    }

    fn hand_out(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let size = piece.len() as u64;
        self.stall.progress(size);
        (self.at, self.left) = (self.at + size, self.left.saturating_sub(size));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Self { file: Some((file, _)), at, left, reading, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        };
        let reading = reading.get_or_insert_with(|| {
            let (file, at, size) = (Arc::clone(file), *at, *left);
            tokio::task::spawn_blocking(move || piece(&file, at, size))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(read.map_err(io::Error::other).flatten())
    }
}

/// The next piece of the `left` bytes from `at` on.
pub fn piece(file: &File, at: u64, left: u64) -> io::Result<Bytes> {
    let size = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
    let mut bytes = vec![0; size];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::new(error.kind(), "the file became shorter while it was sent"))
        }
        Err(error) => Err(error),
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(cut) = self.watched.check() {
            return self.broken(BodyError::Cut(cut));
        }
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return self.hand_out(first);
        }
        match self.poll_read(cx) {
            Poll::Ready(Ok(piece)) => self.hand_out(piece),
            Poll::Ready(Err(error)) => {
                tracing::warn!(%error, "a file could not be sent to its end");
                self.broken(error)
            }
            Poll::Pending => {
                let Self { stall, watched, .. } = &mut *self;
                let why = ready!(stall.poll_over(Some(watched), cx));
                if matches!(why, BodyError::Stalled) {
                    tracing::warn!("the disk with a file to be sent does not answer");
                }
                self.broken(why)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
