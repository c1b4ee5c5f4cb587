//! A body that is compressed as it goes out. Whatever an application gives is passed on before it is waited for again
//! (flushed), so that nothing that it has said is held back; a flush costs some of the ratio, so there is none between
//! pieces that are there, nor between those of a file. After so many bytes others have their turn on this thread.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::encoder::Encoder;
use super::room::Place;
use crate::edge::body::{BodyError, BoxError, Outgoing};
use crate::edge::codings::Coding;
use crate::edge::representation::drop_digests;

/// Bytes compressed in one go.
const SLICE_BYTES: usize = 8 * 1024;
/// Bytes compressed before whatever else waits on this thread has its turn.
const TURN_BYTES: usize = 8 * 1024;
/// What comes out is kept up to this before it is handed on.
const OUT_BYTES: usize = 8 * 1024;

/// A body under compression.
#[derive(Debug)]
pub struct Compressed {
    source: Outgoing,
    /// With its place: what has all gone in leaves it to others, however slowly it is taken.
    encoder: Option<(Encoder, Place)>,
    /// Of the source, not compressed yet.
    waiting: Bytes,
    /// Came out, and not handed on yet.
    out: Vec<u8>,
    /// Something went in since the last flush.
    unflushed: bool,
    /// Bytes of this turn.
    turn: usize,
    /// What the source ends with.
    trailers: Option<HeaderMap>,
}

/// A frame, or its failure, or the end.
type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Compressed {
    /// Of this body. Without memory for an encoder the body comes back.
    pub fn new(source: Outgoing, coding: Coding, place: Place) -> Result<Self, Outgoing> {
        let Ok(encoder) = Encoder::new(coding) else { return Err(source) };
        Ok(Self {
            source,
            encoder: Some((encoder, place)),
            waiting: Bytes::new(),
            out: Vec::new(),
            unflushed: false,
            turn: 0,
            trailers: None,
        })
    }

    /// Ready when it may not go on.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        self.source.poll_cut(cx)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if self.out.len() >= OUT_BYTES || (self.encoder.is_none() && !self.out.is_empty()) {
                return self.hand_out();
            }
            let Some((encoder, _)) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if !self.waiting.is_empty() {
                if self.turn >= TURN_BYTES {
                    self.turn = 0;
                    // Woken by the next look at the sockets, not before it, as a waker called here would be.
                    let mut after = std::pin::pin!(tokio::task::yield_now());
                    let _ = after.as_mut().poll(cx);
                    return Poll::Pending;
                }
                let slice = self.waiting.split_to(self.waiting.len().min(SLICE_BYTES));
                encoder.write(&slice)?;
                collect(&mut self.out, encoder.take());
                self.unflushed = true;
                self.turn += slice.len();
                continue;
            }
            match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.waiting = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().and_then(kept);
                        self.end()?;
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    (self.encoder, self.out) = (None, Vec::new());
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.end()?,
                Poll::Pending if self.unflushed && self.source.may_pause() => {
                    self.unflushed = false;
                    encoder.flush()?;
                    collect(&mut self.out, encoder.take());
                    if !self.out.is_empty() {
                        return self.hand_out();
                    }
                    return Poll::Pending;
                }
                Poll::Pending => {
                    self.turn = 0;
                    return Poll::Pending;
                }
            }
        }
    }

    fn hand_out(&mut self) -> Polled {
        let piece = Bytes::from(std::mem::take(&mut self.out));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some((encoder, _)) = self.encoder.take() {
            collect(&mut self.out, encoder.finish()?);
        }
        Ok(())
    }
}

/// Trailers as they are true of the coded body.
fn kept(mut trailers: HeaderMap) -> Option<HeaderMap> {
    drop_digests(&mut trailers);
    (!trailers.is_empty()).then_some(trailers)
}

/// Without a copy where nothing is kept yet.
fn collect(out: &mut Vec<u8>, more: Vec<u8>) {
    if out.is_empty() { *out = more } else { out.extend_from_slice(&more) }
}

impl Body for Compressed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        Self::poll(&mut self, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.out.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::rc::Rc;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::edge::compress::encoder::decoded;
    use crate::edge::compress::room::Room;

    #[tokio::test]
    async fn an_encoder_leaves_its_place_when_all_has_gone_in_not_when_all_was_taken() {
        let (room, client) = (Rc::new(Room::default()), IpAddr::from([192, 0, 2, 1]));
        let text = "The same words, said again and again. ".repeat(1000);
        let source = Outgoing::full(Bytes::from(text.clone()));
        let mut body = Compressed::new(source, Coding::Gzip, Room::take(&room, client).unwrap()).unwrap();
        let share = |room| std::iter::from_fn(|| Room::take(room, client)).collect::<Vec<_>>().len();
        let while_it_lasts = share(&room);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(share(&room), while_it_lasts + 1, "a client that takes no more of it keeps no encoder");
        assert!(decoded("gzip", &first) == text.as_bytes() && body.frame().await.is_none());
    }
}
