//! A request's body as its protocol hands it out: HTTP/1's own, or hyper's over HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::http1::body::{self, Broken};

/// What a client sends after a request's head.
#[derive(Debug)]
pub enum Incoming {
    /// Over HTTP/1.
    Http1(body::Body),
    /// Over HTTP/2.
    Http2(Stream),
}

/// A body over HTTP/2. Dropped before its end it resets the stream with CANCEL, which clients take for the
/// failure of a request that was answered (curl: error 92); so what is unread then is put by until the answer is
/// written, when the reset says NO_ERROR (RFC 9113 §8.1).
#[derive(Debug)]
pub struct Stream {
    body: Option<hyper::body::Incoming>,
    unread: Unread,
}

/// Where an unread body is put by.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<Option<hyper::body::Incoming>>>);

impl Stream {
    /// A body whose rest goes to `unread`.
    pub const fn new(body: hyper::body::Incoming, unread: Unread) -> Self {
        Self { body: Some(body), unread }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.unread.0.lock() = self.body.take().filter(|body| !body.is_end_stream());
    }
}

/// Why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Over HTTP/1.
    #[error(transparent)]
    Http1(#[from] Broken),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(stream) => match &mut stream.body {
                Some(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream) => stream.body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(stream) => stream.body.as_ref().map(Body::size_hint).unwrap_or_default(),
        }
    }
}
