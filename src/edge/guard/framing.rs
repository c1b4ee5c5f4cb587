//! Where one HTTP/1 request ends and the next begins: checked on the bytes, before hyper reads them.
//!
//! hyper repairs what a gateway must refuse (RFC 9112 §6.3 and §11.2): it drops a `Content-Length`
//! beside `Transfer-Encoding`, merges equal `Content-Length`s, takes bare line feeds for line ends.
//! Whoever stands before or behind may repair differently, and that is how requests are smuggled
//! (hyper#4123; CVE-2026-2833 in Pingora). So the bytes pass by [`Framing`], which follows the
//! framing with the strictest rules and notes the first breach; the guard then refuses the request
//! with 400 and ends the connection.
//!
//! What hyper would refuse by itself (sizes, a request line that is none) is refused here too: its
//! answers are bare, and no request comes of them that could be logged and counted. So that one does,
//! a broken head is ended where it broke, see [`Cut`]. Only the oddest garbage in pieces still gets
//! hyper's answer.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lines;

use memchr::memchr;

use self::lines::{Head, chunk_size, is_token, split};
use crate::config::limits::Limits;

/// Longest line between chunks, bytes.
const CHUNK_LINE_BYTES: usize = 16 * 1024;
/// Longest request target, bytes.
pub const TARGET_BYTES: usize = 8 * 1024;
/// Longest request line: the target, and room for a method and a version.
const REQUEST_LINE_BYTES: usize = TARGET_BYTES + 64;

/// Most bytes that are kept of what follows a request that asks to switch protocols; as much as hyper reads
/// without being asked.
const HELD_BYTES: usize = 64 * 1024;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    bytes: usize,
    lines: usize,
}

impl HeadLimits {
    /// As configured.
    pub const fn of(limits: &Limits) -> Self {
        Self { bytes: limits.head_bytes, lines: limits.header_count }
    }
}

/// Where a head broke in the bytes that were fed, and what ends it there as a request that hyper takes
/// (the guard refuses it): bytes up to `at` pass, then come those of `end` in place of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that pass.
    pub at: usize,
    /// What follows them.
    pub end: &'static [u8],
}

/// How the framing is broken. The text goes to the client; the connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingRefused {
    /// RFC 9112 §6.1: the classic of request smuggling.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Both,
    /// More than one, other than exactly `chunked`, or in HTTP/1.0.
    #[error("the only transfer coding accepted is one 'chunked', in HTTP/1.1")]
    Coding,
    /// Lists, signs, several lines.
    #[error("Content-Length must be one plain number")]
    Length,
    /// RFC 9112 §2.2 allows to take a bare line feed for a line end; others need not.
    #[error("lines must end in CR LF, and contain neither alone")]
    Line,
    /// RFC 9112 §5: obs-fold, space before the colon, no colon, no name, NUL.
    #[error("a header line is malformed")]
    Header,
    /// RFC 9112 §7.1
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// RFC 9112 §3
    #[error("the request line is malformed")]
    RequestLine,
    /// RFC 9112 §3: 414 past it.
    #[error("the request target is too long")]
    TargetTooLong,
    /// RFC 6585 §5: 431 past it.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// `Upgrade: h2c`, which RFC 9113 §3.1 withdrew; it tunnels past proxies.
    #[error("upgrading to h2c is not supported")]
    H2c,
    /// More than is kept of what follows a request that asks to switch protocols.
    #[error("too many bytes were sent before the upgrade was answered")]
    Early,
}

/// Follows the framing of one connection's bytes.
///
/// What follows a request that asks to switch protocols (`Upgrade`, no body) is not HTTP if the upstream agrees and
/// the next request if it does not. So it is [held](Self::is_held), unjudged, until that is known:
/// [`Self::switch`] or [`Self::stay`], which judges what was held. Not a byte escapes judgement otherwise.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    state: State,
    /// A head or chunk line whose end is still to come; or what is held.
    pending: Vec<u8>,
    breach: Option<FramingRefused>,
    /// Heads that were complete.
    heads: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Head(Head),
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
    /// After a request that asks to switch.
    Held,
    /// It has switched: no HTTP any more.
    Switched,
}

impl Framing {
    /// Of a connection whose heads are held to `limits`.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Start, pending: Vec::new(), breach: None, heads: 0 }
    }

    /// The first breach so far.
    pub const fn breach(&self) -> Option<FramingRefused> {
        self.breach
    }

    /// Whether the last of `heads` requests asked to switch, and what follows it is held.
    pub fn is_held(&self, heads: u64) -> bool {
        self.state == State::Held && self.heads == heads
    }

    /// The request after which bytes are held was answered with 101. False if they broke a rule while they
    /// were held, so that they must not be passed on.
    pub fn switch(&mut self) -> bool {
        let may = self.state == State::Held && self.breach.is_none();
        if may {
            (self.state, self.pending) = (State::Switched, Vec::new());
        }
        may
    }

    /// It was answered otherwise: what was held is the next request.
    pub fn stay(&mut self) {
        if self.state == State::Held {
            self.state = State::Start;
            let held = std::mem::take(&mut self.pending);
            // hyper has these bytes already, so nothing can be cut out of them; the breach is enough.
            self.feed(&held);
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() > HELD_BYTES.max(self.limits.bytes) {
            (self.breach, self.pending) = (Some(FramingRefused::Early), Vec::new());
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// More bytes have arrived. A head that breaks in them is to be cut.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Cut> {
        let mut rest = bytes;
        while self.breach.is_none() && !rest.is_empty() {
            match &mut self.state {
                State::Body(left) | State::ChunkData(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    rest = rest.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        let chunked = matches!(self.state, State::ChunkData(_));
                        self.state = if chunked { State::ChunkSize } else { State::Start };
                    }
                }
                State::Switched => return None,
                State::Held => {
                    self.hold(rest);
                    return None;
                }
                _ => match self.feed_line(rest) {
                    Ok(after) => rest = after,
                    Err(breach) => {
                        self.breach = Some(breach);
                        let end = self.end_of_head()?;
                        return Some(Cut { at: bytes.len() - rest.len(), end });
                    }
                },
            }
        }
        None
    }

    /// Takes bytes up to a line's end; returns the rest.
    fn feed_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FramingRefused> {
        // Binary garbage (TLS on the plain port) may never have a line's end. Refused for the same reason
        // if it has one: which piece it comes in must make no difference.
        let garbage = |first: &u8| !matches!(first, b'\r' | b'\n') && !is_token(*first);
        if self.state == State::Start && self.pending.is_empty() && bytes.first().is_some_and(garbage) {
            return Err(FramingRefused::RequestLine);
        }
        let Some(end) = memchr(b'\n', bytes) else {
            self.fits(self.pending.len() + bytes.len())?;
            self.pending.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.fits(self.pending.len() + line.len())?;
        // Most heads come whole; only a line that was cut in two is copied.
        if self.pending.is_empty() {
            self.line(line)?;
        } else {
            let mut whole = std::mem::take(&mut self.pending);
            let before = whole.len();
            whole.extend_from_slice(line);
            let result = self.line(&whole);
            if result.is_err() {
                whole.truncate(before);
                self.pending = whole;
            }
            result?;
        }
        Ok(rest)
    }

    /// Whether there is room for a line, or the beginning of one, of this many bytes.
    const fn fits(&self, line: usize) -> Result<(), FramingRefused> {
        match &self.state {
            State::Start if line > REQUEST_LINE_BYTES => Err(FramingRefused::TargetTooLong),
            State::Head(head) if head.bytes + line > self.limits.bytes => Err(FramingRefused::HeadTooLarge),
            State::ChunkSize | State::Trailers if line > CHUNK_LINE_BYTES => Err(FramingRefused::Line),
            _ => Ok(()),
        }
    }

    /// What makes a head of what has passed of it: whole lines, and the beginning of one in `pending`.
    fn end_of_head(&self) -> Option<&'static [u8]> {
        let ends_in = |byte: u8| self.pending.last() == Some(&byte);
        let has = |byte: u8| memchr(byte, &self.pending).is_some();
        match &self.state {
            State::Start if self.pending.is_empty() => Some(b"GET / HTTP/1.1\r\n\r\n"),
            State::Start if !has(b' ') => Some(b" / HTTP/1.1\r\n\r\n"),
            State::Start if ends_in(b' ') => Some(b"/ HTTP/1.1\r\n\r\n"),
            State::Start if self.pending.iter().filter(|byte| **byte == b' ').count() == 1 => {
                Some(b" HTTP/1.1\r\n\r\n")
            }
            State::Head(_) if self.pending.is_empty() => Some(b"\r\n"),
            State::Head(_) if self.pending == b"\r" => Some(b"\n"),
            // Longer by one: the beginning may be a name that means something.
            State::Head(_) if !has(b':') => Some(b"-:\r\n\r\n"),
            State::Head(_) if ends_in(b'\r') => Some(b"\n\r\n"),
            State::Head(_) => Some(b"\r\n\r\n"),
            _ => None,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), FramingRefused> {
        let line = line.strip_suffix(b"\r\n").ok_or(FramingRefused::Line)?;
        if memchr(b'\r', line).is_some() {
            return Err(FramingRefused::Line);
        }
        match &mut self.state {
            // Empty lines before a request are passed over (RFC 9112 §2.2).
            State::Start if line.is_empty() => {}
            State::Start => self.state = State::Head(Head::of(line)?),
            State::Head(head) if line.is_empty() => {
                self.state = head.body()?;
                self.heads += 1;
            }
            State::Head(head) => {
                if head.lines >= self.limits.lines {
                    return Err(FramingRefused::HeadTooLarge);
                }
                head.line(line)?;
            }
            State::ChunkSize => {
                if let Some(state) = chunk_size(line)? {
                    self.state = state;
                }
            }
            State::Trailers if line.is_empty() => self.state = State::Start,
            State::Trailers => drop(split(line)?),
            State::Body(_) | State::ChunkData(_) | State::Held | State::Switched => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
