//! Compression of answers on their way out, where the route says so and the client takes it.
//!
//! What must not be: compressed together, a secret and what an attacker has put into the request tell of each other
//! by the answer's length, TLS or not (BREACH, 2013). Whose answers hold secrets the gate cannot know; that
//! somebody in particular asks (a token, a cookie, any `Authorization`) it can, and then an application's answer
//! goes out as it is unless the route says `"always"`. Files of a folder hold nothing of the request.
//!
//! Never compressed: what has a coding, is a part, sets a cookie, forbids it (`no-transform`), is short, is of a
//! kind that gets no smaller, or is a stream of events, which would keep an encoder for as long as it is open.

pub mod body;
pub mod encoder;
pub mod room;

use std::rc::Rc;

use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, ETAG, HeaderName, IF_NONE_MATCH, SET_COOKIE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;

use self::body::Compressed;
use self::room::Room;
use super::authenticate::{Vetted, Who};
use super::body::Outgoing;
use super::codings::{Accepted, Coding, vary};
use super::route::Target;
use super::statics::kinds;
use crate::config::content::Compress;

/// What can be produced: of equals the one that gives most for its time.
const OURS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
/// Shorter than this an answer fits a packet anyway.
const LEAST_BYTES: u64 = 1024;

/// What a request whose answer may be compressed would take.
#[derive(Debug)]
pub struct Wish {
    coding: Option<Coding>,
    head: bool,
    /// The tags that the client has, to find those again that were made weak.
    tags: Option<HeaderValue>,
}

impl Wish {
    /// Of a request, if its route compresses and nothing speaks against it.
    pub fn of(vetted: &Vetted) -> Option<Self> {
        let route = vetted.route();
        if route.content.compress == Compress::Off {
            return None;
        }
        let headers = vetted.admitted().headers();
        let is_file = matches!(route.target, Target::Files(_));
        let is_somebody = matches!(vetted.who(), Who::Authenticated(_))
            || headers.contains_key(COOKIE)
            || headers.contains_key(AUTHORIZATION);
        if is_somebody && !is_file && route.content.compress != Compress::Always {
            return None;
        }
        Some(Self {
            coding: Accepted::of(headers).among(OURS).next(),
            head: *vetted.admitted().method() == Method::HEAD,
            tags: headers.get(IF_NONE_MATCH).cloned(),
        })
    }

    /// Compresses an answer, if it is one to be compressed and there is room for another encoder.
    pub fn apply(self, mut response: Response<Outgoing>, room: &Rc<Room>) -> Response<Outgoing> {
        if response.status() == StatusCode::NOT_MODIFIED {
            self.weaken_known(response.headers_mut());
            return response;
        }
        if !is_eligible(response.status(), response.headers(), response.body().size_hint().exact(), self.head)
        {
            return response;
        }
        // Also where this client takes no coding: the next may.
        vary(response.headers_mut(), "accept-encoding");
        let Some(coding) = self.coding else { return response };
        if self.head {
            // What a GET would be answered with.
            change(response.headers_mut(), coding);
            return response;
        }
        let Some(place) = Room::take(room) else { return response };
        change(response.headers_mut(), coding);
        response.map(|body| match Compressed::new(body, coding, place) {
            Ok(compressed) => Outgoing::compressed(compressed),
            Err(body) => body,
        })
    }

    /// A 304 has the tag of the answer that the client has, which was made weak when it was compressed.
    fn weaken_known(&self, headers: &mut HeaderMap) {
        let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()) else { return };
        let weak = format!("W/{tag}");
        let known = self.tags.as_ref().and_then(|tags| tags.to_str().ok());
        let has = known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == weak));
        if has && let Ok(weak) = HeaderValue::try_from(weak) {
            headers.insert(ETAG, weak);
        }
    }
}

fn is_eligible(status: StatusCode, headers: &HeaderMap, size: Option<u64>, head: bool) -> bool {
    let bare =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if bare || status == StatusCode::PARTIAL_CONTENT {
        return false;
    }
    if [CONTENT_ENCODING, CONTENT_RANGE, SET_COOKIE].iter().any(|name| headers.contains_key(name)) {
        return false;
    }
    let no_transform = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-transform"))
    };
    if headers.get_all(CACHE_CONTROL).iter().any(no_transform) {
        return false;
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // Of a HEAD's answer only what it says is known.
    let size = if head { text(CONTENT_LENGTH).and_then(|size| size.parse().ok()) } else { size };
    size.is_none_or(|size| size >= LEAST_BYTES) && text(CONTENT_TYPE).is_some_and(kinds::is_compressible)
}

/// The head of the coded answer. Its tag is weak: the same in meaning, not in bytes (RFC 9110 §8.8.1); and so there
/// are no ranges of it.
fn change(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    drop_digests(headers);
    let tag = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = tag.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(Ok(weak)) = weak.map(|weak| HeaderValue::from_bytes(&weak)) {
        headers.insert(ETAG, weak);
    }
}

/// Those of the bytes that the application sent; also where they come after the body.
fn drop_digests(fields: &mut HeaderMap) {
    for digest in ["content-digest", "repr-digest", "digest", "content-md5"] {
        fields.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        for (name, value) in lines {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_what_may_be_and_gets_smaller_is_compressed() {
        let ok = StatusCode::OK;
        for (status, lines, size, eligible) in [
            (ok, &[][..], Some(1024), true),
            (ok, &[], None, true),
            (StatusCode::NOT_FOUND, &[], Some(5000), true),
            (ok, &[(CACHE_CONTROL, "public, max-age=1")], None, true),
            (ok, &[], Some(1023), false),
            (ok, &[(CONTENT_TYPE, "image/png")], None, false),
            (ok, &[(CONTENT_TYPE, "text/event-stream")], None, false),
            (ok, &[(CONTENT_ENCODING, "gzip")], None, false),
            (ok, &[(CONTENT_ENCODING, "identity")], None, false),
            (ok, &[(CACHE_CONTROL, "public, No-Transform")], None, false),
            (ok, &[(SET_COOKIE, "a=b")], None, false),
            (ok, &[(CONTENT_RANGE, "bytes 0-1/2")], None, false),
            (StatusCode::PARTIAL_CONTENT, &[], None, false),
            (StatusCode::NO_CONTENT, &[], None, false),
            (StatusCode::SWITCHING_PROTOCOLS, &[], None, false),
        ] {
            assert_eq!(
                is_eligible(status, &headers(lines), size, false),
                eligible,
                "{status} {lines:?} {size:?}"
            );
        }
        assert!(is_eligible(ok, &headers(&[(CONTENT_LENGTH, "5000")]), Some(0), true));
        assert!(!is_eligible(ok, &headers(&[(CONTENT_LENGTH, "5")]), Some(0), true));
        assert!(!is_eligible(ok, &HeaderMap::new(), None, false), "of no known type");
    }

    #[test]
    fn the_head_says_what_the_body_is() {
        let lines = [(ETAG, "\"a\""), (CONTENT_LENGTH, "5000"), (ACCEPT_RANGES, "bytes")];
        let mut changed = headers(&lines);
        change(&mut changed, Coding::Zstd);
        assert!(changed[ETAG] == "W/\"a\"" && changed[CONTENT_ENCODING] == "zstd");
        assert!(!changed.contains_key(CONTENT_LENGTH) && !changed.contains_key(ACCEPT_RANGES));
        let mut weak = headers(&[(ETAG, "W/\"a\"")]);
        change(&mut weak, Coding::Gzip);
        assert_eq!(weak[ETAG], "W/\"a\"");
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_has() {
        for (known, tag) in [
            (Some("W/\"a\""), "W/\"a\""),
            (Some("\"b\", W/\"a\""), "W/\"a\""),
            (Some("\"a\""), "\"a\""),
            (None, "\"a\""),
        ] {
            let tags = known.map(HeaderValue::from_static);
            let mut found = headers(&[(ETAG, "\"a\"")]);
            Wish { coding: None, head: false, tags }.weaken_known(&mut found);
            assert_eq!(found[ETAG], tag, "{known:?}");
        }
    }
}
