//! An upstream's response on its way back: streamed, watched, and the connection returned to its
//! pool with the last byte.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use crate::edge::body::{BodyError, BoxError, Stall, size};
use crate::edge::watch::Watched;

/// A response's body, and the connection it comes over.
#[derive(Debug)]
pub struct UpstreamBody {
    inner: Incoming,
    lease: Option<Lease>,
    stall: Stall,
    watched: Watched,
}

impl UpstreamBody {
    /// A body that comes over `lease`, with patience of `stall`, for as long as it may.
    pub fn new(inner: Incoming, lease: Lease, stall: Duration, watched: Watched) -> Self {
        let mut body = Self { inner, lease: Some(lease), stall: Stall::new(stall), watched };
        body.give_back_at_end();
        body
    }

    fn give_back_at_end(&mut self) {
        if self.inner.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    fn broken(&mut self, why: BodyError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.lease = None;
        Poll::Ready(Some(Err(why.into())))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(cut) = self.watched.check() {
            return self.broken(BodyError::Cut(cut));
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Poll::Ready(cut) = self.watched.poll_cut(cx) {
                    return self.broken(BodyError::Cut(cut));
                }
                ready!(self.stall.poll(cx));
                return self.broken(BodyError::Stalled);
            }
        };
        self.stall.progress(size(&frame));
        match frame {
            Some(Ok(frame)) => {
                // Nothing comes after trailers, and nobody asks.
                if frame.is_trailers()
                    && let Some(lease) = self.lease.take()
                {
                    lease.give_back();
                }
                self.give_back_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
