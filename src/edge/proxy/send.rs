//! A request over a connection, up to the head of its answer.
//!
//! Three ways to do it were weighed. hyper's client, which this replaces, gives each connection a task of its own
//! and speaks to it through a channel: two wake-ups and two more polls a request, a quarter of its processor time.
//! The same client polled from within the request would save the wake-ups, but neither the channel's allocations,
//! nor the buffers of idle connections, nor the copy of every request that may have to be sent again, and its
//! reading of an answer's framing would still have to be checked beside it. Here the request's own future owns the
//! connection and reads and writes it itself, with the codec of [`http1`](crate::edge::http1): one write, one read,
//! nothing to wake. The request stays here until it is answered, so it is encoded again where it may be sent again,
//! and copied never.
//!
//! An answer may come before all of the request has gone; then the rest goes on beside the answer's body, and is
//! dropped with the connection at its end. If the server takes no more, what it has answered still counts.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::request::Parts;
use http::{Method, Request, Response};
use tokio::io::AsyncWrite as _;

use super::Proxy;
use super::headers::{Told, ending};
use super::http2::flow::Flow;
use super::line::Line;
use super::pool::Lease;
use crate::edge::body::{BodyError, RequestBody, Upload};
use crate::edge::http1::decode::Decoder;
use crate::edge::http1::encode::{Ending, write_request};
use crate::edge::http1::outbox::Outbox;
use crate::edge::http1::pump::{Pump, Unpumped};
use crate::edge::http1::refused::{AnswerRefused, HeadLimits};
use crate::edge::http1::response::{PartialResponse, ResponseHead};
use crate::edge::http1::scratch::{READ_BYTES, Scratch};

/// Largest head of an answer.
const HEAD: HeadLimits = HeadLimits::new(64 * 1024, 100);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Not a byte of the request was written.
    Unsent(io::Error),
    /// Some of it was, and the connection ended before a byte of an answer.
    Gone(io::Error),
    /// The server says that it has not looked at it (RFC 9113 §8.7); `leaving`: nor at any other that follows on the
    /// connection.
    Unprocessed { error: h2::Error, leaving: bool },
    /// There is no such request in the protocol of the group.
    Unsayable,
    /// What came is no answer, or broke off.
    Broken(Broke),
    /// The request's own body failed.
    Body(BodyError),
    /// It is not as long as it said.
    Length,
    /// No answer in time.
    TimedOut,
}

/// How an answer broke.
#[derive(Debug, thiserror::Error)]
pub enum Broke {
    /// It is none.
    #[error(transparent)]
    Refused(#[from] AnswerRefused),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// It ended.
    #[error("the application closed the connection in the middle of its answer")]
    Early,
    /// The stream was reset, or the connection is no HTTP/2.
    #[error("the application broke off: {0}")]
    Http2(h2::Error),
    /// The same, after its head.
    #[error("the application broke off in the middle of its answer: {0}")]
    Cut(String),
}

/// A request on its way to an application.
pub(super) struct Outbound {
    parts: Parts,
    told: Told,
    ending: Ending,
    encoded: bool,
    /// Its body went, or some of it, where it cannot be fetched back from.
    spent: bool,
    upload: Uplink,
}

impl Outbound {
    /// This request, with what is told beside its headers.
    pub(super) fn new(request: Request<RequestBody>, told: Told) -> Self {
        let (parts, body) = request.into_parts();
        let ending = ending(&parts.method, &body);
        let upload = Uplink { outbox: Outbox::default(), body: Pump::proving(body, ending).trailing(true) };
        Self { parts, told, ending, encoded: false, spent: false, upload }
    }

    /// What its head is made of, and how its body ends.
    pub(super) const fn head(&self) -> (&Parts, &Told, Ending) {
        (&self.parts, &self.told, self.ending)
    }

    /// Its body, if it has one, for whoever sends it in HTTP/2.
    pub(super) fn lend(&mut self) -> Option<RequestBody> {
        let body = self.upload.body.take_body();
        self.spent |= body.is_some();
        body
    }

    /// And back, if nothing of it was fetched.
    pub(super) fn give_back(&mut self, body: Option<RequestBody>) {
        if let Some(body) = body {
            self.upload.body.put_back(body);
            self.spent = false;
        }
    }

    /// After a failure: whether it may be sent over another connection, and is ready for that.
    pub(super) fn may_go_again(&mut self, failed: &Failed) -> bool {
        let idempotent = || {
            let method = &self.parts.method;
            matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
        };
        match failed {
            // All that was fetched of it is still here.
            Failed::Unsent(_) | Failed::Unprocessed { .. } => !self.spent,
            // RFC 9110 §9.2.2: idempotent, and without a body that is gone.
            Failed::Gone(_) if matches!(self.ending, Ending::NoBody | Ending::Exact(0)) && idempotent() => {
                self.upload = Uplink::default();
                self.encoded = false;
                true
            }
            _ => false,
        }
    }
}

/// What is still to be sent of a request.
#[derive(Debug, Default)]
pub struct Uplink {
    outbox: Outbox,
    body: Pump<RequestBody>,
}

/// Why a request cannot be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The server takes no more.
    #[error("the application takes no more of the request: {0}")]
    Io(io::Error),
    /// Its body failed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No decoder lets that pass; nothing misframed may go on if one ever did.
    #[error("the request's body is not as long as it said")]
    Length,
}

impl From<Unpumped<BodyError>> for Stuck {
    fn from(why: Unpumped<BodyError>) -> Self {
        match why {
            Unpumped::Body(error) => Self::Body(error),
            Unpumped::Length => Self::Length,
        }
    }
}

impl From<Unpumped<BodyError>> for Failed {
    fn from(why: Unpumped<BodyError>) -> Self {
        match why {
            Unpumped::Body(error) => Self::Body(error),
            Unpumped::Length => Self::Length,
        }
    }
}

impl Uplink {
    /// Whether all of the body has been seen.
    fn is_proved(&mut self, scratch: &Scratch, cx: &mut Context<'_>) -> Result<bool, Unpumped<BodyError>> {
        self.body.fetch(&mut self.outbox, scratch, cx)?;
        Ok(self.body.is_done())
    }

    /// Sends what there is. Ready once nothing is left.
    pub fn poll(
        &mut self,
        line: &mut Line,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stuck>> {
        loop {
            let waits = self.body.fetch(&mut self.outbox, scratch, cx)?;
            ready!(self.outbox.poll_write(line, scratch, cx)).map_err(Stuck::Io)?;
            if self.body.is_done() || waits {
                // TLS may have taken more than its socket did; nobody else would send the rest.
                ready!(Pin::new(&mut *line).poll_flush(cx)).map_err(Stuck::Io)?;
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }
}

/// What follows an answer's head, and what it comes over.
#[derive(Debug)]
pub enum Tail {
    /// A connection of its own.
    Http1(Rest, Lease),
    /// A stream of one.
    Http2(Box<Flow>),
}

/// What follows an answer's head over HTTP/1.1.
#[derive(Debug)]
pub struct Rest {
    /// Read already.
    pub inbox: BytesMut,
    /// What says where it ends.
    pub body: Decoder,
    /// Whether the connection may serve another request after it.
    pub keeps: bool,
    /// Whether headers came with it that end here.
    pub hop_by_hop: bool,
    /// What is left of the request.
    pub upload: Option<Box<Uplink>>,
}

/// An exchange up to its answer's head.
struct Exchange<'a> {
    line: &'a mut Line,
    outbound: &'a mut Outbound,
    scratch: &'a Scratch,
    sending: bool,
    /// The server took no more.
    stopped: Option<io::Error>,
    inbox: BytesMut,
    partial: PartialResponse,
    begun: bool,
    patience: Patience<'a>,
}

/// How long an answer is waited for.
pub(super) struct Patience<'a> {
    pub(super) since: Instant,
    pub(super) limit: Duration,
    pub(super) upload: Option<&'a Arc<Upload>>,
}

impl Patience<'_> {
    /// Until when. While an upload moves, the answer is not late.
    pub(super) fn ends(&self) -> Instant {
        let moved = self.upload.map(|upload| upload.last_moved());
        moved.map_or(self.since, |moved| moved.max(self.since)) + self.limit
    }
}

impl Proxy<'_> {
    /// Sends a request, and returns the head of the answer with what follows it.
    pub(super) async fn send(
        self,
        mut lease: Lease,
        outbound: &mut Outbound,
        upload: Option<&Arc<Upload>>,
    ) -> Result<Response<Tail>, Failed> {
        let patience = Patience { since: Instant::now(), limit: self.limits.response_timeout, upload };
        let scratch: &Rc<Scratch> = self.scratch;
        let line = lease.line();
        line.begin();
        let mut exchange = Exchange {
            line,
            outbound,
            scratch,
            sending: true,
            stopped: None,
            inbox: BytesMut::new(),
            partial: PartialResponse::default(),
            begun: false,
            patience,
        };
        let head = poll_fn(|cx| exchange.poll(cx)).await?;
        let Exchange { inbox, sending, stopped, .. } = exchange;
        let ResponseHead { parts, body, keeps, hop_by_hop } = head;
        let upload = sending.then(|| Box::new(mem::take(&mut outbound.upload)));
        let rest = Rest { inbox, body, keeps: keeps && stopped.is_none(), hop_by_hop, upload };
        Ok(Response::from_parts(parts, Tail::Http1(rest, lease)))
    }
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failed>> {
        if self.sending {
            self.poll_send(cx)?;
        }
        if let Poll::Ready(head) = self.poll_head(cx) {
            return Poll::Ready(head);
        }
        while self.line.poll_until(self.patience.ends(), cx).is_ready() {
            if self.patience.ends() <= Instant::now() {
                return Poll::Ready(Err(Failed::TimedOut));
            }
        }
        Poll::Pending
    }

    /// Sends what can be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        let Outbound { parts, told, ending, encoded, upload, .. } = &mut *self.outbound;
        if !*encoded {
            // Over HTTP/2 a body may be said to be empty and come all the same. The head alone would be the whole
            // request to the application, so it waits for the proof.
            if *ending == Ending::Exact(0) && !upload.is_proved(self.scratch, cx)? {
                return Ok(());
            }
            *encoded = true;
            let line = (&parts.method, &parts.uri);
            let lines = |out: &mut Vec<u8>| told.write(&parts.headers, out);
            write_request(upload.outbox.buffer(self.scratch), line, *ending, lines);
        }
        match upload.poll(self.line, self.scratch, cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Stuck::Body(error))) => return Err(Failed::Body(error)),
            Poll::Ready(Err(Stuck::Length)) => return Err(Failed::Length),
            Poll::Ready(Err(Stuck::Io(error))) if !self.line.was_told() => return Err(Failed::Unsent(error)),
            // It may have answered before it stopped listening.
            Poll::Ready(Err(Stuck::Io(error))) => self.stopped = Some(error),
        }
        self.sending = false;
        Ok(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failed>> {
        loop {
            let filled = ready!(self.line.poll_fill(&mut self.inbox, READ_BYTES, self.scratch, cx));
            // Whatever that is, it is no answer to a request of which nothing was said yet.
            if !self.line.was_told() {
                let error = filled.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(Failed::Unsent(error)));
            }
            let came = match filled {
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(Err(self.ended(error))),
            };
            if came == 0 {
                let error = self.stopped.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(self.ended(error)));
            }
            self.begun = true;
            let is_head = self.outbound.parts.method == Method::HEAD;
            match self.partial.take(&mut self.inbox, HEAD, is_head) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(why) => return Poll::Ready(Err(Failed::Broken(why.into()))),
            }
        }
    }

    /// The connection ended without an answer.
    fn ended(&self, error: io::Error) -> Failed {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        let kind = error.kind();
        let left =
            matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof);
        match (left, self.begun) {
            (true, false) => Failed::Gone(error),
            (true, true) if kind == UnexpectedEof => Failed::Broken(Broke::Early),
            _ => Failed::Broken(Broke::Io(error)),
        }
    }
}
