//! Bodies on their way through the edge: streamed, never gathered. Each is bounded by its size
//! (requests) and by progress (both ways): a peer may be slow, but it may not stop.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Sleep;

use super::activity::Busy;
use super::compress::body::Compressed;
use super::incoming::{Incoming, IncomingError};
use super::proxy::answer::UpstreamBody;
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

/// A timer that runs only while a body makes no progress. Most bodies never arm it.
#[derive(Debug)]
pub struct Stall {
    limit: Duration,
    least: u64,
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Since there were `least` bytes for the last time.
    waited: Duration,
    moved: u64,
}

impl Stall {
    /// Patience of this long for any byte.
    pub const fn new(limit: Duration) -> Self {
        Self::demanding(limit, 1)
    }

    /// Patience of this long, spent in waiting, for at least so many bytes.
    const fn demanding(limit: Duration, least: u64) -> Self {
        Self { limit, least, timer: None, waiting_since: None, waited: Duration::ZERO, moved: 0 }
    }

    /// So many bytes moved.
    pub fn progress(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        let since = self.waiting_since.take();
        if self.moved >= self.least {
            (self.moved, self.waited) = (0, Duration::ZERO);
        } else if let Some(since) = since {
            self.waited += since.elapsed();
        }
    }

    /// Nothing moves: ready once patience has run out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            timer.as_mut().reset((now + limit.saturating_sub(self.waited)).into());
        }
        timer.as_mut().poll(cx)
    }
}

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
                ready!(self.stall.poll(cx));
                self.inner = None;
                return Poll::Ready(Some(Err(BodyError::Stalled)));
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
            Source::Api(body) => body.size_hint(),
            Source::Upstream(body) => body.size_hint(),
            Source::File(body) => body.size_hint(),
            Source::Compressed(body) => body.size_hint(),
        }
    }
}
