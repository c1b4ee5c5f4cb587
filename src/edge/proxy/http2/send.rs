//! A request over HTTP/2, up to the head of its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{Method, Response, StatusCode};
use tokio::time::Sleep;

use super::flow::Flow;
use super::head;
use super::mux::Ticket;
use super::upload::Uplink;
use crate::edge::body::Upload;
use crate::edge::proxy::Proxy;
use crate::edge::proxy::send::{Broke, Failed, Outbound, Patience, Stuck, Tail};

/// An exchange up to its answer's head.
struct Exchange<'a> {
    uplink: Uplink,
    sending: bool,
    answer: ResponseFuture,
    patience: Patience<'a>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Proxy<'_> {
    /// Sends a request, and returns the head of the answer with what follows it.
    pub(in crate::edge::proxy) async fn send_http2(
        self,
        (ticket, secure): (Ticket, bool),
        outbound: &mut Outbound,
        upload: Option<&Arc<Upload>>,
    ) -> Result<Response<Tail>, Failed> {
        let (parts, told, ending) = outbound.head();
        let is_head = parts.method == Method::HEAD;
        let head = head::request(parts, told, ending, secure).ok_or(Failed::Unsayable)?;
        let body = outbound.lend();
        let (answer, stream) = match ticket.send(head, body.is_none()) {
            Ok(sent) => sent,
            Err(error) => {
                outbound.give_back(body);
                return Err(Failed::Unsent(std::io::Error::other(error)));
            }
        };
        let heard = ticket.heard();
        let patience = Patience { since: Instant::now(), limit: self.limits.response_timeout, upload };
        let uplink = Uplink::new(stream, body, ending);
        let mut exchange = Exchange { uplink, sending: true, answer, patience, timer: None };
        let answered = poll_fn(|cx| exchange.poll(cx)).await;
        let Exchange { mut uplink, sending, .. } = exchange;
        let response = match answered {
            Ok(response) => response,
            Err(failed) => {
                if matches!(failed, Failed::TimedOut) && ticket.heard() == heard {
                    ticket.retire();
                }
                outbound.give_back(uplink.untouched());
                return Err(failed);
            }
        };
        let length = head::length(&response).map_err(|why| Failed::Broken(why.into()))?;
        uplink.answered();
        let (parts, body) = response.into_parts();
        // What has no body has none, whatever comes.
        let bare = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = (!bare && !body.is_end_stream()).then_some(body);
        let flow = Flow::new(ticket, body, length, sending.then_some(uplink));
        Ok(Response::from_parts(parts, Tail::Http2(Box::new(flow))))
    }
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, Failed>> {
        if self.sending {
            match self.uplink.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(Stuck::Body(error))) => return Poll::Ready(Err(Failed::Body(error))),
                Poll::Ready(Err(Stuck::Length)) => return Poll::Ready(Err(Failed::Length)),
                // It may have answered before it stopped listening, and says why if not.
                Poll::Ready(Ok(()) | Err(Stuck::Io(_))) => self.sending = false,
            }
        }
        if let Poll::Ready(answered) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answered.map_err(failed));
        }
        loop {
            let due = tokio::time::Instant::from_std(self.patience.ends());
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= due {
                return Poll::Ready(Err(Failed::TimedOut));
            }
            // The upload has moved since it was armed.
            timer.as_mut().reset(due);
        }
    }
}

/// Why there is no answer: above all whether the server has looked at the request (RFC 9113 §8.7).
fn failed(error: h2::Error) -> Failed {
    let theirs = error.is_remote();
    // A stream that hears of a GOAWAY is one beyond its last; h2 lets the others go on.
    if theirs && error.is_go_away() {
        return Failed::Unprocessed { error, leaving: true };
    }
    if theirs && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
        return Failed::Unprocessed { error, leaving: false };
    }
    match error.get_io() {
        Some(io) => Failed::Gone(std::io::Error::new(io.kind(), io.to_string())),
        None => Failed::Broken(Broke::Http2(error)),
    }
}
