//! One request under way: its body to whoever reads it, the answer awaited, and the answer's body to the
//! client; both ways at once where both sides wish.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Broken, Feed, Want};
use super::connection::{Ended, Wire};
use super::decode::{Decoder, Step};
use super::encode::{Asked, Ending, says_close, write_head};
use super::pump::{Pump, Unpumped};
use crate::edge::body::Outgoing;
use crate::edge::connection::Farewell;

/// Most bytes of an unread body that are passed over so that the connection can go on.
pub const PASSED_OVER_BYTES: u64 = 64 * 1024;

/// A request under way, answered by `F`.
pub(super) struct Exchange<F> {
    pub(super) asked: Asked,
    /// The client means to go on after it, and where the next request begins is known.
    pub(super) keeps: bool,
    pub(super) switches: bool,
    pub(super) upload: Option<Upload>,
    pub(super) phase: Phase<F>,
}

/// What the request is doing.
pub(super) enum Phase<F> {
    /// Its answer is awaited.
    Answering(Pin<Box<F>>),
    /// Its answer is sent.
    Sending(Sending),
}

/// An answer on its way.
pub(super) struct Sending {
    body: Pump<Outgoing>,
    switched: bool,
    /// The body broke off so: what came before it is still said.
    failed: Option<Ended>,
}

/// A body that did not come with its head.
pub(super) struct Upload {
    pub(super) decoder: Decoder,
    pub(super) feed: Feed,
    /// The client waits for a 100 before it sends it.
    pub(super) expects: bool,
    pub(super) broken: bool,
}

/// What follows a request.
pub(super) enum After {
    /// The next one.
    Next,
    /// The rest of its body, and then the next.
    Rest(Decoder),
    /// The end.
    Close,
    /// Another protocol.
    Switched,
}

impl Upload {
    /// Whether the next request can be reached behind what is left of it.
    fn can_be_passed_over(&self) -> bool {
        let left = self.decoder.left();
        let long = self.feed.is_abandoned() && left.is_some_and(|left| left > PASSED_OVER_BYTES);
        !self.broken && !self.expects && !long
    }

    /// Hands on what is asked for and there. True once there is no more of it.
    fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<T>,
        answered: bool,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        while !self.broken && self.feed.poll_want(cx) == Want::Piece {
            if std::mem::take(&mut self.expects) && !answered {
                wire.say(b"HTTP/1.1 100 Continue\r\n\r\n");
                let _ = wire.poll_flush(cx)?;
            }
            match self.decoder.next(&mut wire.inbox) {
                Ok(Step::Data(piece)) => {
                    self.feed.give(piece);
                    if self.decoder.left() == Some(0) {
                        self.feed.end(Ok(()));
                        return Ok(true);
                    }
                }
                Ok(Step::End) => {
                    if let Some(trailers) = self.decoder.take_trailers() {
                        self.feed.trail(trailers);
                    }
                    self.feed.end(Ok(()));
                    return Ok(true);
                }
                Ok(Step::More) => match wire.poll_fill(cx) {
                    Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                    Poll::Ready(_) => self.break_off(Broken::Gone),
                    Poll::Pending => break,
                },
                Err(breach) => self.break_off(Broken::Misframed(breach)),
            }
        }
        Ok(false)
    }

    /// What is wrong is told to the reader, who answers for it.
    fn break_off(&mut self, why: Broken) {
        self.feed.end(Err(why));
        self.broken = true;
    }
}

impl<F: Future<Output = Response<Outgoing>>> Exchange<F> {
    /// Goes on until the answer has gone.
    pub(super) fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<After, Ended>> {
        if let Some(upload) = &mut self.upload
            && upload.poll(wire, matches!(self.phase, Phase::Sending(_)), cx)?
        {
            self.upload = None;
        }
        if let Phase::Answering(answering) = &mut self.phase {
            match answering.as_mut().poll(cx) {
                Poll::Ready(response) => self.phase = Phase::Sending(self.begin(response, wire)),
                Poll::Pending => {
                    let _ = wire.poll_flush(cx)?;
                    return self.poll_client(wire, cx).map(Err);
                }
            }
        }
        let Phase::Sending(sending) = &mut self.phase else { return Poll::Pending };
        match sending.poll(wire, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.after(wire))),
            Poll::Ready(Err(ended)) => Poll::Ready(Err(ended)),
            Poll::Pending => self.poll_client(wire, cx).map(Err),
        }
    }

    /// Ready when the client has gone: nobody waits for the answer any more. One that has sent more than the
    /// request is there, and waits.
    fn poll_client<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Ended> {
        if self.upload.is_some() || !wire.inbox.is_empty() {
            return Poll::Pending;
        }
        match ready!(wire.poll_fill(cx)) {
            Ok(bytes) if bytes > 0 => Poll::Pending,
            _ => Poll::Ready(Ended::Left),
        }
    }

    /// Writes the answer's head.
    fn begin<T>(&mut self, response: Response<Outgoing>, wire: &mut Wire<T>) -> Sending {
        let (parts, body) = response.into_parts();
        let size = body.size_hint().exact();
        let ending = self.asked.ending(parts.status, size);
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS && self.switches;
        self.keeps =
            self.keeps && ending != Ending::Close && self.can_go_on(&parts, wire.finishing.is_some());
        let scratch = &wire.scratch;
        let how = (ending, size, self.keeps);
        write_head(wire.outbox.buffer(scratch), &parts, self.asked, how, scratch);
        let body = Pump::new(body, ending).trailing(self.asked.trailers);
        Sending { body, switched, failed: None }
    }

    fn can_go_on(&self, parts: &Parts, finishing: bool) -> bool {
        let reachable = self.upload.as_ref().is_none_or(Upload::can_be_passed_over);
        let unasked = parts.status == StatusCode::SWITCHING_PROTOCOLS && !self.switches;
        reachable && !finishing && !unasked && !says_close(parts)
    }

    fn after<T>(&mut self, wire: &Wire<T>) -> After {
        if let Phase::Sending(Sending { switched: true, .. }) = self.phase {
            return After::Switched;
        }
        match self.upload.take() {
            // Whoever was told that the connection is kept may be asking on it by now.
            _ if !self.keeps || wire.finishing.is_some_and(|why| why != Farewell::HandOver) => After::Close,
            Some(upload) if upload.can_be_passed_over() => After::Rest(upload.decoder),
            Some(_) => After::Close,
            None => After::Next,
        }
    }
}

impl Sending {
    /// Sends what is there of the body until all of it has gone. Head and first pieces leave together, and
    /// leave also if the body then breaks off: a client that saw nothing at all takes the connection for one
    /// that was closed before its request came, and sends it again.
    fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        loop {
            let waits = match self.body.fetch(&mut wire.outbox, &wire.scratch, cx) {
                Ok(waits) => waits,
                Err(why) => {
                    self.body = Pump::default();
                    self.failed = Some(match why {
                        Unpumped::Body(error) => Ended::Body(error),
                        Unpumped::Length => Ended::Length,
                    });
                    false
                }
            };
            if wire.poll_write(cx)?.is_pending() {
                // The client takes nothing: what ends its right to the rest ends the wait.
                return self.body.poll_cut(cx).map(|cut| Err(Ended::Body(cut.into())));
            }
            if self.body.is_done() {
                ready!(wire.poll_flush(cx))?;
                return Poll::Ready(self.failed.take().map_or(Ok(()), Err));
            }
            if waits {
                ready!(wire.poll_flush(cx))?;
                return Poll::Pending;
            }
        }
    }
}

/// Passes over what is left of a body that nobody read. Ready with whether the next request was reached.
pub(super) fn poll_rest<T: AsyncRead + AsyncWrite + Unpin>(
    decoder: &mut Decoder,
    left: &mut u64,
    wire: &mut Wire<T>,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    loop {
        match decoder.next(&mut wire.inbox) {
            Ok(Step::End) => return Poll::Ready(true),
            Ok(Step::Data(piece)) => match left.checked_sub(piece.len() as u64) {
                Some(after) => *left = after,
                None => return Poll::Ready(false),
            },
            Ok(Step::More) if wire.finishing.is_some_and(|why| why != Farewell::HandOver) => {
                return Poll::Ready(false);
            }
            Ok(Step::More) => match ready!(wire.poll_fill(cx)) {
                Ok(bytes) if bytes > 0 => {}
                _ => return Poll::Ready(false),
            },
            Err(_) => return Poll::Ready(false),
        }
    }
}

/// A body that is whole already, if it is.
pub(super) fn at_hand(inbox: &mut BytesMut, size: u64) -> Option<bytes::Bytes> {
    let there = usize::try_from(size).is_ok_and(|size| inbox.len() >= size);
    there.then(|| super::decode::take(inbox, size).unwrap_or_default())
}
