//! What follows an answer's head over HTTP/2: its body and trailers, and beside them what is left of the request.
//! The server may send on only as what came is handed on.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::Frame;

use super::mux::Ticket;
use super::upload::Uplink;
use crate::edge::body::BoxError;
use crate::edge::proxy::send::{Broke, Stuck};
use crate::edge::stall::Stall;
use crate::edge::trailers;

/// An answer's body on its way. Dropped before its end it resets the stream (CANCEL): nobody waits any more.
#[derive(Debug)]
pub struct Flow {
    body: Option<RecvStream>,
    /// All data has come; trailers may follow.
    trailing: bool,
    left: Option<u64>,
    upload: Option<Uplink>,
    /// How long it may stand still.
    pub(in crate::edge::proxy) stall: Stall,
    _ticket: Ticket,
}

impl Flow {
    /// What comes on a stream, or nothing.
    pub(super) const fn new(
        ticket: Ticket,
        body: Option<RecvStream>,
        left: Option<u64>,
        upload: Option<Uplink>,
    ) -> Self {
        let stall = Stall::new(Duration::ZERO);
        Self { body, trailing: false, left, upload, stall, _ticket: ticket }
    }

    /// Whether nothing comes at all.
    pub const fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    /// How much is still to come, where that was said.
    pub const fn left(&self) -> Option<u64> {
        self.left
    }

    /// The next frame; `None` at the end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BoxError>> {
        self.poll_upload(cx)?;
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
        while !self.trailing {
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    let size = data.len();
                    body.flow_control().release_capacity(size).map_err(broken)?;
                    self.left = self.left.map(|left| left.saturating_sub(size as u64));
                    if size > 0 {
                        return Poll::Ready(Ok(Some(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => self.trailing = true,
            }
        }
        let trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
        self.body = None;
        if trailers.as_ref().is_some_and(|trailers| !trailers::fit(trailers)) {
            return Poll::Ready(Err(Broke::Cut("it has too many trailers".to_owned()).into()));
        }
        Poll::Ready(Ok(trailers.and_then(trailers::of_answer).map(Frame::trailers)))
    }

    /// Sends on what is left of the request.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let before = upload.moved();
        let sent = upload.poll(cx);
        self.stall.progress(upload.moved() - before);
        match sent {
            Poll::Pending => return Ok(()),
            // The server takes no more; what it answers counts all the same.
            Poll::Ready(Ok(()) | Err(Stuck::Io(_))) => {}
            Poll::Ready(Err(error)) => return Err(error.into()),
        }
        self.upload = None;
        Ok(())
    }
}

/// Why it broke off. A client of HTTP/2 hears the server's own reason where it says something of the call (gRPC
/// tells a cancelled one by it); not that it might be made again: some of its answer has gone out.
fn broken(error: h2::Error) -> BoxError {
    let says = error.is_reset() && matches!(error.reason(), Some(Reason::CANCEL | Reason::ENHANCE_YOUR_CALM));
    if says { error.into() } else { Broke::Cut(error.to_string()).into() }
}
