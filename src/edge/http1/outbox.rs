//! What a connection has said and not written yet: the head and small pieces of a body in one buffer, so
//! that they leave together, and at most one large piece as it came.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use super::chunked::{BODY_END, CHUNK_END, write_end, write_size};
use super::scratch::Scratch;

/// Pieces up to this are copied: cheaper than a write of their own, or a third of one.
const COPIED_BYTES: usize = 4 * 1024;
/// With this much waiting nothing more is fetched.
const FULL_BYTES: usize = 16 * 1024;
/// The end of the last chunk's data, and of the body.
const LAST_CHUNK_END: &[u8] = b"\r\n0\r\n\r\n";

/// What is to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    written: usize,
    piece: Bytes,
    /// What comes after the piece.
    tail: &'static [u8],
    unflushed: bool,
}

impl Outbox {
    /// Where heads and such are written, at the end.
    pub fn buffer(&mut self, scratch: &Scratch) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = scratch.output();
        }
        &mut self.buffer
    }

    /// Whether more may be added.
    pub fn has_room(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.buffer.len() < FULL_BYTES
    }

    /// Adds a piece of a body, as a chunk or as it is.
    pub fn add(&mut self, piece: Bytes, chunked: bool, scratch: &Scratch) {
        let buffer = self.buffer(scratch);
        if chunked {
            write_size(buffer, piece.len());
        }
        let tail = if chunked { CHUNK_END } else { b"" };
        if piece.len() <= COPIED_BYTES {
            buffer.extend_from_slice(&piece);
            buffer.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (piece, tail);
        }
    }

    /// Adds the end of a chunked body.
    pub fn add_end(&mut self, scratch: &Scratch) {
        if self.piece.is_empty() && self.tail.is_empty() {
            self.buffer(scratch).extend_from_slice(BODY_END);
        } else {
            self.tail = LAST_CHUNK_END;
        }
    }

    /// Adds the end of a chunked body that has trailers. Only while there is room: they go into the buffer.
    pub fn add_trailers(&mut self, trailers: &HeaderMap, scratch: &Scratch) {
        write_end(self.buffer(scratch), trailers);
    }

    /// Bytes that its buffer has room for.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.written..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.waiting().is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Writes all of it, and gives the buffer back.
    pub fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let slices = [IoSlice::new(self.waiting()), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *io).poll_write(cx, self.waiting())
            } else {
                Pin::new(&mut *io).poll_write_vectored(cx, &slices)
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            self.unflushed = true;
        }
        if self.buffer.capacity() > 0 {
            scratch.give_back(std::mem::take(&mut self.buffer));
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all of it and sees it off.
    pub fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, scratch, cx))?;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_buffer = written.min(self.waiting().len());
        self.written += of_buffer;
        let of_piece = (written - of_buffer).min(self.piece.len());
        self.piece.advance(of_piece);
        let of_tail = (written - of_buffer - of_piece).min(self.tail.len());
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::SystemClock;
    use std::sync::Arc;

    /// Takes this many bytes at a time.
    struct Narrow(Vec<u8>, usize);

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = all.len().min(self.1);
            self.0.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_was_said_is_written_in_order_however_little_goes_at_once() {
        let scratch = Scratch::new(Arc::new(SystemClock));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let large = Bytes::from(vec![b'x'; COPIED_BYTES + 1]);
        for width in [1, 7, 5000, usize::MAX] {
            let (mut outbox, mut io) = (Outbox::default(), Narrow(Vec::new(), width));
            outbox.buffer(&scratch).extend_from_slice(b"head ");
            outbox.add(Bytes::from_static(b"small"), true, &scratch);
            assert!(outbox.has_room());
            outbox.add(large.clone(), true, &scratch);
            assert!(!outbox.has_room());
            outbox.add_end(&scratch);
            assert!(outbox.poll_flush(&mut io, &scratch, &mut cx).is_ready());
            let want = [b"head 5\r\nsmall\r\n1001\r\n", &large[..], b"\r\n0\r\n\r\n"].concat();
            assert_eq!(io.0, want, "{width}");
            assert_eq!((outbox.is_empty(), outbox.held()), (true, 0));
        }
    }
}
