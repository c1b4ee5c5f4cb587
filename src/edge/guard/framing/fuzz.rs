//! Fuzz target: one connection's bytes, as they come, read by [`Framing`] and by hyper behind the edge's
//! own stream. Whatever the guard would let in, both have read alike: request line, headers, body, and
//! where the next request begins. How the bytes are cut makes no difference to what is a breach.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::edge::activity::{Activity, Busy};
use crate::edge::connection::ClientIo;
use crate::edge::protocols::Protocols;
use crate::fuzzing::input::Input;

/// A request as [`Framing`] followed it.
#[derive(Debug, Default)]
struct Followed {
    head: Vec<u8>,
    body: Vec<u8>,
    whole: bool,
}

/// A request as hyper handed it out.
struct Seen {
    parts: Parts,
    breach: Option<FramingRefused>,
    /// `None` if it did not come whole.
    body: Option<Vec<u8>>,
    breach_after: Option<FramingRefused>,
}

/// [`Framing`] and hyper over the bytes of a connection, cut as the first byte says.
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
    let followed = follow(bytes, &limits);
    let (mut whole, mut cut) = (Framing::new(HeadLimits::of(&limits)), Framing::new(HeadLimits::of(&limits)));
    whole.feed(bytes);
    answer_otherwise(&mut whole);
    let breach = whole.breach();
    for piece in bytes.chunks(size.min(bytes.len().max(1))) {
        cut.feed(piece);
    }
    answer_otherwise(&mut cut);
    assert_eq!(cut.breach(), breach, "the breach is another one in pieces of {size}");
    let seen = serve(bytes.to_vec(), size, &limits);
    let mut admitted = 0;
    for (at, seen) in seen.iter().enumerate() {
        if seen.breach.is_some() {
            break;
        }
        let Some(followed) = followed.get(at) else { panic!("hyper found a request more: {:?}", seen.parts) };
        same_head(&seen.parts, &followed.head);
        let Some(body) = seen.body.as_ref().filter(|_| seen.breach_after.is_none()) else { break };
        assert!(followed.whole, "hyper found an end of the body that the framing did not");
        assert_eq!(*body, followed.body, "the body is another one");
        admitted += 1;
    }
    let ended = seen.get(..admitted).unwrap_or_default().iter().any(|seen| says_close(&seen.parts));
    let broken = followed.iter().any(|request| !request.whole);
    if breach.is_none() && !ended && !broken && size == usize::MAX {
        let read: Vec<String> =
            seen.iter().map(|seen| format!("{} {}", seen.parts.method, seen.parts.uri)).collect();
        assert_eq!(admitted, followed.len(), "hyper refused what the framing let pass: {read:?}");
    }
}

/// Nobody here agrees to switch protocols: what is held is judged.
fn answer_otherwise(framing: &mut Framing) {
    while framing.breach.is_none() && framing.state == State::Held {
        framing.stay();
    }
}

/// The requests whose heads are complete, byte by byte.
fn follow(bytes: &[u8], limits: &Limits) -> Vec<Followed> {
    let mut framing = Framing::new(HeadLimits::of(limits));
    let (mut requests, mut head, mut trailing) = (Vec::<Followed>::new(), Vec::new(), [0; 2]);
    for byte in bytes {
        let before = std::mem::take(&mut framing.state);
        let (in_head, in_body) = match &before {
            State::Start | State::Head(_) => (true, 0),
            State::Body(_) => (false, 1),
            State::ChunkData(left) => (false, *left),
            _ => (false, 0),
        };
        let in_chunk = matches!(before, State::ChunkData(_));
        framing.state = before;
        framing.feed(&[*byte]);
        answer_otherwise(&mut framing);
        if framing.breach.is_some() {
            break;
        }
        if in_head {
            head.push(*byte);
        }
        let ended =
            in_head && !matches!(framing.state, State::Head(_)) && head.iter().any(|byte| *byte > b' ');
        if ended && framing.pending.is_empty() && head.ends_with(b"\r\n") {
            requests.push(Followed { head: std::mem::take(&mut head), ..Followed::default() });
        }
        if let Some(request) = requests.last_mut() {
            if in_chunk && in_body <= 2 {
                trailing = [trailing[1], *byte];
                if in_body == 1 && trailing != *b"\r\n" {
                    // Hyper looks for the CR LF after a chunk's data, and goes no further without.
                    break;
                }
            } else if in_body > 0 {
                request.body.push(*byte);
            }
            request.whole |= framing.state == State::Start;
        }
    }
    requests
}

fn same_head(parts: &Parts, head: &[u8]) {
    let text = head.trim_ascii_start();
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let version = if parts.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut words = line.splitn(2, ' ');
    assert_eq!(words.next(), Some(parts.method.as_str()), "{line}");
    let target =
        words.next().and_then(|rest| rest.strip_suffix(version)).map(str::trim_end).unwrap_or_default();
    same_target(parts, target);
    let written = lines.take_while(|line| !line.is_empty()).map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        (name.to_ascii_lowercase(), value.get(1..).unwrap_or_default().trim_ascii().to_vec())
    });
    let mut written: Vec<_> = written.collect();
    let mut read: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    // The map keeps the order of one name's lines; between names there is none to keep.
    written.sort_by(|a, b| a.0.cmp(&b.0));
    read.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(read, written, "{line}: other headers");
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

fn says_close(parts: &Parts) -> bool {
    let lines = parts.headers.get_all(CONNECTION);
    let close =
        lines.iter().any(|line| line.as_bytes().to_ascii_lowercase().windows(5).any(|word| word == b"close"));
    close || parts.version == Version::HTTP_10 || parts.method == Method::CONNECT
}

thread_local! {
    /// For the timers of the stream, which never fire here.
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap_or_else(|error| panic!("a runtime: {error}"));
}

/// What hyper makes of the bytes, set up as the edge does it.
fn serve(bytes: Vec<u8>, size: usize, limits: &Limits) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let activity = Activity::new(Some(HeadLimits::of(limits)));
    let wire = Wire { bytes, at: 0, size, silence: 16 };
    let io = TokioIo::new(ClientIo::new(wire, Duration::from_secs(60), Rc::clone(&activity)));
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let (seen, busy) = (Rc::clone(&seen), Busy::start(&activity));
        async move {
            let breach = busy.framing();
            let (parts, body) = request.into_parts();
            let mut answer = Response::new(Empty::<bytes::Bytes>::new());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            let breach_after = busy.framing();
            // No 101: what came after it is the next request.
            busy.stay();
            if breach.or(breach_after).is_some() || body.is_none() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            seen.borrow_mut().push(Seen { parts, breach, body, breach_after });
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = Protocols::new(limits).http1.serve_connection(io, service);
    // How it ends is told by what was seen.
    RUNTIME.with(|runtime| drop(runtime.block_on(connection)));
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
