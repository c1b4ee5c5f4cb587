//! Bodies on their way through the edge: streamed, never gathered. Each is bounded by its size
//! (requests) and by progress (both ways): a peer may be slow, but it may not stop.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::activity::Busy;
use super::compress::body::Compressed;
use super::incoming::{Incoming, IncomingError};
use super::proxy::answer::UpstreamBody;
use super::stall::Stall;
use super::statics::body::FileBody;
use super::trailers;
use super::upgrade::tunnel::Opening;
use super::upstream::local::Flight;
use crate::observe::metrics::tunnels::Cut;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that the local API answers with.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the route takes.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// What the route takes, bytes.
        limit: u64,
    },
    /// More trailers than anybody takes.
    #[error("the body has too many trailers")]
    Trailers,
    /// No byte for too long.
    #[error("the body made no progress")]
    Stalled,
    /// It may not go on.
    #[error("the response was cut: {}", .0.word())]
    Cut(Cut),
    /// The connection failed.
    #[error("the body could not be read: {0}")]
    Broken(#[from] IncomingError),
}

/// Fewest bytes of a request's body in each `stall_timeout` that is spent waiting for it. Any byte were
/// too few: one a minute would hold a stream, a buffer and an upstream connection for as long as the
/// client likes. An application may answer as slowly as it likes: it is ours, and events are rare.
const LEAST_UPLOAD: u64 = 1024;

/// How many bytes a polled frame brings.
pub fn size<E>(polled: &Option<Result<Frame<Bytes>, E>>) -> u64 {
    let data = polled.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
    data.map_or(0, |data| data.len() as u64)
}

/// When a request's body last moved, for whoever waits for the response.
#[derive(Debug)]
pub struct Upload {
    started: Instant,
    moved_after: AtomicU64,
    over: AtomicBool,
}

impl Upload {
    /// An upload that starts now.
    pub fn start() -> Arc<Self> {
        let (moved_after, over) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { started: Instant::now(), moved_after, over })
    }

    fn moved(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_after.store(millis, Ordering::Relaxed);
    }

    /// Whether all of it has been sent: who waits now waits for the application alone.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The last movement.
    pub fn last_moved(&self) -> Instant {
        self.started + Duration::from_millis(self.moved_after.load(Ordering::Relaxed))
    }
}

/// A request's body: what the client sends, counted and watched.
#[derive(Debug)]
pub struct RequestBody {
    inner: Option<Incoming>,
    limit: u64,
    left: u64,
    stall: Stall,
    /// Nobody minds how slowly it comes.
    patient: bool,
    /// Its trailers end here.
    untrailed: bool,
    upload: Option<Arc<Upload>>,
}

impl RequestBody {
    /// At most `limit` bytes of `inner`, with patience of `stall`.
    pub const fn new(inner: Incoming, limit: u64, stall: Duration) -> Self {
        let stall = Stall::demanding(stall, LEAST_UPLOAD);
        Self { inner: Some(inner), limit, left: limit, stall, patient: false, untrailed: false, upload: None }
    }

    /// No body.
    pub const fn empty() -> Self {
        Self {
            inner: None,
            limit: 0,
            left: 0,
            stall: Stall::new(Duration::ZERO),
            patient: false,
            untrailed: false,
            upload: None,
        }
    }

    /// It may come as slowly as the client likes: somebody else sees to it that it does not stand for ever.
    pub const fn have_patience(&mut self) {
        self.patient = true;
    }

    /// Drops the trailers: an application may read as headers what a route's rules keep from it there, or not expect any.
    pub const fn drop_trailers(&mut self) {
        self.untrailed = true;
    }

    /// Watches the upload's progress.
    pub fn watched(&mut self) -> Arc<Upload> {
        Arc::clone(self.upload.get_or_insert_with(Upload::start))
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.checked_sub(size).ok_or(BodyError::TooLarge { limit: self.limit })?;
        if frame.trailers_ref().is_some_and(|trailers| !trailers::fit(trailers)) {
            return Err(BodyError::Trailers);
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.patient => return Poll::Pending,
            Poll::Pending => {
                let why = ready!(self.stall.poll_over(None, cx));
                self.inner = None;
                return Poll::Ready(Some(Err(why)));
            }
        };
        self.stall.progress(size(&frame));
        let trails = frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        if let Some(upload) = &self.upload {
            upload.moved();
            if frame.is_none() || trails || self.is_end_stream() {
                upload.over.store(true, Ordering::Relaxed);
            }
        }
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(BodyError::Broken(error))),
            Some(Ok(frame)) => match self.count(&frame) {
                Ok(()) if trails => frame
                    .into_trailers()
                    .ok()
                    .and_then(trailers::of_request)
                    .filter(|_| !self.untrailed)
                    .map(|kept| Ok(Frame::trailers(kept))),
                Ok(()) => Some(Ok(frame)),
                Err(error) => {
                    self.inner = None;
                    Some(Err(error))
                }
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client, and the mark that its request is under way.
#[derive(Debug)]
pub struct Outgoing {
    source: Source,
    busy: Option<Rc<Busy>>,
    /// The request is under way at its server until the answer has gone.
    _flight: Option<Flight>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Full(Bytes),
    /// One after the other: what is shared is not copied to be put together.
    Pieces(VecDeque<Bytes>),
    Api(ResponseBody),
    Upstream(UpstreamBody),
    /// A file. Boxed: most responses are none.
    File(Box<FileBody>),
    /// Another one, compressed.
    Compressed(Box<Compressed>),
    /// The body of a 101: none, and then a tunnel.
    Opening(Box<Opening>),
}

impl Outgoing {
    /// Nothing.
    pub const fn empty() -> Self {
        Self { source: Source::Empty, busy: None, _flight: None }
    }

    /// These bytes.
    pub const fn full(bytes: Bytes) -> Self {
        Self { source: Source::Full(bytes), busy: None, _flight: None }
    }

    /// These bytes, one piece after the other.
    pub fn pieces(mut pieces: VecDeque<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        Self { source: Source::Pieces(pieces), busy: None, _flight: None }
    }

    /// What the local API answers.
    pub const fn api(body: ResponseBody) -> Self {
        Self { source: Source::Api(body), busy: None, _flight: None }
    }

    /// What an upstream answers.
    pub const fn upstream(body: UpstreamBody) -> Self {
        Self { source: Source::Upstream(body), busy: None, _flight: None }
    }

    /// A file, or a part of one.
    pub fn file(body: FileBody) -> Self {
        Self { source: Source::File(Box::new(body)), busy: None, _flight: None }
    }

    /// Another one, compressed.
    pub fn compressed(body: Compressed) -> Self {
        Self { source: Source::Compressed(Box::new(body)), busy: None, _flight: None }
    }

    /// With the request that it answers.
    pub fn flying(mut self, flight: Flight) -> Self {
        self._flight = Some(flight);
        self
    }

    /// None, and then a tunnel.
    pub const fn opening(opening: Box<Opening>) -> Self {
        Self { source: Source::Opening(opening), busy: None, _flight: None }
    }

    /// The tunnel that follows, if one does.
    pub fn take_opening(&mut self) -> Option<Box<Opening>> {
        // Looked at first: nearly every response is something else, and large to move.
        if !matches!(self.source, Source::Opening(_)) {
            return None;
        }
        match std::mem::replace(&mut self.source, Source::Empty) {
            Source::Opening(opening) => Some(opening),
            _ => None,
        }
    }

    /// What it hands out has nowhere to go: ready when the rest may not go out any more. Who waits for a client that
    /// takes nothing asks this meanwhile.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let cut = match &mut self.source {
            Source::Upstream(body) => body.poll_cut(cx),
            Source::File(body) => body.poll_cut(cx),
            Source::Compressed(body) => return body.poll_cut(cx),
            Source::Empty | Source::Full(_) | Source::Pieces(_) | Source::Api(_) | Source::Opening(_) => {
                return Poll::Pending;
            }
        };
        cut.map(BodyError::Cut)
    }

    /// Whether it may pause for as long as somebody likes: what it gave must not be held back then. A file's next
    /// piece is there in a moment, or it breaks off.
    pub const fn may_pause(&self) -> bool {
        !matches!(self.source, Source::File(_))
    }

    /// Keeps the connection marked busy until the body has gone.
    pub fn holding(mut self, busy: Rc<Busy>) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match &mut self.source {
            Source::Empty | Source::Opening(_) => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Source::Api(body) => Pin::new(body).poll_frame(cx),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
            Source::File(body) => Pin::new(&mut **body).poll_frame(cx),
            Source::Compressed(body) => Pin::new(&mut **body).poll_frame(cx),
        };
        if let Some(busy) = &self.busy {
            // Whoever asks again has sent what it took before.
            busy.handed_out(matches!(polled, Poll::Ready(Some(Ok(_)))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Opening(_) => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Pieces(pieces) => pieces.is_empty(),
            Source::Api(body) => body.is_end_stream(),
            Source::Upstream(body) => body.is_end_stream(),
            Source::File(body) => body.is_end_stream(),
            Source::Compressed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Opening(_) => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Pieces(pieces) => {
                SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Source::Api(body) => body.size_hint(),
            Source::Upstream(body) => body.size_hint(),
            Source::File(body) => body.size_hint(),
            Source::Compressed(body) => body.size_hint(),
        }
    }
}
