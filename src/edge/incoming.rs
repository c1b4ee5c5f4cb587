//! A request's body as its protocol hands it out: HTTP/1's own, or hyper's over HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::http1::body::{self, Broken};
use super::http1::exchange::PASSED_OVER_BYTES;

/// How long a client may take to end a small body after its answer.
const PASSED_OVER_FOR: Duration = Duration::from_secs(2);
/// How long after an answer a stream is reset whose body is large.
const RESET_AFTER: Duration = Duration::from_millis(200);

/// What a client sends after a request's head.
#[derive(Debug)]
pub enum Incoming {
    /// Over HTTP/1.
    Http1(body::Body),
    /// Over HTTP/2.
    Http2(Stream),
}

/// A body over HTTP/2. Dropped before its end it resets the stream with CANCEL, which clients take for the
/// failure of a request that was answered; and although RFC 9113 §8.1 has a reset with NO_ERROR for what is not
/// wanted once the answer is whole, some lose the answer if both come at once (curl 7.88: error 92). So what is
/// unread is put by until the answer has gone, and passed over then as far as it is small: most streams end
/// without a reset. One that does not is reset a moment later, in a write of its own.
#[derive(Debug)]
pub struct Stream {
    body: Option<hyper::body::Incoming>,
    unread: Unread,
}

/// Where an unread body is put by, until all who hold this have dropped it.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<PutBy>);

#[derive(Debug, Default)]
struct PutBy(Mutex<Option<hyper::body::Incoming>>);

impl Drop for PutBy {
    fn drop(&mut self) {
        if let Some(body) = self.0.get_mut().take()
            && let Ok(thread) = Handle::try_current()
        {
            // As many at once as the connection may have streams: until it is reset, one counts.
            drop(thread.spawn(pass_over(body)));
        }
    }
}

/// Passes over the rest of a body whose request was answered. Dropped then: unless it has ended that resets its stream.
async fn pass_over(mut body: hyper::body::Incoming) {
    let mut left = PASSED_OVER_BYTES;
    let passing = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    if timeout(PASSED_OVER_FOR, passing).await == Ok(false) {
        // More than is worth reading. What has come by now is all that its window lets through.
        sleep(RESET_AFTER).await;
    }
}

impl Stream {
    /// A body whose rest goes to `unread`.
    pub const fn new(body: hyper::body::Incoming, unread: Unread) -> Self {
        Self { body: Some(body), unread }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.unread.0.0.lock() = self.body.take().filter(|body| !body.is_end_stream());
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
