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

use memchr::memchr;

use crate::config::limits::Limits;

/// Longest line between chunks, bytes.
const CHUNK_LINE_BYTES: usize = 16 * 1024;
/// Longest request target, bytes.
pub const TARGET_BYTES: usize = 8 * 1024;
/// Longest request line: the target, and room for a method and a version.
const REQUEST_LINE_BYTES: usize = TARGET_BYTES + 64;

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
}

/// Follows the framing of one connection's bytes.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    state: State,
    /// A head or chunk line whose end is still to come.
    pending: Vec<u8>,
    breach: Option<FramingRefused>,
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
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    bytes: usize,
    lines: usize,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Of a connection whose heads are held to `limits`.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Start, pending: Vec::new(), breach: None }
    }

    /// The first breach so far.
    pub const fn breach(&self) -> Option<FramingRefused> {
        self.breach
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
            State::Head(head) if line.is_empty() => self.state = head.body()?,
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
            State::Body(_) | State::ChunkData(_) => {}
        }
        Ok(())
    }
}

impl Head {
    fn of(line: &[u8]) -> Result<Self, FramingRefused> {
        let refused = FramingRefused::RequestLine;
        let at = memchr(b' ', line).ok_or(refused)?;
        let (method, rest) = line.split_at(at);
        let (target, version) = rest.split_at_checked(rest.len().saturating_sub(9)).ok_or(refused)?;
        let http10 = version == b" HTTP/1.0";
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(refused);
        }
        if !http10 && version != b" HTTP/1.1" {
            return Err(refused);
        }
        let target = target.get(1..).ok_or(refused)?;
        if target.len() > TARGET_BYTES {
            return Err(FramingRefused::TargetTooLong);
        }
        if !is_target(target) {
            return Err(refused);
        }
        Ok(Self { bytes: line.len() + 2, http10, ..Self::default() })
    }

    fn line(&mut self, line: &[u8]) -> Result<(), FramingRefused> {
        (self.lines, self.bytes) = (self.lines + 1, self.bytes + line.len() + 2);
        let (name, value) = split(line)?;
        // By length first: one header in ten is worth a comparison.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value, 10).ok_or(FramingRefused::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(FramingRefused::Length);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let twice = std::mem::replace(&mut self.chunked, true);
                if twice || self.http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingRefused::Coding);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let mut offers = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if offers.any(|offer| offer.eq_ignore_ascii_case(b"h2c")) {
                    return Err(FramingRefused::H2c);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn body(&self) -> Result<State, FramingRefused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingRefused::Both),
            (true, None) => Ok(State::ChunkSize),
            (false, None | Some(0)) => Ok(State::Start),
            (false, Some(length)) => Ok(State::Body(length)),
        }
    }
}

/// Whether a byte may stand in a header's name (RFC 9110 §5.6.2).
#[expect(clippy::indexing_slicing, reason = "every byte has its place in the table")]
const fn is_token(byte: u8) -> bool {
    // A table, because searching the delimiters for each byte was 3 % of a proxied request.
    const TOKEN: [bool; 256] = {
        let (mut table, delimiters, mut byte) = ([false; 256], b"\"(),/:;<=>?@[\\]{}", 0);
        while byte < table.len() {
            table[byte] = (byte as u8).is_ascii_graphic();
            byte += 1;
        }
        let mut at = 0;
        while at < delimiters.len() {
            table[delimiters[at] as usize] = false;
            at += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

/// Whether hyper takes this for a request target. Plain paths, which nearly all are, need one look at
/// each byte; the rest is asked of the parser that hyper uses.
fn is_target(target: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?' | b'@'..=b'_' | b'a'..=b'z' | b'|' | b'~');
    if target.first() == Some(&b'/') && target.iter().all(plain) {
        return true;
    }
    http::Uri::try_from(target).is_ok()
}

/// A header line's name and value.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), FramingRefused> {
    let colon = memchr(b':', line).ok_or(FramingRefused::Header)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || has_control(value) {
        return Err(FramingRefused::Header);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// Without a way out in between, so that it runs over many bytes at once.
fn has_control(value: &[u8]) -> bool {
    let control = |byte: u8| ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f);
    value.iter().fold(false, |found, byte| found | control(*byte))
}

/// Digits of that radix and nothing else, of a size that no counter overflows.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = |byte: &u8| char::from(*byte).is_digit(radix);
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(plain) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok().filter(|size| *size < 1 << 62)
}

/// What a line between chunks means. After a chunk's data there is an empty one.
fn chunk_size(line: &[u8]) -> Result<Option<State>, FramingRefused> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    match number(size, 16).ok_or(FramingRefused::Chunk)? {
        0 => Ok(Some(State::Trailers)),
        // The CR LF that ends the data is counted with it: hyper checks that it is one.
        size => Ok(Some(State::ChunkData(size + 2))),
    }
}

#[cfg(test)]
mod tests;
