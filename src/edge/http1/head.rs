//! A request's head: read line by line as its bytes come, made into a request when the last line is there.
//!
//! Each line is judged when it is complete, so that a wrong one is answered at once; the pieces in which the
//! bytes come make no difference. Nothing is copied: the request's headers and target are slices of the bytes
//! that were judged.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use memchr::memchr;

use super::fields::{Field, Fields};
use super::lines::{RequestLine, is_token, number, without_end};
use super::refused::{FramingRefused, HeadLimits, TARGET_BYTES};

/// Longest request line: the target, and room for a method and a version.
const REQUEST_LINE_BYTES: usize = TARGET_BYTES + 64;
/// Room for the header lines of an ordinary request.
const FIELDS: usize = 24;

/// How long a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes; most requests have none.
    Exact(u64),
    /// As its chunks say.
    Chunked,
}

/// A head that was read whole.
#[derive(Debug)]
pub struct Head {
    /// The request, as it was written.
    pub parts: Parts,
    /// What follows it.
    pub length: Length,
    /// Whether the client means to go on after the answer (RFC 9112 §9.3).
    pub keeps: bool,
    /// Whether it waits for a 100 before it sends the body.
    pub expects: bool,
    /// Whether the client would see trailers (RFC 9110 §10.1.4).
    pub trailers: bool,
    /// Whether it asks to switch protocols. Only a request without a body can.
    pub switches: bool,
}

/// A head on its way in, at the front of a buffer that only grows until it is complete.
#[derive(Debug, Default)]
pub struct Partial {
    /// Where the head begins: after the empty lines before it.
    begin: usize,
    /// Where the line begins that is not complete.
    at: usize,
    /// Up to where no line's end was found.
    searched: usize,
    line: Option<RequestLine>,
    fields: Fields,
    said: Said,
}

/// What the lines so far say of the message and the connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    trailers: bool,
    expects: bool,
    close: bool,
    keep_alive: bool,
}

impl Partial {
    /// Looks at the buffer again, which has grown or holds bytes after the last head. The head's size, with
    /// the empty lines before it, once it is complete.
    pub fn read(&mut self, buffer: &[u8], limits: HeadLimits) -> Result<Option<usize>, FramingRefused> {
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            // Binary garbage (TLS on the plain port) may never have a line's end.
            let garbage = |first: &u8| !matches!(first, b'\r' | b'\n') && !is_token(*first);
            if self.line.is_none() && rest.first().is_some_and(garbage) {
                return Err(FramingRefused::RequestLine);
            }
            let from = self.searched.max(self.at);
            let found = memchr(b'\n', buffer.get(from..).unwrap_or_default());
            let Some(end) = found.map(|end| from + end + 1) else {
                self.searched = buffer.len();
                self.fits(rest.len(), limits)?;
                return Ok(None);
            };
            let line = buffer.get(self.at..end).unwrap_or_default();
            self.fits(line.len(), limits)?;
            let line = without_end(line)?;
            let begun = self.line.is_some();
            self.judge(line, limits)?;
            self.at = end;
            if line.is_empty() && begun {
                self.said.length()?;
                return Ok(Some(end));
            }
            if self.line.is_none() {
                self.begin = end;
            }
        }
    }

    /// Whether there is room for a line, or the beginning of one, of this many bytes.
    const fn fits(&self, line: usize, limits: HeadLimits) -> Result<(), FramingRefused> {
        match &self.line {
            None if line > REQUEST_LINE_BYTES => Err(FramingRefused::TargetTooLong),
            // Empty lines before it are passed over (RFC 9112 §2.2), but not for ever.
            None if self.at > limits.bytes => Err(FramingRefused::HeadTooLarge),
            Some(_) if self.at - self.begin + line > limits.bytes => Err(FramingRefused::HeadTooLarge),
            _ => Ok(()),
        }
    }

    fn judge(&mut self, line: &[u8], limits: HeadLimits) -> Result<(), FramingRefused> {
        let Some(request) = &self.line else {
            if !line.is_empty() {
                self.line = Some(RequestLine::read(line)?);
                self.fields.reserve(FIELDS);
            }
            return Ok(());
        };
        if line.is_empty() {
            return Ok(());
        }
        if self.fields.len() >= limits.lines {
            return Err(FramingRefused::HeadTooLarge);
        }
        let (name, value, field) = Field::read(line, self.at)?;
        self.said.note(name, value, request.http10)?;
        self.fields.push(field);
        Ok(())
    }

    /// The head that [`Self::read`] found complete, in exactly its bytes.
    pub fn finish(self, head: &Bytes) -> Result<Head, FramingRefused> {
        let parts = self.parts(head)?;
        let Said { upgrade, trailers, expects, close, keep_alive, .. } = self.said;
        let http10 = parts.version == Version::HTTP_10;
        let length = self.said.length()?;
        let keeps = !close && (!http10 || keep_alive);
        let switches = upgrade && length == Length::Exact(0);
        Ok(Head { parts, length, keeps, expects: expects && !http10, trailers, switches })
    }

    /// What there is of a head that broke, as a request that can be named and counted.
    pub fn broken(self, bytes: &Bytes) -> Parts {
        self.parts(bytes).unwrap_or_else(|_| Request::new(()).into_parts().0)
    }

    fn parts(&self, head: &Bytes) -> Result<Parts, FramingRefused> {
        let (mut parts, ()) = Request::new(()).into_parts();
        let Some(RequestLine { method, target, http10 }) = self.line else { return Ok(parts) };
        let line = head.slice(self.begin..);
        let bad = FramingRefused::RequestLine;
        parts.method = Method::from_bytes(line.get(..method).unwrap_or_default()).map_err(|_| bad)?;
        parts.uri = Uri::from_maybe_shared(line.slice(method + 1..target)).map_err(|_| bad)?;
        parts.version = if http10 { Version::HTTP_10 } else { Version::HTTP_11 };
        parts.headers = self.fields.map(head, |_| false)?;
        Ok(parts)
    }
}

/// Whether a `TE` names trailers, by themselves: no other coding of it is used.
pub fn says_trailers(value: &[u8]) -> bool {
    let mut members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

impl Said {
    fn note(&mut self, name: &[u8], value: &[u8], http10: bool) -> Result<(), FramingRefused> {
        let mut members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
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
                if twice || http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingRefused::Coding);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                if members.any(|offer| offer.eq_ignore_ascii_case(b"h2c")) {
                    return Err(FramingRefused::H2c);
                }
                self.upgrade = !http10;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => members.for_each(|member| {
                self.close |= member.eq_ignore_ascii_case(b"close");
                self.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive");
            }),
            2 if name.eq_ignore_ascii_case(b"te") => self.trailers |= says_trailers(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    const fn length(&self) -> Result<Length, FramingRefused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingRefused::Both),
            (true, None) => Ok(Length::Chunked),
            (false, Some(length)) => Ok(Length::Exact(length)),
            (false, None) => Ok(Length::Exact(0)),
        }
    }
}
