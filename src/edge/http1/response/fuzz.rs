//! Fuzz target: what an application says on a connection after one request. How the bytes are cut makes no
//! difference to what is read or refused; and whatever is let in, `httparse` reads the head and hyper's client the
//! whole answer alike: status, headers, body, and where it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{PartialResponse, ResponseHead, ends_here};
use crate::edge::http1::decode::{Decoder, Step};
use crate::edge::http1::refused::{AnswerRefused, HeadLimits};
use crate::fuzzing::input::Input;

/// An answer out of bytes, with no connection around them.
#[derive(Debug)]
pub(super) struct Reader {
    limits: HeadLimits,
    is_head: bool,
    buffer: BytesMut,
    partial: PartialResponse,
    pub(super) head: Option<ResponseHead>,
    pub(super) body: Vec<u8>,
    /// It ended, and not for want of bytes.
    pub(super) whole: bool,
    pub(super) refused: Option<AnswerRefused>,
}

impl Reader {
    pub(super) fn new(is_head: bool, limits: HeadLimits) -> Self {
        Self {
            limits,
            is_head,
            buffer: BytesMut::new(),
            partial: PartialResponse::default(),
            head: None,
            body: Vec::new(),
            whole: false,
            refused: None,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while !self.whole && self.refused.is_none() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(refused) => self.refused = Some(refused),
            }
        }
    }

    fn step(&mut self) -> Result<bool, AnswerRefused> {
        let Some(head) = &mut self.head else {
            self.head = self.partial.take(&mut self.buffer, self.limits, self.is_head)?;
            return Ok(self.head.is_some());
        };
        match head.body.next(&mut self.buffer).map_err(AnswerRefused::Line)? {
            Step::Data(piece) => self.body.extend_from_slice(&piece),
            Step::More => return Ok(false),
            Step::End => self.whole = true,
        }
        Ok(true)
    }

    /// The connection ends.
    pub(super) fn end(&mut self) {
        let to_end = self.head.as_ref().is_some_and(|head| matches!(head.body, Decoder::ToEnd));
        self.whole |= to_end && self.refused.is_none();
    }

    /// What came after the answer.
    pub(super) fn left(&self) -> &[u8] {
        if self.whole { &self.buffer } else { &[] }
    }

    /// Whether another request may follow on the connection.
    pub(super) fn keeps(&self) -> bool {
        self.whole && self.left().is_empty() && self.head.as_ref().is_some_and(|head| head.keeps)
    }
}

/// Our reader over what is said on a connection, cut as the first byte says, beside the others.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let size = match how % 8 {
        0 => 1,
        1 => 7,
        2 => 64,
        3 => 509,
        _ => usize::MAX,
    };
    let is_head = how & 8 != 0;
    let limits = HeadLimits::new(2048, 20);
    let bytes = input.rest();
    let (mut whole, mut cut) = (Reader::new(is_head, limits), Reader::new(is_head, limits));
    whole.feed(bytes);
    bytes.chunks(size.min(bytes.len().max(1))).for_each(|piece| cut.feed(piece));
    whole.end();
    cut.end();
    assert_eq!(cut.refused, whole.refused, "refused otherwise in pieces of {size}");
    assert_eq!((&cut.body, cut.whole), (&whole.body, whole.whole), "in pieces of {size}");
    assert_eq!((cut.left(), cut.keeps()), (whole.left(), whole.keeps()), "in pieces of {size}");
    assert_eq!(told(&cut), told(&whole), "in pieces of {size}");
    let Some(head) = &whole.head else { return };
    if whole.refused.is_some() || head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    says_nothing_twice(head);
    as_httparse_reads_it(head, bytes);
    as_hyper_reads_it(&whole, &ask(bytes.to_vec(), size, is_head), bytes);
}

fn told(reader: &Reader) -> Option<(StatusCode, Version, &HeaderMap)> {
    let parts = &reader.head.as_ref()?.parts;
    Some((parts.status, parts.version, &parts.headers))
}

fn says_nothing_twice(head: &ResponseHead) {
    let headers = &head.parts.headers;
    assert!(headers.get_all("content-length").iter().count() <= 1, "two lengths went on");
    if !head.hop_by_hop {
        let names = headers.keys().map(|name| name.as_str().as_bytes());
        assert!(!names.into_iter().any(ends_here), "what ends here went on");
    }
    assert!(!(head.keeps && matches!(head.body, Decoder::ToEnd)), "kept beyond its end");
}

/// The last head in the bytes, past the interim ones.
fn as_httparse_reads_it(head: &ResponseHead, mut bytes: &[u8]) {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut lines);
        let Ok(httparse::Status::Complete(size)) = response.parse(bytes) else {
            panic!("httparse reads no head in b\"{}\"", bytes.escape_ascii());
        };
        if response.code.is_some_and(|code| code < 200) {
            bytes = bytes.get(size..).unwrap_or_default();
            continue;
        }
        assert_eq!(response.code, Some(head.parts.status.as_u16()));
        assert_eq!(response.version == Some(0), head.parts.version == Version::HTTP_10);
        let theirs = response.headers.iter().map(|line| (line.name.to_ascii_lowercase(), line.value));
        let mut theirs: Vec<_> =
            theirs.filter(|(name, _)| head.hop_by_hop || !ends_here(name.as_bytes())).collect();
        let ours =
            head.parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes()));
        let mut ours: Vec<_> = ours.collect();
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(ours, theirs, "other headers");
        return;
    }
}

fn as_hyper_reads_it(ours: &Reader, theirs: &Option<Seen>, bytes: &[u8]) {
    let Some(theirs) = theirs else { panic!("hyper has no answer in b\"{}\"", bytes.escape_ascii()) };
    assert_eq!(Some(theirs.status), ours.head.as_ref().map(|head| head.parts.status));
    if !ours.whole {
        assert_eq!(theirs.body, None, "hyper came to an end");
        return;
    }
    // hyper takes a hundred trailers at most, which are dropped here unread.
    if theirs.body.is_some() || bytes.iter().filter(|byte| **byte == b'\n').count() < 100 {
        assert_eq!(theirs.body.as_ref(), Some(&ours.body), "the body is another one");
    }
}

/// An answer as hyper handed it out; the body is `None` if it did not come whole.
struct Seen {
    status: StatusCode,
    body: Option<Vec<u8>>,
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap_or_else(|error| panic!("a runtime: {error}"));
}

/// What hyper's client makes of the bytes.
fn ask(bytes: Vec<u8>, size: usize, is_head: bool) -> Option<Seen> {
    let wire = Wire { bytes, at: 0, size, asked: false };
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await.ok()?;
        let method = if is_head { "HEAD" } else { "GET" };
        let request = Request::builder().method(method).uri("/").header("host", "x");
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let answer = async {
            let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            Some(Seen { status: parts.status, body })
        };
        // The connection goes on until the answer has been taken.
        let (seen, _) = tokio::join!(answer, connection);
        seen
    };
    RUNTIME.with(|runtime| runtime.block_on(asking))
}

/// A server that speaks once it was asked, in pieces, and then leaves.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
    size: usize,
    asked: bool,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let piece = left.get(..left.len().min(self.size).min(buf.remaining())).unwrap_or_default();
        buf.put_slice(piece);
        let length = piece.len();
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
