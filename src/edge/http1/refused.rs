//! How the framing of a connection's bytes can be broken, and how large a head may be.

use crate::config::limits::Limits;

/// Longest request target, bytes.
pub const TARGET_BYTES: usize = 8 * 1024;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) lines: usize,
}

impl HeadLimits {
    /// At most so many bytes, in so many lines.
    pub const fn new(bytes: usize, lines: usize) -> Self {
        Self { bytes, lines }
    }

    /// As configured.
    pub const fn of(limits: &Limits) -> Self {
        Self { bytes: limits.head_bytes, lines: limits.header_count }
    }
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

/// What is wrong with what an application answers. The text goes to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// RFC 9112 §4
    #[error("its answer does not begin with a status line of HTTP/1")]
    StatusLine,
    /// RFC 9112 §6.3: two framings, two lengths, a length that is no number, another coding than `chunked`.
    #[error("its answer says two things of its length, or none that is plain")]
    Length,
    /// RFC 9110 §5.4
    #[error("the head of its answer is too large")]
    TooLarge,
    /// A header line, or one of a chunked body.
    #[error("in its answer {0}")]
    Line(FramingRefused),
}
