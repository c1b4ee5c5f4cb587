//! Fuzz target: one connection's bytes, as they come. How they are cut makes no difference to the requests
//! that are read or to the breach that ends them; and whatever is let in, `httparse` reads each head and hyper
//! the whole connection alike: request line, headers, body, and where the next request begins.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decode::{Decoder, Step, take};
use super::head::Partial;
use super::refused::{FramingRefused, HeadLimits};
use crate::config::limits::Limits;
use crate::fuzzing::input::Input;

/// Requests out of bytes, with no connection around them.
pub(super) struct Reader {
    limits: HeadLimits,
    buffer: BytesMut,
    partial: Partial,
    decoder: Option<Decoder>,
    pub(super) requests: Vec<Read>,
    pub(super) breach: Option<FramingRefused>,
}

/// A request whose head was read.
#[derive(Debug)]
pub(super) struct Read {
    head: Bytes,
    pub(super) parts: Parts,
    pub(super) body: Vec<u8>,
    pub(super) whole: bool,
    pub(super) keeps: bool,
}

impl Reader {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: HeadLimits::of(limits),
            buffer: BytesMut::new(),
            partial: Partial::default(),
            decoder: None,
            requests: Vec::new(),
            breach: None,
        }
    }

    /// Whether the next byte would begin a request.
    #[cfg(test)]
    pub(super) fn is_between(&self) -> bool {
        self.breach.is_none() && self.decoder.is_none() && self.buffer.is_empty()
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.breach.is_none() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(breach) => self.breach = Some(breach),
            }
        }
    }

    fn step(&mut self) -> Result<bool, FramingRefused> {
        if let (Some(decoder), Some(request)) = (&mut self.decoder, self.requests.last_mut()) {
            match decoder.next(&mut self.buffer)? {
                Step::Data(piece) => request.body.extend_from_slice(&piece),
                Step::More => return Ok(false),
                Step::End => {
                    request.whole = true;
                    self.decoder = None;
                }
            }
            return Ok(true);
        }
        let Some(size) = self.partial.read(&self.buffer, self.limits)? else { return Ok(false) };
        let bytes = take(&mut self.buffer, size as u64).unwrap_or_default();
        let head = std::mem::take(&mut self.partial).finish(&bytes)?;
        self.decoder = Some(Decoder::new(head.length));
        let (parts, keeps) = (head.parts, head.keeps);
        self.requests.push(Read { head: bytes, parts, body: Vec::new(), whole: false, keeps });
        Ok(true)
    }
}

/// Our reader over the bytes of a connection, cut as the first byte says, beside the others.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let size = match input.byte() % 8 {
        0 => 1,
        1 => 7,
        2 => 64,
        3 => 509,
        _ => usize::MAX,
    };
    let limits = Limits { head_bytes: 2048, header_count: 20, ..Limits::default() };
    let bytes = input.rest();
    let (mut whole, mut cut) = (Reader::new(&limits), Reader::new(&limits));
    whole.feed(bytes);
    bytes.chunks(size.min(bytes.len().max(1))).for_each(|piece| cut.feed(piece));
    assert_eq!(cut.breach, whole.breach, "the breach is another one in pieces of {size}");
    assert_eq!(cut.requests.len(), whole.requests.len(), "there are other requests in pieces of {size}");
    for (one, other) in whole.requests.iter().zip(&cut.requests) {
        assert_eq!((&one.body, one.whole), (&other.body, other.whole), "in pieces of {size}");
        same_parts(&one.parts, &other.parts);
        as_httparse_reads_it(one);
    }
    as_hyper_reads_them(&whole, &serve(bytes.to_vec(), size, &limits));
}

fn same_parts(one: &Parts, other: &Parts) {
    assert_eq!((&one.method, one.version), (&other.method, other.version));
    assert_eq!((&one.uri, &one.headers), (&other.uri, &other.headers));
}

fn as_httparse_reads_it(read: &Read) {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut lines);
    assert_eq!(request.parse(&read.head), Ok(httparse::Status::Complete(read.head.len())));
    assert_eq!(request.method, Some(read.parts.method.as_str()));
    same_target(&read.parts, request.path.unwrap_or_default());
    assert_eq!(request.version == Some(0), read.parts.version == Version::HTTP_10);
    let mut theirs: Vec<_> =
        request.headers.iter().map(|line| (line.name.to_ascii_lowercase(), line.value)).collect();
    let ours = read.parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes()));
    let mut ours: Vec<_> = ours.collect();
    // The map keeps the order of one name's lines; between names there is none to keep.
    theirs.sort_by(|a, b| a.0.cmp(&b.0));
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ours, theirs, "other headers");
}

fn as_hyper_reads_them(ours: &Reader, seen: &[Seen]) {
    for (at, read) in ours.requests.iter().enumerate() {
        let Some(seen) = seen.get(at) else { panic!("hyper did not come to {:?}", read.parts) };
        same_parts(&seen.parts, &read.parts);
        if !read.whole {
            break;
        }
        assert_eq!(seen.body.as_ref(), Some(&read.body), "the body is another one");
        // hyper passes over a `Connection` with bytes beyond ASCII in it.
        let odd = read.parts.headers.get_all(CONNECTION).iter().any(|line| line.to_str().is_err());
        if !read.keeps || odd || read.parts.method == Method::CONNECT {
            break;
        }
    }
}

fn same_target(parts: &Parts, target: &str) {
    let uri = parts.uri.to_string();
    // An empty path is written as `/`.
    let with_path = target.replacen('?', "/?", 1);
    let spellings = [target, &format!("{target}/"), &with_path];
    assert!(spellings.into_iter().any(|target| same_uri(&uri, target)), "{target:?} was read as {uri:?}");
}

/// Whether two URIs are the same but for capitals in the scheme.
fn same_uri(one: &str, other: &str) -> bool {
    match (one.split_once("://"), other.split_once("://")) {
        (Some(one), Some(other)) => one.0.eq_ignore_ascii_case(other.0) && one.1 == other.1,
        _ => one == other,
    }
}

/// A request as hyper handed it out; the body is `None` if it did not come whole.
struct Seen {
    parts: Parts,
    body: Option<Vec<u8>>,
}

thread_local! {
    /// For timers, which never fire here.
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap_or_else(|error| panic!("a runtime: {error}"));
}

/// What hyper makes of the bytes.
fn serve(bytes: Vec<u8>, size: usize, limits: &Limits) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let wire = Wire { bytes, at: 0, size, silence: 16 };
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            if body.is_none() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            seen.borrow_mut().push(Seen { parts, body });
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http1 = hyper::server::conn::http1::Builder::new();
    // Room for as many trailers as we pass over: what hyper reads beyond a head of ours is not compared.
    http1
        .header_read_timeout(None)
        .max_headers(1024)
        .max_header_size(16 * limits.head_bytes)
        .half_close(false);
    // How it ends is told by what was seen.
    RUNTIME.with(|runtime| drop(runtime.block_on(http1.serve_connection(TokioIo::new(wire), service))));
    seen.take()
}

/// A client whose bytes come in pieces, who takes whatever it is told, and goes after some silence: a
/// client that goes at once is one that wants no answer, and hyper gives it none.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
    size: usize,
    silence: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at >= self.bytes.len() && self.silence > 0 {
            self.silence -= 1;
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
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
