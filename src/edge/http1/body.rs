//! A request's body between the connection that receives it and whoever reads it, on any thread.
//!
//! Most bodies came whole with their head and are just bytes. Any other comes piece by piece, and only when
//! it is asked for: one piece waits here at most, so that a reader who is slow stops the client and nobody's
//! memory. That the first piece was asked for is also what a client with `Expect: 100-continue` waits to hear.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::refused::FramingRefused;

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection ended in the middle of it, or is to end.
    #[error("the connection ended before the body did")]
    Gone,
    /// Its framing is broken.
    #[error(transparent)]
    Misframed(#[from] FramingRefused),
}

/// The reader's end.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Fed(Fed),
}

#[derive(Debug)]
struct Fed {
    pipe: Arc<Mutex<Pipe>>,
    left: Option<u64>,
}

#[derive(Debug, Default)]
struct Pipe {
    piece: Option<Bytes>,
    end: Option<Result<(), Broken>>,
    trailers: Option<Box<HeaderMap>>,
    wanted: bool,
    gone: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

impl Pipe {
    fn want(&mut self) -> Option<Waker> {
        self.wanted = true;
        self.feeder.take().filter(|_| self.end.is_none())
    }
}

impl Body {
    /// A body that is here already.
    pub const fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    /// A body that is to come, and the end that it comes in by. `left`: its size, if it is known.
    pub fn fed(left: Option<u64>) -> (Self, Feed) {
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        let feed = Feed { pipe: Arc::clone(&pipe) };
        (Self(Kind::Fed(Fed { pipe, left })), feed)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Fed(fed) => fed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Fed(fed) => fed.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Fed(fed) => fed.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Fed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut pipe = self.pipe.lock();
        if let Some(piece) = pipe.piece.take() {
            let feeder = pipe.want();
            drop(pipe);
            // The next piece is fetched while this one is used.
            feeder.into_iter().for_each(Waker::wake);
            self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match pipe.end {
            Some(Ok(())) => Poll::Ready(pipe.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers)))),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                pipe.reader = Some(cx.waker().clone());
                let feeder = pipe.want();
                drop(pipe);
                feeder.into_iter().for_each(Waker::wake);
                Poll::Pending
            }
        }
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock();
        pipe.gone = true;
        let feeder = pipe.feeder.take();
        drop(pipe);
        feeder.into_iter().for_each(Waker::wake);
    }
}

/// The connection's end.
#[derive(Debug)]
pub struct Feed {
    pipe: Arc<Mutex<Pipe>>,
}

/// What the reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The next piece.
    Piece,
    /// Nothing yet; the connection is woken when it does.
    Wait,
    /// Nothing ever again.
    Nothing,
}

impl Feed {
    /// What the reader wants now.
    pub fn poll_want(&self, cx: &Context<'_>) -> Want {
        let mut pipe = self.pipe.lock();
        if pipe.gone {
            return Want::Nothing;
        }
        if pipe.wanted && pipe.piece.is_none() {
            return Want::Piece;
        }
        pipe.feeder = Some(cx.waker().clone());
        Want::Wait
    }

    /// Whether the reader has left.
    pub fn is_abandoned(&self) -> bool {
        self.pipe.lock().gone
    }

    /// The piece that was wanted.
    pub fn give(&self, piece: Bytes) {
        let mut pipe = self.pipe.lock();
        pipe.piece = Some(piece);
        pipe.wanted = false;
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }

    /// What follows the last piece.
    pub fn trail(&self, trailers: HeaderMap) {
        self.pipe.lock().trailers = Some(Box::new(trailers));
    }

    /// The end.
    pub fn end(&self, how: Result<(), Broken>) {
        let mut pipe = self.pipe.lock();
        if pipe.end.is_none() {
            pipe.end = Some(how);
        }
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end(Err(Broken::Gone));
    }
}
