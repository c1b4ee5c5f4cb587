//! A connection: requests read one after the other, each answered before the next is looked at.
//!
//! What a client sends ahead waits unread, in the buffer as far as it was read, in the kernel beyond; so what
//! follows a request that asks to switch protocols is judged by nobody before the answer is known, and is the
//! next request if the answer was no. Deadlines are not kept here but by
//! [`Serve`](crate::edge::connection::Serve), nor is lingering at the end: the stream does it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::decode::{Decoder, take};
use super::encode::Asked;
use super::exchange::{After, Exchange, PASSED_OVER_BYTES, Phase, Upload, at_hand, poll_rest};
use super::head::{Head, Length, Partial};
use super::outbox::Outbox;
use super::refused::{FramingRefused, HeadLimits};
use super::scratch::Scratch;
use crate::edge::activity::Activity;
use crate::edge::body::{BoxError, Outgoing};
use crate::edge::connection::Farewell;
use crate::edge::incoming::Incoming;

/// A request as it arrived.
#[derive(Debug)]
pub struct Arrived {
    /// The request; as much as could be read, if its framing is broken. Boxed, as it is handed on.
    pub request: Box<Request<Incoming>>,
    /// How it is broken, if it is.
    pub breach: Option<FramingRefused>,
    /// Whether the connection can switch protocols after it.
    pub switches: bool,
}

/// Why a connection broke off. Nobody reads more of it than that it did.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It cannot be written to.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The client left before its answer.
    #[error("the client left before its answer")]
    Left,
    /// The answer's body failed, or was cut.
    #[error("the answer broke off: {0}")]
    Body(BoxError),
    /// It was longer or shorter than it said.
    #[error("the answer's body has another length than was said")]
    Length,
}

/// The stream, and what is on either side of it.
pub(super) struct Wire<T> {
    io: T,
    /// Read and not used.
    pub(super) inbox: BytesMut,
    pub(super) outbox: Outbox,
    pub(super) scratch: Rc<Scratch>,
    /// No request after the one under way.
    pub(super) finishing: Option<Farewell>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Reads once. Zero at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.scratch.poll_read(&mut self.io, &mut self.inbox, cx)
    }

    pub(super) fn say(&mut self, text: &[u8]) {
        self.outbox.buffer(&self.scratch).extend_from_slice(text);
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_write(&mut self.io, &self.scratch, cx)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(&mut self.io, &self.scratch, cx)
    }
}

/// A connection over `T`, whose requests `S` answers.
pub struct Connection<T, S, F> {
    wire: Wire<T>,
    service: S,
    limits: HeadLimits,
    activity: Rc<Activity>,
    state: State<F>,
    served: bool,
}

enum State<F> {
    /// The next request is awaited.
    Head(Partial),
    /// One is under way.
    Busy(Exchange<F>),
    /// The body of the last one is passed over, of which so many bytes may be left.
    Rest(Decoder, u64),
    Closing,
    Over,
}

impl<T, S, F> Connection<T, S, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: FnMut(Arrived) -> F + Unpin,
    F: Future<Output = Response<Outgoing>>,
{
    /// Of a stream, whose silence `activity` is told of.
    pub fn new(
        io: T,
        service: S,
        limits: HeadLimits,
        (activity, scratch): (Rc<Activity>, Rc<Scratch>),
    ) -> Self {
        let wire = Wire { io, inbox: BytesMut::new(), outbox: Outbox::default(), scratch, finishing: None };
        Self { wire, service, limits, activity, state: State::Head(Partial::default()), served: false }
    }

    /// Takes no request after the one under way. A client that has connected and not asked yet may do so
    /// once, unless it has been silent for too long; any may where another process takes over.
    pub fn finish(mut self: Pin<&mut Self>, why: Farewell) {
        self.wire.finishing = Some(why);
        match why {
            Farewell::Drain => {}
            Farewell::Silence => self.served = true,
            Farewell::HandOver => self.served = false,
        }
    }

    /// The stream, and what was read of it and not used: after it switched, the other protocol's.
    pub fn into_parts(self) -> (T, Bytes) {
        (self.wire.io, self.wire.inbox.freeze())
    }

    /// Bytes that its buffers have room for.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.wire.inbox.capacity() + self.wire.outbox.held()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<State<F>> {
        loop {
            let State::Head(partial) = &mut self.state else { return Poll::Ready(State::Closing) };
            let wire = &mut self.wire;
            if wire.inbox.is_empty() {
                // At rest it holds nothing.
                wire.inbox = BytesMut::new();
                if wire.finishing.is_some() && self.served {
                    return Poll::Ready(State::Closing);
                }
            } else {
                match partial.read(&wire.inbox, self.limits) {
                    Ok(Some(size)) => return Poll::Ready(self.begin(size)),
                    Ok(None) => self.activity.head_begins(),
                    Err(breach) => return Poll::Ready(self.refuse(breach)),
                }
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(bytes) if bytes > 0 => {}
                // A head that will not be complete is nobody's request.
                _ => return Poll::Ready(State::Closing),
            }
        }
    }

    fn take_partial(&mut self) -> Partial {
        match &mut self.state {
            State::Head(partial) => std::mem::take(partial),
            _ => Partial::default(),
        }
    }

    /// A request begins whose head has so many bytes.
    fn begin(&mut self, size: usize) -> State<F> {
        let partial = self.take_partial();
        let inbox = &mut self.wire.inbox;
        let bytes = take(inbox, size as u64).unwrap_or_default();
        let Head { parts, length, keeps, expects, switches, trailers } = match partial.finish(&bytes) {
            Ok(head) => head,
            Err(breach) => return self.refuse(breach),
        };
        let at_hand = match length {
            Length::Exact(size) => at_hand(inbox, size),
            Length::Chunked => None,
        };
        let (body, upload) = match at_hand {
            Some(bytes) => (Body::whole(bytes), None),
            None => {
                let decoder = Decoder::new(length);
                let (body, feed) = Body::fed(decoder.left());
                (body, Some(Upload { decoder, feed, expects, broken: false }))
            }
        };
        let asked = Asked::by(&parts.method, parts.version).taking(trailers);
        let request = Box::new(Request::from_parts(parts, Incoming::Http1(body)));
        self.serve(Arrived { request, breach: None, switches }, asked, keeps, upload)
    }

    /// One whose framing is broken: where the next begins nobody knows.
    fn refuse(&mut self, breach: FramingRefused) -> State<F> {
        let partial = self.take_partial();
        let bytes = std::mem::take(&mut self.wire.inbox).freeze();
        let parts = partial.broken(&bytes);
        let asked = Asked::by(&parts.method, parts.version);
        let request = Box::new(Request::from_parts(parts, Incoming::Http1(Body::whole(Bytes::new()))));
        self.serve(Arrived { request, breach: Some(breach), switches: false }, asked, false, None)
    }

    fn serve(&mut self, arrived: Arrived, asked: Asked, keeps: bool, upload: Option<Upload>) -> State<F> {
        self.served = true;
        let switches = arrived.switches;
        let phase = Phase::Answering(Box::pin((self.service)(arrived)));
        State::Busy(Exchange { asked, keeps, switches, upload, phase })
    }
}

impl<T, S, F> Future for Connection<T, S, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: FnMut(Arrived) -> F + Unpin,
    F: Future<Output = Response<Outgoing>>,
{
    type Output = Result<(), Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.state = match &mut this.state {
                State::Head(_) => ready!(this.poll_head(cx)),
                State::Busy(exchange) => match ready!(exchange.poll(&mut this.wire, cx))? {
                    After::Next => State::Head(Partial::default()),
                    After::Rest(decoder) => State::Rest(decoder, PASSED_OVER_BYTES),
                    After::Close => State::Closing,
                    After::Switched => State::Over,
                },
                State::Rest(decoder, left) => {
                    let reached = ready!(poll_rest(decoder, left, &mut this.wire, cx));
                    if reached { State::Head(Partial::default()) } else { State::Closing }
                }
                State::Closing => {
                    ready!(Pin::new(&mut this.wire.io).poll_shutdown(cx))?;
                    State::Over
                }
                State::Over => return Poll::Ready(Ok(())),
            };
        }
    }
}
