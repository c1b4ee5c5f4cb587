//! The bytes of one HTTP/2 connection on their way between TLS and hyper, looked at frame by frame.
//!
//! A connection past its budget gets a GOAWAY of ours at the next frame's end, and then nothing more: hyper is told
//! that its stream broke, once the client had its chance to read why. What h2 itself ends for a client's fault
//! is counted by the code of its GOAWAY. The connection's activity hears of a head that has begun, so that it has as long
//! to arrive as in HTTP/1.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::{Breach, Budget};
use super::frames::{Frame, GOAWAY, HEADERS, Scanner};
use crate::edge::activity::Activity;
use crate::observe::metrics::EdgeCounters;
use crate::observe::metrics::http2::Ended;

/// Bytes of the client's preface (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// A stream of HTTP/2, watched.
#[derive(Debug)]
pub struct Watched<T> {
    inner: T,
    from_client: Scanner,
    to_client: Scanner,
    budget: Budget,
    /// The newest stream of the client's.
    newest: u32,
    ending: Option<Ending>,
    activity: Rc<Activity>,
    counters: Arc<EdgeCounters>,
}

/// A GOAWAY under way.
#[derive(Debug)]
struct Ending {
    frame: [u8; 17],
    written: usize,
}

impl<T> Watched<T> {
    /// Watches a stream from its first byte.
    pub fn new(inner: T, activity: Rc<Activity>, counters: Arc<EdgeCounters>) -> Self {
        let budget = Budget::new(Instant::now());
        let (from_client, to_client) = (Scanner::after(PREFACE), Scanner::after(0));
        Self { inner, from_client, to_client, budget, newest: 0, ending: None, activity, counters }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        let Self { from_client, budget, newest, activity, .. } = self;
        let judged = from_client.feed(bytes, |frame| {
            if frame.kind == HEADERS {
                *newest = frame.stream.max(*newest);
            }
            budget.received(frame, Instant::now)
        });
        if from_client.is_within_head() {
            activity.head_begins();
        } else {
            activity.head_ends();
        }
        judged
    }

    fn sent(&mut self, bytes: &[u8]) {
        let Self { to_client, budget, counters, .. } = self;
        let see = |frame: &Frame| {
            if frame.kind == GOAWAY
                && let Some(why) = Ended::by_code(frame.goaway_code())
            {
                counters.http2_ended.up(why);
            }
            budget.sent(frame);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = to_client.feed(bytes, see);
    }

    fn end(&mut self, Breach { code, why }: Breach) {
        self.counters.http2_ended.up(why);
        let [a, b, c, d] = self.newest.to_be_bytes();
        let [e, f, g, h] = code.to_be_bytes();
        let frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h];
        // In the middle of a frame nothing can be said: the stream ends there.
        let written = if self.to_client.is_between_frames() { 0 } else { frame.len() };
        self.ending = Some(Ending { frame, written });
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was ended for its client's frames")
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    /// Writes the GOAWAY and closes; ready when nothing is left to do.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ending) = &mut self.ending else { return Poll::Ready(()) };
        while let Some(rest) = ending.frame.get(ending.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)) {
                Ok(written @ 1..) => ending.written += written,
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        // Whether the client hears of it is its own business.
        Pin::new(&mut self.inner).poll_shutdown(cx).map(drop)
    }

    /// For whoever would write while the end is under way: the end comes first, and then an error.
    fn poll_ended<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        self.poll_end(cx).map(|()| Err(ended()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ending.is_none() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
            match self.received(buf.filled().get(before..).unwrap_or_default()) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(breach) => self.end(breach),
            }
            buf.set_filled(before);
        }
        self.poll_ended(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            return self.poll_ended(cx);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.sent(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            return self.poll_ended(cx);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = buf.get(..left.min(buf.len())).unwrap_or_default();
            left -= part.len();
            self.sent(part);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_some() {
            return self.poll_ended(cx);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_some() {
            return self.poll_ended(cx);
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
