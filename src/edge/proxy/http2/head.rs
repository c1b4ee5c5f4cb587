//! Heads in HTTP/2: a request's, said in the same words as over HTTP/1.1 but for what only that version needs; and
//! what of an answer's is not taken.

use bytes::Bytes;
use h2::RecvStream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderName};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use memchr::memchr;

use crate::edge::http1::encode::{Ending, write_line};
use crate::edge::http1::refused::AnswerRefused;
use crate::edge::proxy::headers::Told;

/// Room for a request's header lines.
const USUAL_BYTES: usize = 1024;
/// Most header lines of an answer.
const MOST_LINES: usize = 100;

/// A request's head; `None` if it has none in HTTP/2.
pub fn request(parts: &Parts, told: &Told, ending: Ending, secure: bool) -> Option<Request<()>> {
    let mut lines = Vec::with_capacity(USUAL_BYTES);
    told.write_lasting(&parts.headers, &mut lines);
    if told.takes_trailers() {
        lines.extend_from_slice(b"te: trailers\r\n");
    }
    if let Ending::Exact(size) = ending {
        write_line(&mut lines, b"content-length", size.to_string().as_bytes());
    }
    let mut request = Request::new(());
    request.method_mut().clone_from(&parts.method);
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = read(&Bytes::from(lines))?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(told.host().as_bytes()).ok()?);
    let target = parts.uri.path_and_query().cloned();
    uri.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    Some(request)
}

/// The lines that were written, as a map.
fn read(lines: &Bytes) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(32);
    let mut at = 0;
    while let Some(end) = memchr(b'\n', lines.get(at..)?) {
        let line = lines.get(at..at + end)?;
        let colon = memchr(b':', line)?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let from = at + (colon + 2).min(end);
        let value = lines.slice(from..from.max(at + end.saturating_sub(1)));
        let mut value = HeaderValue::from_maybe_shared(value).ok()?;
        // One connection carries many people's requests: nobody learns of another's by what his own compress to
        // (RFC 7541 §7.1.3).
        value.set_sensitive(name == AUTHORIZATION || name == COOKIE);
        headers.append(name, value);
        at += end + 1;
    }
    Some(headers)
}

/// The length that an answer says it has.
pub fn length(response: &Response<RecvStream>) -> Result<Option<u64>, AnswerRefused> {
    let headers = response.headers();
    if headers.len() > MOST_LINES {
        return Err(AnswerRefused::TooLarge);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    let plain = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = plain.and_then(|text| text.parse().ok()).filter(|_| lengths.next().is_none());
    length.map(Some).ok_or(AnswerRefused::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_lines_is_read_as_it_was() {
        let lines = b"accept: */*\r\nx-empty: \r\ncookie: a=1; b=\"2: 3\"\r\nx: 1\r\nx: 2\r\n";
        let map = read(&Bytes::from_static(lines)).unwrap();
        let told: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            told,
            [("accept", "*/*"), ("x-empty", ""), ("cookie", "a=1; b=\"2: 3\""), ("x", "1"), ("x", "2")]
        );
        assert!(map[COOKIE].is_sensitive() && !map["x"].is_sensitive());
    }
}
