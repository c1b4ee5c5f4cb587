//! A response's head as an application sends it: read line by line as its bytes come, by the rules that requests
//! are read by, so that it has one reading and ends in one place (RFC 9112 §6.3). What says two things of its
//! length is refused; only a bare line feed is taken for a line's end, as applications write them and nothing of
//! the line goes on as it was.
//!
//! Headers that end at the hop are left out on the way into the map, unless `Connection` names more of them or
//! the protocol is switched: then all are there, for whoever knows what that means.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{Response, StatusCode, Version};
use memchr::memchr;

use super::chunked::Chunked;
use super::decode::{Decoder, take};
use super::fields::{Field, Fields};
use super::lines::{StatusLine, number};
use super::refused::{AnswerRefused, FramingRefused, HeadLimits};

/// Room for the header lines of an ordinary response.
const FIELDS: usize = 16;
/// What every head begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// A head that was read whole.
#[derive(Debug)]
pub struct ResponseHead {
    /// The response.
    pub parts: Parts,
    /// What follows it.
    pub body: Decoder,
    /// Whether another exchange may follow on the connection.
    pub keeps: bool,
    /// Whether headers are among them that end at the hop.
    pub hop_by_hop: bool,
}

/// A head on its way in, at the front of a buffer that only grows until it is complete.
#[derive(Debug, Default)]
pub struct PartialResponse {
    /// Where the line begins that is not complete.
    at: usize,
    /// Up to where no line's end was found.
    searched: usize,
    line: Option<StatusLine>,
    fields: Fields,
    said: Said,
    /// Bytes of interim heads before it.
    passed: usize,
}

/// What the lines so far say of the message and the connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    /// A length that is none, or a second one.
    torn: bool,
    close: bool,
    keep_alive: bool,
    /// `Connection` names other headers.
    nominates: bool,
}

impl PartialResponse {
    /// Takes the head that counts off the buffer, once it is there; what is interim is passed over (RFC 9110
    /// §15.2), whatever it says of its length. `head`: it answers a `HEAD`.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        limits: HeadLimits,
        head: bool,
    ) -> Result<Option<ResponseHead>, AnswerRefused> {
        while let Some(size) = self.read(buffer, limits)? {
            let bytes = take(buffer, size as u64).unwrap_or_default();
            let passed = self.passed + size;
            let read = std::mem::take(self).finish(&bytes, head)?;
            let status = read.parts.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(read));
            }
            // Together they are no longer than a head may be: who sends nothing else never answers.
            if passed > limits.bytes {
                return Err(AnswerRefused::TooLarge);
            }
            self.passed = passed;
        }
        Ok(None)
    }

    /// Looks at the buffer again, which has grown. The head's size once it is complete.
    fn read(&mut self, buffer: &[u8], limits: HeadLimits) -> Result<Option<usize>, AnswerRefused> {
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            // What is no HTTP may never have a line's end.
            if self.line.is_none() && !rest.iter().zip(BEGINNING).all(|(byte, wanted)| byte == wanted) {
                return Err(AnswerRefused::StatusLine);
            }
            let from = self.searched.max(self.at);
            let found = memchr(b'\n', buffer.get(from..).unwrap_or_default());
            let end = found.map(|end| from + end + 1);
            if end.unwrap_or(buffer.len()) > limits.bytes {
                return Err(AnswerRefused::TooLarge);
            }
            let Some(end) = end else {
                self.searched = buffer.len();
                return Ok(None);
            };
            let line = buffer.get(self.at..end - 1).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() && self.line.is_some() {
                return Ok(Some(end));
            }
            self.judge(line, limits)?;
            self.at = end;
        }
    }

    fn judge(&mut self, line: &[u8], limits: HeadLimits) -> Result<(), AnswerRefused> {
        if self.line.is_none() {
            self.line = Some(StatusLine::read(line).ok_or(AnswerRefused::StatusLine)?);
            self.fields.reserve(FIELDS);
            return Ok(());
        }
        if self.fields.len() >= limits.lines {
            return Err(AnswerRefused::TooLarge);
        }
        // A carriage return is a control byte, wherever in the line it stands.
        let (name, value, field) = Field::read(line, self.at)?;
        self.said.note(name, value);
        self.fields.push(field);
        Ok(())
    }

    /// The head that [`Self::read`] found complete, in exactly its bytes.
    fn finish(self, bytes: &Bytes, head: bool) -> Result<ResponseHead, AnswerRefused> {
        let StatusLine { status, http10 } = self.line.ok_or(AnswerRefused::StatusLine)?;
        let (body, keeps) = self.said.judge(status, http10, head)?;
        let (mut parts, ()) = Response::new(()).into_parts();
        let hop_by_hop = self.said.nominates || status == StatusCode::SWITCHING_PROTOCOLS;
        let leave_out = |name: &[u8]| !hop_by_hop && ends_here(name);
        parts.headers = self.fields.map(bytes, leave_out)?;
        parts.status = status;
        parts.version = if http10 { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(ResponseHead { parts, body, keeps, hop_by_hop })
    }
}

impl Said {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value, 10);
                self.torn |= length.is_none() || self.length.is_some();
                self.length = length.or(self.length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.torn |= self.chunked || !value.eq_ignore_ascii_case(b"chunked");
                self.chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                members.for_each(|member| self.option(member));
            }
            _ => {}
        }
    }

    const fn option(&mut self, member: &[u8]) {
        if member.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if member.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else {
            self.nominates |= !member.is_empty();
        }
    }

    /// What follows the head, and whether anything may follow that.
    fn judge(&self, status: StatusCode, http10: bool, head: bool) -> Result<(Decoder, bool), AnswerRefused> {
        // Nothing follows an interim answer but the next, whatever it says.
        if status.is_informational() {
            return Ok((Decoder::Exact(0), true));
        }
        if self.torn || (self.chunked && (http10 || self.length.is_some())) {
            return Err(AnswerRefused::Length);
        }
        let keeps = !self.close && (!http10 || self.keep_alive);
        if head || status == StatusCode::NOT_MODIFIED {
            return Ok((Decoder::Exact(0), keeps));
        }
        Ok(match (status, self.chunked, self.length) {
            // One that announces a body may well send it.
            (StatusCode::NO_CONTENT, chunked, length) => {
                (Decoder::Exact(0), keeps && !chunked && length.unwrap_or(0) == 0)
            }
            (_, true, _) => (Decoder::Chunked(Chunked::default()), keeps),
            (_, false, Some(length)) => (Decoder::Exact(length), keeps),
            (_, false, None) => (Decoder::ToEnd, false),
        })
    }
}

/// Whether a header of this name ends at the hop by itself (RFC 9110 §7.6.1), in any case.
pub fn ends_here(name: &[u8]) -> bool {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 => is(b"te"),
        7 => is(b"trailer") || is(b"upgrade"),
        10 => is(b"connection") || is(b"keep-alive"),
        14 => is(b"http2-settings"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        18 => is(b"proxy-authenticate"),
        19 => is(b"proxy-authorization"),
        _ => false,
    }
}

impl From<FramingRefused> for AnswerRefused {
    fn from(refused: FramingRefused) -> Self {
        match refused {
            FramingRefused::HeadTooLarge => Self::TooLarge,
            other => Self::Line(other),
        }
    }
}
