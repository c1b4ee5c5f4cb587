//! A request's body on its way over HTTP/2: fetched only as far as the server's window has room, and never longer
//! or shorter than was said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body as _;

use crate::edge::body::RequestBody;
use crate::edge::http1::encode::Ending;
use crate::edge::proxy::send::Stuck;

/// What is still to be sent of a request.
#[derive(Debug)]
pub struct Uplink {
    stream: SendStream<Bytes>,
    body: Option<RequestBody>,
    /// What is still to come of a length that was said.
    left: Option<u64>,
    piece: Bytes,
    trailers: Option<HeaderMap>,
    /// Any of the body was fetched.
    touched: bool,
    /// The end has been said.
    done: bool,
    moved: u64,
}

impl Uplink {
    /// Of this body, after its head; `None` has been said to be none.
    pub fn new(stream: SendStream<Bytes>, body: Option<RequestBody>, ending: Ending) -> Self {
        let left = if let Ending::Exact(size) = ending { Some(size) } else { None };
        let (done, piece) = (body.is_none(), Bytes::new());
        Self { stream, body, left, piece, trailers: None, touched: false, done, moved: 0 }
    }

    /// The body, if nothing of it was fetched.
    pub fn untouched(&mut self) -> Option<RequestBody> {
        if self.touched { None } else { self.body.take() }
    }

    /// The application answers: from here on its answer says whether the exchange stands still, not the client's
    /// silence. Many streams of gRPC have nothing to say for long.
    pub const fn answered(&mut self) {
        if let Some(body) = &mut self.body {
            body.have_patience();
        }
    }

    /// Bytes that were sent.
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// Sends what there is and there is room for. Ready once nothing is left.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(stopped()));
            }
            if !self.piece.is_empty() {
                ready!(self.poll_piece(cx))?;
                continue;
            }
            match self.fetch(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(stuck)) => {
                    // Half a body is not a body.
                    self.stream.send_reset(Reason::CANCEL);
                    self.done = true;
                    return Poll::Ready(Err(stuck));
                }
            }
        }
    }

    /// Sends as much of a piece as there is room for.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        self.stream.reserve_capacity(self.piece.len());
        // What there is already is told once only.
        let room = match self.stream.capacity() {
            0 => match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(stopped())),
            },
            room => room,
        };
        if room > 0 {
            let part = self.piece.split_to(room.min(self.piece.len()));
            self.moved += part.len() as u64;
            let last = self.piece.is_empty() && self.body.is_none() && self.trailers.is_none();
            self.stream.send_data(part, last).map_err(|_| stopped())?;
            self.done = last;
        }
        Poll::Ready(Ok(()))
    }

    /// Fetches the next piece, or ends the stream.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        let Some(body) = &mut self.body else {
            if self.left.is_some_and(|left| left > 0) {
                return Poll::Ready(Err(Stuck::Length));
            }
            let ended = match self.trailers.take() {
                Some(trailers) => self.stream.send_trailers(trailers),
                None => self.stream.send_data(Bytes::new(), true),
            };
            self.done = true;
            return Poll::Ready(ended.map_err(|_| stopped()));
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose()?;
        self.touched = true;
        let over = frame.is_none() || body.is_end_stream();
        match frame.map(http_body::Frame::into_data) {
            Some(Ok(data)) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(data.len() as u64).ok_or(Stuck::Length)?;
                }
                self.piece = data;
            }
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok();
                self.body = None;
            }
            None => {}
        }
        if over {
            self.body = None;
            if self.left.is_some_and(|left| left > 0) {
                return Poll::Ready(Err(Stuck::Length));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The server takes no more; its answer says why.
fn stopped() -> Stuck {
    Stuck::Io(io::ErrorKind::ConnectionReset.into())
}
