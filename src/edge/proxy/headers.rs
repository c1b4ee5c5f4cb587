//! Headers at the hop: what ends here is dropped, what Keepgate says is set after it, so that no
//! client can nominate our headers away with `Connection` (RFC 9110 §7.6.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::Body;
use memchr::memmem;

use crate::edge::forwarding::Forwarding;
use crate::edge::guard::Client;
use crate::edge::http1::encode::Ending;
use crate::edge::identity::Identity;
use crate::edge::respond::REQUEST_ID;

/// `TE: trailers` goes too: the next hop is HTTP/1.1, where trailers need more than that.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Drops every header that ends at this hop, and those that `Connection` names.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // Framing is written anew from the body; `close` and `keep-alive` name no header.
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What Keepgate tells the upstream.
pub struct Said<'a> {
    /// The client.
    pub client: &'a Client,
    /// `Host`, as the client sent it.
    pub host: &'a HeaderValue,
    /// What it is told of them.
    pub forwarding: &'a Forwarding,
    /// What the client speaks.
    pub version: Version,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// The caller, if somebody.
    pub identity: Option<&'a Identity>,
}

/// Makes the client's headers the upstream's. `hop_by_hop`: the guard saw headers that end here.
pub fn for_upstream(headers: &mut HeaderMap, hop_by_hop: bool, said: &Said<'_>) {
    if hop_by_hop {
        drop_hop_by_hop(headers);
    }
    // Framing is written from the parsed body; the 100-continue was ours to answer.
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
    pass_on_cookies(headers);
    headers.insert(HOST, said.host.clone());
    said.forwarding.write(headers, said.client, said.host, said.version);
    headers.insert(REQUEST_ID, said.request_id.clone());
    if let Some(identity) = said.identity {
        identity.write(headers);
    }
}

/// How a request's body ends, and what is said of it: of none only where one is expected (RFC 9110 §8.6).
pub fn ending(method: &Method, body: &impl Body) -> Ending {
    if !body.is_end_stream() {
        return body.size_hint().exact().map_or(Ending::Chunked, Ending::Exact);
    }
    match *method {
        Method::POST | Method::PUT | Method::PATCH => Ending::Exact(0),
        _ => Ending::NoBody,
    }
}

/// What the names of Keepgate's own cookies begin with: they are no application's business.
const OWN_COOKIES: &[u8] = b"__Host-keepgate-";

/// HTTP/2 may split cookies over lines, HTTP/1.1 may not (RFC 9113 §8.2.3). Ours stay here.
fn pass_on_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (first, more) = (lines.next(), lines.next().is_some());
    let ours = |line: &HeaderValue| memmem::find(line.as_bytes(), OWN_COOKIES).is_some();
    if !more && !first.is_some_and(ours) {
        return;
    }
    let cookies = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let cookies = cookies.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.starts_with(OWN_COOKIES));
    let cookies: Vec<&[u8]> = cookies.filter(|cookie| !cookie.is_empty()).collect();
    match HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        Ok(joined) if !cookies.is_empty() => _ = headers.insert(COOKIE, joined),
        _ => _ = headers.remove(COOKIE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http1::response::ends_here;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            map
        })
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn client() -> Client {
        let header = HeaderValue::from_static("203.0.113.9");
        let address = "203.0.113.9".parse().unwrap();
        Client { address, real_ip: header.clone(), forwarded_for: header, free_at: 0 }
    }

    #[test]
    fn what_ends_here_is_dropped_with_what_connection_names() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", " x-other ,, bad name"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("accept", "*/*"),
        ]);
        drop_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn a_client_cannot_nominate_our_headers_away() {
        let mut headers = map(&[
            ("connection", "x-auth-subject, x-forwarded-for, host, x-request-id"),
            ("host", "app"),
            ("content-length", "9"),
        ]);
        let host = HeaderValue::from_static("app");
        let id = HeaderValue::from_static("id");
        let forwarding = Forwarding::new(&crate::config::forwarding::Forwarding::default());
        let (client, version) = (client(), Version::HTTP_11);
        let said = Said {
            client: &client,
            host: &host,
            forwarding: &forwarding,
            version,
            request_id: &id,
            identity: None,
        };
        for_upstream(&mut headers, true, &said);
        assert_eq!(
            names(&headers),
            [
                "host",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-real-ip",
                "x-request-id"
            ]
        );
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9");
    }

    #[test]
    fn what_ends_here_is_left_out_of_answers_too() {
        assert!(HOP_BY_HOP.iter().all(|name| ends_here(name.as_str().to_ascii_uppercase().as_bytes())));
        let goes_on = [CONTENT_LENGTH, COOKIE, EXPECT, HOST, REQUEST_ID];
        assert!(!goes_on.iter().any(|name| ends_here(name.as_str().as_bytes())));
        assert!(!ends_here(b"x-forwarded-for") && !ends_here(b"via"));
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        pass_on_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn our_own_cookies_stay_here_and_the_rest_goes_on_as_it_was() {
        for (lines, passed_on) in [
            (vec!["a=1;b=2; c=\"x\" "], Some("a=1;b=2; c=\"x\" ")),
            (
                vec!["a=1; __Host-keepgate-device=x; b=__Host-keepgate-device"],
                Some("a=1; b=__Host-keepgate-device"),
            ),
            (vec!["__Host-keepgate-device=x", "a=1"], Some("a=1")),
            (vec!["__Host-keepgate-device=x"], None),
            (vec!["__Host-keepgate-device=x;", " ;__Host-keepgate-other=y"], None),
        ] {
            let mut headers = HeaderMap::new();
            lines.iter().for_each(|line| _ = headers.append(COOKIE, HeaderValue::from_static(line)));
            pass_on_cookies(&mut headers);
            let got: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(got, passed_on.into_iter().collect::<Vec<_>>(), "{lines:?}");
        }
    }
}
