//! The chunked coding (RFC 9112 §7.1), read strictly: plain hexadecimal sizes, CR LF after every line and
//! every chunk. Extensions are passed over and trailers kept for whoever asks for them, both within bounds.

use bytes::{Buf, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use memchr::memchr;

use super::decode::Step;
use super::encode::write_line;
use super::lines::{has_control, number, split, without_end};
use super::refused::FramingRefused;
use crate::edge::trailers::{MOST_BYTES, MOST_LINES};

/// Longest line between chunks, bytes.
const LINE_BYTES: usize = 16 * 1024;
/// Most bytes of extensions and trailers in one body: nobody may send them for ever.
const ASIDE_BYTES: usize = MOST_BYTES;

/// With this much of it together a piece of a body is handed on.
const TOGETHER_BYTES: usize = 4 * 1024;

/// A chunked body on its way in.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    aside: usize,
    /// Boxed, as they are rare.
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    AfterData,
    Trailers,
    Over,
}

impl Chunked {
    /// Takes the next piece of the body off the buffer. Small chunks come together as far as they are there:
    /// whoever sends each byte in a chunk of its own would have it cost a write of its own.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Step, FramingRefused> {
        let step = self.chunk(buffer)?;
        let Step::Data(first) = step else { return Ok(step) };
        if buffer.is_empty() || first.len() >= TOGETHER_BYTES {
            return Ok(Step::Data(first));
        }
        let mut together = BytesMut::from(&*first);
        // What is wrong in what follows is found again, once this has been taken.
        while together.len() < TOGETHER_BYTES
            && let Ok(Step::Data(more)) = self.chunk(buffer)
        {
            together.extend_from_slice(&more);
        }
        Ok(Step::Data(together.freeze()))
    }

    fn chunk(&mut self, buffer: &mut BytesMut) -> Result<Step, FramingRefused> {
        loop {
            match self.state {
                State::Size => {
                    let Some(end) = line_end(buffer)? else { return Ok(Step::More) };
                    self.state = self.size(buffer.get(..end).unwrap_or_default())?;
                    buffer.advance(end);
                }
                State::Data(left) => {
                    let Some(data) = super::decode::take(buffer, left) else { return Ok(Step::More) };
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                    return Ok(Step::Data(data));
                }
                State::AfterData => match (buffer.first(), buffer.get(1)) {
                    (None, _) | (Some(b'\r'), None) => return Ok(Step::More),
                    (Some(b'\r'), Some(b'\n')) => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    _ => return Err(FramingRefused::Chunk),
                },
                State::Trailers => {
                    let Some(end) = line_end(buffer)? else { return Ok(Step::More) };
                    let line = without_end(buffer.get(..end).unwrap_or_default())?;
                    if line.is_empty() {
                        self.state = State::Over;
                    } else {
                        let (name, value) = field(line)?;
                        self.set_aside(end)?;
                        self.keep(name, value)?;
                    }
                    buffer.advance(end);
                }
                State::Over => return Ok(Step::End),
            }
        }
    }

    fn size(&mut self, line: &[u8]) -> Result<State, FramingRefused> {
        let line = without_end(line)?;
        let (digits, extension) = line.split_at(memchr(b';', line).unwrap_or(line.len()));
        self.set_aside(extension.len())?;
        // Not even in quotes (RFC 9110 §5.6.4): there are readers who end a line, or a text, at one.
        if has_control(extension) {
            return Err(FramingRefused::Chunk);
        }
        match number(digits, 16).ok_or(FramingRefused::Chunk)? {
            0 => Ok(State::Trailers),
            size => Ok(State::Data(size)),
        }
    }

    /// What followed the last chunk, if anything did.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    fn keep(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), FramingRefused> {
        let trailers = self.trailers.get_or_insert_default();
        if trailers.len() >= MOST_LINES {
            return Err(FramingRefused::Chunk);
        }
        trailers.try_append(name, value).map_err(|_| FramingRefused::Chunk)?;
        Ok(())
    }

    const fn set_aside(&mut self, bytes: usize) -> Result<(), FramingRefused> {
        self.aside += bytes;
        if self.aside > ASIDE_BYTES { Err(FramingRefused::Chunk) } else { Ok(()) }
    }
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), FramingRefused> {
    let (colon, start, end) = split(line)?;
    let name = HeaderName::from_bytes(line.get(..colon).unwrap_or_default());
    let value = HeaderValue::from_bytes(line.get(start..end).unwrap_or_default());
    name.ok().zip(value.ok()).ok_or(FramingRefused::Header)
}

fn line_end(buffer: &[u8]) -> Result<Option<usize>, FramingRefused> {
    let end = memchr(b'\n', buffer).map(|at| at + 1);
    if end.unwrap_or(buffer.len()) > LINE_BYTES {
        return Err(FramingRefused::Line);
    }
    Ok(end)
}

/// What goes before a chunk of so many bytes, in hexadecimal.
pub fn write_size(out: &mut Vec<u8>, mut size: usize) {
    let mut digits = [0_u8; 16];
    let mut begin = digits.len();
    for place in digits.iter_mut().rev() {
        let digit = u8::try_from(size & 15).unwrap_or(0);
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        begin -= 1;
        size >>= 4;
        if size == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// The end of the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The end of a body, without trailers.
pub const BODY_END: &[u8] = b"0\r\n\r\n";

/// Writes the end of a body that has trailers.
pub fn write_end(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        write_line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
