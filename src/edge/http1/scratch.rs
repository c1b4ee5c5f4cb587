//! What all HTTP/1 connections of a thread share, those of clients and those to applications: the buffer that they
//! read into, one to write from, and the date. A connection keeps only what it could not use or send at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use super::date::Dates;
use crate::model::time::SharedClock;

/// Most bytes read at once: what one TLS record holds.
pub const READ_BYTES: usize = 16 * 1024;
/// A buffer larger than this is not kept.
const KEPT_BYTES: usize = 64 * 1024;

/// A thread's shared buffers.
pub struct Scratch {
    input: RefCell<Box<[u8]>>,
    output: Cell<Vec<u8>>,
    pub(super) dates: Dates,
}

impl Scratch {
    /// Of a thread that goes by this clock.
    pub fn new(clock: SharedClock) -> Self {
        let input = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
        Self { input, output: Cell::default(), dates: Dates::new(clock) }
    }

    /// Reads once, and keeps what came. Zero at the end.
    pub fn poll_read<T: AsyncRead + Unpin>(
        &self,
        io: &mut T,
        inbox: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        let mut buffer = ReadBuf::new(&mut input);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        inbox.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// An empty buffer to write into.
    pub(super) fn output(&self) -> Vec<u8> {
        self.output.take()
    }

    /// A buffer that is no longer used.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BYTES {
            buffer.clear();
            self.output.set(buffer);
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}
