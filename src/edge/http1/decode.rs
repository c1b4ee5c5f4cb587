//! A message's body out of the bytes that follow its head, whatever says where it ends.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::Chunked;
use super::head::Length;
use super::refused::FramingRefused;

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Some of it, never empty.
    Data(Bytes),
    /// Nothing until the buffer has grown.
    More,
    /// Nothing: it was read whole. What is left in the buffer is the next message.
    End,
}

/// A body on its way in.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes are still to come.
    Exact(u64),
    /// Chunks are.
    Chunked(Chunked),
    /// Whatever comes until the connection ends: a response that says nothing of its length.
    ToEnd,
}

impl Decoder {
    /// For a body of that length.
    pub fn new(length: Length) -> Self {
        match length {
            Length::Exact(bytes) => Self::Exact(bytes),
            Length::Chunked => Self::Chunked(Chunked::default()),
        }
    }

    /// Takes the next piece off the buffer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Step, FramingRefused> {
        match self {
            Self::Exact(0) => Ok(Step::End),
            Self::Exact(left) => Ok(take(buffer, *left).map_or(Step::More, |data| {
                *left -= data.len() as u64;
                Step::Data(data)
            })),
            Self::Chunked(chunked) => chunked.next(buffer),
            Self::ToEnd => Ok(take(buffer, u64::MAX).map_or(Step::More, Step::Data)),
        }
    }

    /// What followed the body, once it was read whole.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Chunked(chunked) => chunked.take_trailers(),
            Self::Exact(_) | Self::ToEnd => None,
        }
    }

    /// How much is still to come, where that is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Self::Exact(left) => Some(*left),
            Self::Chunked(_) | Self::ToEnd => None,
        }
    }
}

/// At most so many bytes off a buffer; `None` if it is empty.
pub fn take(buffer: &mut BytesMut, most: u64) -> Option<Bytes> {
    let taken = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
    if taken == buffer.len() {
        // The whole buffer goes, and needs no count of who shares it.
        return (taken > 0).then(|| std::mem::take(buffer).freeze());
    }
    Some(buffer.split_to(taken).freeze())
}
