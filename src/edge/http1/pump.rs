//! A body on its way out: fetched as far as there is room, framed, and never longer or shorter than was said.
//! Responses to clients and requests to applications alike.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use super::encode::Ending;
use super::outbox::Outbox;
use super::scratch::Scratch;
use crate::edge::body::{BodyError, Outgoing};

/// Why a body cannot be sent to its end.
#[derive(Debug)]
pub enum Unpumped<E> {
    /// It failed.
    Body(E),
    /// It is longer or shorter than it said.
    Length,
}

impl Pump<Outgoing> {
    /// Ready when what was not fetched yet may not go out any more.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        self.body.as_mut().map_or(Poll::Pending, |body| body.poll_cut(cx))
    }
}

/// A body, as far as it was not fetched yet.
#[derive(Debug)]
pub struct Pump<B> {
    body: Option<B>,
    ending: Ending,
    left: u64,
    trails: bool,
}

impl<B> Default for Pump<B> {
    fn default() -> Self {
        Self { body: None, ending: Ending::NoBody, left: 0, trails: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Pump<B> {
    /// For a body that ends so. One that is to have none is not looked at.
    pub fn new(body: B, ending: Ending) -> Self {
        let is_none = matches!(ending, Ending::NoBody | Ending::Exact(0));
        Self::of((!is_none).then_some(body), ending)
    }

    /// The same, but what says that it is empty must be.
    pub fn proving(body: B, ending: Ending) -> Self {
        Self::of((!body.is_end_stream()).then_some(body), ending)
    }

    const fn of(body: Option<B>, ending: Ending) -> Self {
        let left = if let Ending::Exact(size) = ending { size } else { 0 };
        Self { body, ending, left, trails: false }
    }

    /// Whether trailers go with it, where the framing has a place for them.
    pub const fn trailing(mut self, trails: bool) -> Self {
        self.trails = trails;
        self
    }

    /// The body itself, for another way to send it.
    pub const fn take_body(&mut self) -> Option<B> {
        self.body.take()
    }

    /// And back, if none of it was sent.
    pub fn put_back(&mut self, body: B) {
        self.body = Some(body);
    }

    /// Whether all of it was fetched.
    pub const fn is_done(&self) -> bool {
        self.body.is_none()
    }

    /// Takes from the body what there is room for. True if it has no more for now.
    pub fn fetch(
        &mut self,
        outbox: &mut Outbox,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Result<bool, Unpumped<B::Error>> {
        let chunked = self.ending == Ending::Chunked;
        while let Some(body) = &mut self.body
            && outbox.has_room()
        {
            let (data, trailers) = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(error))) => return Err(Unpumped::Body(error)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => (Some(data), None),
                    Err(frame) => (None, frame.into_trailers().ok()),
                },
                Poll::Ready(None) => (None, None),
            };
            // Nothing follows trailers.
            let over = data.is_none() || body.is_end_stream();
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                if let Ending::Exact(_) = self.ending {
                    let left = self.left.checked_sub(data.len() as u64);
                    self.left = left.ok_or(Unpumped::Length)?;
                }
                outbox.add(data, chunked, scratch);
            }
            if over {
                self.body = None;
                if chunked {
                    match trailers.filter(|_| self.trails) {
                        Some(trailers) => outbox.add_trailers(&trailers, scratch),
                        None => outbox.add_end(scratch),
                    }
                }
                if self.left > 0 {
                    return Err(Unpumped::Length);
                }
            }
        }
        Ok(false)
    }
}
