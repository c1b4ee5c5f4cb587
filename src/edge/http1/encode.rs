//! A head as it is written, a response's to a client and a request's to an application, and what says where its
//! body ends: never what an upstream, a client or a handler said of it, always what is known here of the body
//! (RFC 9112 §6).

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Method, StatusCode, Uri, Version};

use super::scratch::Scratch;

/// What ends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is none, and no word of it.
    NoBody,
    /// So many bytes.
    Exact(u64),
    /// The last chunk.
    Chunked,
    /// The connection's end: all that HTTP/1.0 has for a body of unknown length.
    Close,
}

/// What a response's head depends on beside the response.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// `HEAD`: the head of what `GET` would answer.
    pub head: bool,
    /// Over HTTP/1.0.
    pub http10: bool,
    /// Whoever asks would see trailers.
    pub trailers: bool,
}

impl Asked {
    /// By this request.
    pub fn by(method: &Method, version: Version) -> Self {
        Self { head: *method == Method::HEAD, http10: version == Version::HTTP_10, trailers: false }
    }

    /// The same, by one that said whether it would see trailers.
    pub const fn taking(mut self, trailers: bool) -> Self {
        self.trailers = trailers;
        self
    }

    /// How the body of a response ends, of which perhaps the size is known.
    pub fn ending(self, status: StatusCode, size: Option<u64>) -> Ending {
        match size {
            _ if self.head || is_bare(status) || status == StatusCode::NOT_MODIFIED => Ending::NoBody,
            Some(size) => Ending::Exact(size),
            None if self.http10 => Ending::Close,
            None => Ending::Chunked,
        }
    }
}

/// Statuses whose responses have neither a body nor a word about its length (RFC 9110 §8.6).
fn is_bare(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// Whether a response says that the connection ends with it.
pub fn says_close(parts: &Parts) -> bool {
    let lines = parts.headers.get_all(CONNECTION).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Writes a head. `size`: of the body that `HEAD` does not get; `keeps`: the connection goes on.
pub fn write_head(
    out: &mut Vec<u8>,
    parts: &Parts,
    asked: Asked,
    (ending, size, keeps): (Ending, Option<u64>, bool),
    scratch: &Scratch,
) {
    write_status(out, parts.status, asked.http10);
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut dated = parts.status.is_informational();
    for (name, value) in &parts.headers {
        if name == TRANSFER_ENCODING || name == CONTENT_LENGTH || (name == CONNECTION && !switches) {
            continue;
        }
        dated |= name == DATE;
        write_line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    match (keeps, asked.http10) {
        _ if switches => {}
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, false) => {}
    }
    match ending {
        Ending::Exact(size) => write_length(out, size),
        Ending::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Ending::NoBody if !is_bare(parts.status) => match parts.headers.get(CONTENT_LENGTH) {
            Some(said) => write_line(out, b"content-length", said.as_bytes()),
            None => size
                .filter(|size| asked.head && *size > 0)
                .into_iter()
                .for_each(|size| write_length(out, size)),
        },
        Ending::NoBody | Ending::Close => {}
    }
    if !dated {
        write_line(out, b"date", &scratch.dates.now());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a request's head, in origin form (RFC 9112 §3.2.1). `lines` writes its header lines, all but those
/// that say how its body ends.
pub fn write_request(
    out: &mut Vec<u8>,
    (method, uri): (&Method, &Uri),
    ending: Ending,
    lines: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if target.starts_with('?') {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    lines(out);
    match ending {
        Ending::Exact(size) => write_length(out, size),
        Ending::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Ending::NoBody | Ending::Close => {}
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, status: StatusCode, http10: bool) {
    if status == StatusCode::OK && !http10 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a header line.
pub fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, size: u64) {
    let mut digits = [b'0'; 20];
    let (mut left, mut begin) = (size, digits.len());
    for place in digits.iter_mut().rev() {
        *place += u8::try_from(left % 10).unwrap_or(0);
        begin -= 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    write_line(out, b"content-length", digits.get(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(uri: &str, ending: Ending) -> String {
        let mut out = Vec::new();
        let line = |out: &mut Vec<u8>| write_line(out, b"a", b"1");
        write_request(&mut out, (&Method::PUT, &uri.parse().unwrap()), ending, line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_written_in_origin_form_whatever_it_came_in() {
        for (uri, target) in [
            ("/a?b", "/a?b"),
            ("https://h:1/a//b;c", "/a//b;c"),
            ("http://h", "/"),
            ("http://h?x", "/?x"),
            ("*", "*"),
        ] {
            let want = format!("PUT {target} HTTP/1.1\r\na: 1\r\n\r\n");
            assert_eq!(written(uri, Ending::NoBody), want);
        }
    }

    #[test]
    fn its_framing_comes_of_its_body() {
        for (ending, framing) in [
            (Ending::NoBody, ""),
            (Ending::Exact(0), "content-length: 0\r\n"),
            (Ending::Exact(12), "content-length: 12\r\n"),
            (Ending::Chunked, "transfer-encoding: chunked\r\n"),
        ] {
            assert_eq!(written("/", ending), format!("PUT / HTTP/1.1\r\na: 1\r\n{framing}\r\n"));
        }
    }
}
