//! Compression of answers on their way out, where the route says so and the client takes it.
//!
//! What must not be: compressed together, a secret and what an attacker has put into the request tell of each other
//! by the answer's length, TLS or not (BREACH, 2013). Whose answers hold secrets the gate cannot know; that
//! somebody in particular asks (a token, a cookie, any `Authorization`) it can, and then an application's answer
//! goes out as it is unless the route says `"always"`. Files of a folder hold nothing of the request.
//!
//! Never compressed: what has a coding, is a part, sets a cookie, forbids it (`no-transform`), is short, is of a
//! kind that gets no smaller, or is a stream of events or records, which would keep an encoder for as long as it is
//! open. What is left is bounded by [`room`].

pub mod body;
pub mod encoder;
pub mod room;

use std::net::IpAddr;
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
use super::representation::drop_digests;
use super::route::Target;
use super::statics::kinds;
use crate::config::content::Compress;

/// What can be produced: of equals the one that gives most for its time.
const OURS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
/// Shorter than this an answer fits a packet anyway.
const LEAST_BYTES: u64 = 1024;

/// What a request on a route that compresses would take.
#[derive(Debug)]
pub struct Wish {
    coding: Option<Coding>,
    /// Its answer may hold a secret: it goes out as it is.
    secret: bool,
    head: bool,
    /// The tags that the client has.
    tags: HeaderMap,
    client: IpAddr,
}

/// What a 304 stands for, where that is known: a file's type and size, and whether it lies there coded.
#[derive(Clone, Copy, Debug)]
pub struct Unsent {
    /// Its type.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// It has a coding of its own.
    pub coded: bool,
}

impl Wish {
    /// Of a request, if its route compresses.
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
        let mut tags = HeaderMap::new();
        for line in headers.get_all(IF_NONE_MATCH) {
            tags.append(IF_NONE_MATCH, line.clone());
        }
        Some(Self {
            coding: Accepted::of(headers).among(OURS).next(),
            secret: is_somebody && !is_file && route.content.compress != Compress::Always,
            head: *vetted.admitted().method() == Method::HEAD,
            tags,
            client: vetted.admitted().client().address,
        })
    }

    /// Compresses an answer, if it is one to be compressed and there is room for another encoder.
    pub fn apply(self, mut response: Response<Outgoing>, room: &Rc<Room>) -> Response<Outgoing> {
        if response.status() == StatusCode::NOT_MODIFIED {
            let unsent = response.extensions_mut().remove();
            self.tell_unsent(response.headers_mut(), unsent);
            return response;
        }
        let size = response.body().size_hint().exact();
        if !is_eligible(response.status(), response.headers(), size, self.head) {
            return response;
        }
        // Also where this client takes no coding, or may not have one: the next may.
        vary(response.headers_mut(), "accept-encoding");
        let Some(coding) = self.coding.filter(|_| !self.secret) else { return response };
        // From here on its tag is weak, room or no room: a 304 later on cannot know how this answer went out.
        weaken(response.headers_mut());
        if self.head {
            // What a GET would be answered with.
            change(response.headers_mut(), coding);
            return response;
        }
        let Some(place) = Room::take(room, self.client) else { return response };
        let (mut parts, body) = response.into_parts();
        let body = match Compressed::new(body, coding, place) {
            Ok(compressed) => {
                change(&mut parts.headers, coding);
                Outgoing::compressed(compressed)
            }
            Err(body) => body,
        };
        Response::from_parts(parts, body)
    }

    /// A 304 says what the 200 in its place would (RFC 9110 §15.4.5): its tag is weak where that one's would be. A
    /// strong one for who holds a coded answer would let a cache join its bytes with a part of the plain ones.
    fn tell_unsent(&self, headers: &mut HeaderMap, unsent: Option<Unsent>) {
        let compressed = match unsent {
            Some(Unsent { coded: true, .. }) => Some(false),
            Some(Unsent { kind, size, .. }) => {
                Some(transforms(headers) && gets_smaller(Some(kind), Some(size)))
            }
            // What an application would have sent, it mostly does not say.
            None => match said(headers, &CONTENT_TYPE) {
                Some(kind) if !kinds::is_compressible(kind) => Some(false),
                _ => None,
            },
        };
        if compressed == Some(false) {
            return;
        }
        vary(headers, "accept-encoding");
        if self.coding.is_none() {
            return;
        }
        let Some(tag) = said(headers, &ETAG) else { return };
        let (weak, strong) = self.holds(tag);
        let weakens = match compressed {
            // Not compressed for this client, but it may hold what was before it had a cookie.
            _ if self.secret => weak && !strong,
            Some(_) => true,
            // The strong tag alone has only who got the answer as it was: too short, or of a kind that stays so.
            None => weak || !strong,
        };
        if weakens {
            weaken(headers);
        }
    }

    /// Whether the client has this tag made weak, and as it is.
    fn holds(&self, tag: &str) -> (bool, bool) {
        let lines = self.tags.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let mut found = (false, false);
        for held in lines.flat_map(|line| line.split(',')).map(str::trim) {
            match held.strip_prefix("W/") {
                Some(held) => found.0 |= held == tag,
                None => found.1 |= held == tag,
            }
        }
        found
    }
}

fn said<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_eligible(status: StatusCode, headers: &HeaderMap, size: Option<u64>, head: bool) -> bool {
    let bare =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if bare || status == StatusCode::PARTIAL_CONTENT || !transforms(headers) {
        return false;
    }
    // Of a HEAD's answer only what it says is known.
    let size = if head { said(headers, &CONTENT_LENGTH).and_then(|size| size.parse().ok()) } else { size };
    gets_smaller(said(headers, &CONTENT_TYPE), size)
}

/// Whether anything in its head speaks against another coding.
fn transforms(headers: &HeaderMap) -> bool {
    let no_transform = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-transform"))
    };
    let bound = [CONTENT_ENCODING, CONTENT_RANGE, SET_COOKIE].iter().any(|name| headers.contains_key(name));
    !bound && !headers.get_all(CACHE_CONTROL).iter().any(no_transform)
}

/// Whether a body of this type and size is worth it. One of records whose end nobody knows goes on for hours, and
/// would keep its encoder for as long.
fn gets_smaller(kind: Option<&str>, size: Option<u64>) -> bool {
    kind.is_some_and(|kind| {
        kinds::is_compressible(kind)
            && size.map_or_else(|| !kinds::is_stream(kind), |size| size >= LEAST_BYTES)
    })
}

/// The head of the coded answer, of which there are no ranges.
fn change(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    drop_digests(headers);
}

/// The same in meaning, not in bytes (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let tag = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = tag.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(Ok(weak)) = weak.map(|weak| HeaderValue::from_bytes(&weak)) {
        headers.insert(ETAG, weak);
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
        weaken(&mut changed);
        assert!(changed[ETAG] == "W/\"a\"" && changed[CONTENT_ENCODING] == "zstd");
        assert!(!changed.contains_key(CONTENT_LENGTH) && !changed.contains_key(ACCEPT_RANGES));
        let mut weak = headers(&[(ETAG, "W/\"a\"")]);
        weaken(&mut weak);
        assert_eq!(weak[ETAG], "W/\"a\"");
    }

    #[test]
    fn a_tag_tells_nothing_of_whether_there_was_room_and_without_it_the_answer_is_whole() {
        let room = Rc::new(Room::default());
        let client = IpAddr::from([192, 0, 2, 1]);
        let (mut kept, mut codings) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let mut response = Response::new(Outgoing::full(vec![b'x'; 5000].into()));
            *response.headers_mut() = headers(&[(ETAG, "\"a\""), (ACCEPT_RANGES, "bytes")]);
            let tags = HeaderMap::new();
            let wish = Wish { coding: Some(Coding::Gzip), secret: false, head: false, tags, client };
            let answer = wish.apply(response, &room);
            assert_eq!(answer.headers()[ETAG], "W/\"a\"");
            let coded = answer.headers().contains_key(CONTENT_ENCODING);
            assert_eq!(answer.body().size_hint().exact(), (!coded).then_some(5000));
            codings.push(coded);
            kept.push(answer);
        }
        assert!(codings[0] && !codings[39]);
    }
}
