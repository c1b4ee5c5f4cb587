//! An application's answer on its way back: what came whole with its head is just bytes, any other body is streamed
//! and watched. The connection returns to its pool with the last byte, if all was said on it that was to be said
//! and nothing else: what came too much would be the answer to somebody else's request.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http2::flow::Flow as Http2Flow;
use super::pool::Lease;
use super::send::{Broke, Rest, Stuck, Tail};
use crate::edge::body::{BodyError, BoxError};
use crate::edge::http1::decode::{Decoder, Step};
use crate::edge::http1::refused::AnswerRefused;
use crate::edge::http1::scratch::{READ_BYTES, Scratch};
use crate::edge::stall::Stall;
use crate::edge::trailers;
use crate::edge::watch::Watched;
use crate::observe::metrics::tunnels::Cut;

/// Most bytes of an answer read at once. It is also what an HTTP/2 client must take in each `stall_timeout` (see
/// `connection`): many times as much would ask too much of a slow line.
const CHUNK_BYTES: usize = 64 * 1024;

/// An answer's body, and the connection it comes over.
#[derive(Debug)]
pub struct UpstreamBody {
    source: Source,
    watched: Watched,
}

#[derive(Debug)]
enum Source {
    /// All of it.
    Whole(Bytes),
    /// It comes.
    Flow(Box<Flow>),
    /// It comes over HTTP/2.
    Http2(Box<Http2Flow>),
    /// It broke off.
    Over,
}

/// A body that comes over a connection.
#[derive(Debug)]
struct Flow {
    lease: Lease,
    rest: Rest,
    /// Much came last time.
    full: bool,
    stall: Stall,
    scratch: Rc<Scratch>,
}

impl UpstreamBody {
    /// What comes after a head, with patience of `stall`, for as long as it may.
    pub fn new(tail: Tail, (stall, scratch): (Duration, &Rc<Scratch>), watched: Watched) -> Self {
        let (mut rest, lease) = match tail {
            Tail::Http1(rest, lease) => (rest, lease),
            Tail::Http2(flow) if flow.is_empty() => {
                return Self { source: Source::Whole(Bytes::new()), watched };
            }
            Tail::Http2(mut flow) => {
                flow.stall = Stall::new(stall);
                return Self { source: Source::Http2(flow), watched };
            }
        };
        let whole = match rest.body {
            Decoder::Exact(left) if left <= rest.inbox.len() as u64 => {
                let at = usize::try_from(left).unwrap_or_default();
                Some(rest.inbox.split_to(at).freeze())
            }
            _ => None,
        };
        let source = match whole {
            Some(bytes) => {
                settle(lease, &rest);
                Source::Whole(bytes)
            }
            None => {
                let (stall, scratch) = (Stall::new(stall), Rc::clone(scratch));
                let full = rest.inbox.len() >= READ_BYTES / 2;
                Source::Flow(Box::new(Flow { lease, rest, full, stall, scratch }))
            }
        };
        Self { source, watched }
    }

    /// Ready when it may not go on.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.watched.poll_cut(cx)
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Source::Http2(flow) = &mut self.source else { return Poll::Ready(None) };
        match flow.poll_frame(cx) {
            Poll::Pending => {
                let why = ready!(flow.stall.poll_over(Some(&mut self.watched), cx));
                self.broken(why)
            }
            Poll::Ready(Ok(Some(frame))) => {
                let over = frame.is_trailers();
                flow.stall.progress(frame.data_ref().map_or(0, |data| data.len() as u64));
                if over {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Ok(None)) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => self.broken(error),
        }
    }

    fn broken(&mut self, why: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.source = Source::Over;
        Poll::Ready(Some(Err(why.into())))
    }

    /// The last byte has come.
    fn end(&mut self) {
        if let Source::Flow(flow) = std::mem::replace(&mut self.source, Source::Whole(Bytes::new())) {
            settle(flow.lease, &flow.rest);
        }
    }
}

/// The exchange is over: its connection serves the next, or is closed.
fn settle(lease: Lease, rest: &Rest) {
    if rest.keeps && rest.inbox.is_empty() && rest.upload.is_none() {
        lease.give_back();
    }
}

impl Flow {
    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BoxError>> {
        self.poll_upload(cx)?;
        loop {
            let Rest { inbox, body, .. } = &mut self.rest;
            match body.next(inbox).map_err(AnswerRefused::Line)? {
                Step::Data(piece) => return Poll::Ready(Ok(Some(piece))),
                Step::End => return Poll::Ready(Ok(None)),
                Step::More => {}
            }
            // Much is asked for only where much comes: room for it is made anew for each piece. One more than is
            // left, because a read that finds less than it asked for need not be tried again.
            let left =
                body.left().map_or(CHUNK_BYTES, |left| usize::try_from(left + 1).unwrap_or(CHUNK_BYTES));
            let most = if self.full { left.min(CHUNK_BYTES) } else { READ_BYTES };
            let came = ready!(self.lease.line().poll_fill(inbox, most, &self.scratch, cx))?;
            if came == 0 {
                let whole = matches!(body, Decoder::ToEnd);
                return Poll::Ready(if whole { Ok(None) } else { Err(Broke::Early.into()) });
            }
            self.full = came >= READ_BYTES;
        }
    }

    /// Sends on what is left of the request.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let Some(upload) = &mut self.rest.upload else { return Ok(()) };
        let before = self.lease.line().told();
        let sent = upload.poll(self.lease.line(), &self.scratch, cx);
        // An application may answer first and read afterwards: what moves is not stalled.
        self.stall.progress(self.lease.line().told() - before);
        match sent {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            // The server takes no more; what it answers counts all the same.
            Poll::Ready(Err(Stuck::Io(_))) => self.rest.keeps = false,
            Poll::Ready(Err(error)) => return Err(error.into()),
        }
        self.rest.upload = None;
        Ok(())
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
        let this = &mut *self;
        let flow = match &mut this.source {
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Source::Flow(flow) => flow,
            Source::Http2(_) => return self.poll_http2(cx),
            Source::Over => return Poll::Ready(None),
        };
        match flow.poll_piece(cx) {
            Poll::Pending => {
                let why = ready!(flow.stall.poll_over(Some(&mut this.watched), cx));
                self.broken(why)
            }
            Poll::Ready(Ok(Some(piece))) => {
                flow.stall.progress(piece.len() as u64);
                if flow.rest.body.left() == Some(0) {
                    self.end();
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(Ok(None)) => {
                let trailers = flow.rest.body.take_trailers().and_then(trailers::of_answer);
                self.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Err(error)) => self.broken(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Flow(_) | Source::Http2(_) => false,
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Flow(flow) => flow.rest.body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Http2(flow) => flow.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Over => SizeHint::with_exact(0),
        }
    }
}
