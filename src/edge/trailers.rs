//! Trailers: what may follow a body, whichever protocol it comes over (RFC 9110 §6.5).
//!
//! Whoever reads a message may have acted on its head long before, or may add its trailers to its headers
//! afterwards. So whatever says how a message is framed, routed, authenticated or to be read goes no further in a
//! trailer (§6.5.1), and nothing at all that only the gate may say.

use http::HeaderMap;
use http::header::HeaderName;

use super::guard::headers;
use super::http1::response::ends_here;

/// Most trailers of one message.
pub const MOST_LINES: usize = 100;
/// Most bytes of them.
pub const MOST_BYTES: usize = 16 * 1024;

/// Those of a request's that go on to an application.
pub fn of_request(trailers: HeaderMap) -> Option<HeaderMap> {
    keep(trailers, |name| headers::is_ordinary(name) && may_trail(name))
}

/// Those of an answer's that go on to a client.
pub fn of_answer(trailers: HeaderMap) -> Option<HeaderMap> {
    keep(trailers, may_trail)
}

/// Whether there are no more of them than there may be.
pub fn fit(trailers: &HeaderMap) -> bool {
    let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    trailers.len() <= MOST_LINES && bytes <= MOST_BYTES
}

fn keep(mut trailers: HeaderMap, may: impl Fn(&str) -> bool) -> Option<HeaderMap> {
    let names = trailers.keys().filter(|name| !may(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

/// Whether a field of this name, in lower case, means something to whoever reads it after the body, and nothing
/// that should have been known before.
fn may_trail(name: &str) -> bool {
    let under = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    // RFC 9530 §2: a digest is what trailers are good for.
    if under(&["content-"]) {
        return name == "content-digest";
    }
    let prefixes =
        ["if-", "accept", "access-control-", "proxy-", "sec-", "x-auth-", "x-forwarded-", "x-keepgate-"];
    if under(&prefixes) || ends_here(name.as_bytes()) {
        return false;
    }
    !matches!(
        name,
        "age"
            | "allow"
            | "alt-svc"
            | "authorization"
            | "cache-control"
            | "clear-site-data"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "location"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "range"
            | "refresh"
            | "retry-after"
            | "set-cookie"
            | "status"
            | "strict-transport-security"
            | "vary"
            | "via"
            | "warning"
            | "www-authenticate"
            | "x-content-type-options"
            | "x-frame-options"
            | "x-http-method-override"
            | "x-real-ip"
            | "x-request-id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(names: &[&str]) -> HeaderMap {
        names.iter().fold(HeaderMap::new(), |mut map, name| {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_static("x"));
            map
        })
    }

    fn names(trailers: Option<HeaderMap>) -> Vec<String> {
        trailers.iter().flat_map(HeaderMap::keys).map(ToString::to_string).collect()
    }

    #[test]
    fn what_had_to_be_known_before_the_body_is_dropped_whoever_says_it() {
        let late = map(&[
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Proxy-Authorization",
            "Authorization",
            "WWW-Authenticate",
            "Cookie",
            "Set-Cookie",
            "Content-Type",
            "Content-Encoding",
            "Content-Range",
            "Content-Security-Policy",
            "Cache-Control",
            "Expect",
            "Range",
            "If-Match",
            "If-None-Match",
            "Location",
            "Retry-After",
            "Vary",
            "Date",
            "Age",
            "Accept-Encoding",
            "Access-Control-Allow-Origin",
            "Strict-Transport-Security",
            "X-Request-Id",
            "X-Auth-Subject",
            "X-Forwarded-For",
            "X-Real-IP",
            "Forwarded",
            "Via",
            "HTTP2-Settings",
            "Sec-WebSocket-Accept",
        ]);
        assert_eq!(of_answer(late.clone()), None);
        assert_eq!(of_request(late), None);
    }

    #[test]
    fn what_means_something_after_the_body_goes_on() {
        let useful =
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "content-digest", "x-sum"];
        assert_eq!(names(of_answer(map(&useful))), useful);
        assert_eq!(names(of_request(map(&useful))), useful);
    }

    #[test]
    fn a_client_cannot_say_in_a_trailer_what_it_may_not_say_in_a_header() {
        let forged = [
            "x_auth_subject",
            "x.auth.subject",
            "x-auth~subject",
            "x-keepgate-assertion",
            "x-original-url",
            "some_name",
        ];
        assert_eq!(of_request(map(&forged)), None);
        // gRPC takes such names for metadata, and what an application says is its own.
        assert_eq!(names(of_answer(map(&["some_name", "some.name"]))), ["some_name", "some.name"]);
    }

    #[test]
    fn trailers_are_bounded_by_number_and_size() {
        let mut many = HeaderMap::new();
        (0..MOST_LINES).for_each(|_| _ = many.append("x", HeaderValue::from_static("y")));
        assert!(fit(&many));
        many.append("x", HeaderValue::from_static("y"));
        assert!(!fit(&many));
        let long = HeaderValue::try_from("y".repeat(MOST_BYTES)).unwrap();
        assert!(!fit(&HeaderMap::from_iter([(HeaderName::from_static("x"), long)])));
    }
}
