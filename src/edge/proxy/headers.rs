//! Headers at the hop: what ends here is dropped, what Keepgate says is set after it, so that no
//! client can nominate our headers away with `Connection` (RFC 9110 §7.6.1).
//!
//! A request's are not put together in a map, which would cost a look-up and a place for each of ours: the client's
//! are written as they are, but for those that ours take the place of, and then ours.

use http::header::{
    CONNECTION, COOKIE, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::Body;
use memchr::memmem;

use crate::edge::forwarding::{Forwarding, Whence};
use crate::edge::guard::Client;
use crate::edge::http1::encode::{Ending, write_line};
use crate::edge::http1::head::says_trailers;
use crate::edge::http1::response::ends_here;
use crate::edge::identity::Identity;

/// `TE: trailers` goes too, and is said anew: `Connection` has to name it over HTTP/1.1 (RFC 9110 §10.1.4).
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
    drop_named(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Drops the headers that `Connection` names, but for those that end here anyway.
fn drop_named(headers: &mut HeaderMap) {
    let members = |line| HeaderValue::as_bytes(line).split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let named = headers.get_all(CONNECTION).iter().flat_map(members);
    let named = named.filter(|name| !ends_here(name) && !name.eq_ignore_ascii_case(b"close"));
    let named: Vec<HeaderName> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named {
        headers.remove(name);
    }
}

/// What Keepgate tells the upstream.
pub struct Said<'a> {
    /// The client.
    pub client: &'a Client,
    /// `Host`, as the client sent it.
    pub host: &'a HeaderValue,
    /// What is said instead of it.
    pub renamed: Option<&'a HeaderValue>,
    /// What it is told of them.
    pub forwarding: &'a Forwarding,
    /// What the client speaks.
    pub version: Version,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// The caller, if somebody.
    pub identity: Option<Identity>,
    /// What is offered to switch to.
    pub offer: Option<&'a HeaderValue>,
    /// Whether the client's `Authorization` was for us, and goes no further.
    pub authorized_here: bool,
}

/// A request's header lines beside those of the client's that go on.
#[derive(Debug)]
pub struct Told {
    host: HeaderValue,
    /// The client's, where it is another one.
    asked: Option<HeaderValue>,
    whence: Whence,
    request_id: HeaderValue,
    identity: Option<Identity>,
    offer: Option<HeaderValue>,
    authorized_here: bool,
    trailers: bool,
}

impl Told {
    /// What is told with these headers of a client's, which lose what only a map can tell: headers that `Connection`
    /// names, and cookies. `hop_by_hop`: the guard saw headers that end here.
    pub fn new(headers: &mut HeaderMap, hop_by_hop: bool, said: Said<'_>) -> Self {
        let trailers = hop_by_hop && headers.get_all(TE).iter().any(|te| says_trailers(te.as_bytes()));
        if hop_by_hop {
            drop_named(headers);
        }
        pass_on_cookies(headers);
        let Said { client, host, renamed, forwarding, version, request_id, identity, offer, authorized_here } =
            said;
        Self {
            host: renamed.unwrap_or(host).clone(),
            asked: renamed.map(|_| host.clone()),
            whence: forwarding.tell(headers, client, host, version),
            request_id: request_id.clone(),
            identity,
            offer: offer.cloned(),
            authorized_here,
            trailers,
        }
    }

    /// Writes all of them, for HTTP/1.1.
    pub fn write(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        write_line(out, b"host", self.host.as_bytes());
        self.write_lasting(headers, out);
        if let Some(offer) = &self.offer {
            out.extend_from_slice(b"connection: upgrade\r\n");
            write_line(out, b"upgrade", offer.as_bytes());
        } else if self.trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
    }

    /// `Host`.
    pub const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Whether the client would see trailers.
    pub const fn takes_trailers(&self) -> bool {
        self.trailers
    }

    /// Writes those that are the same in every version, without the host.
    pub fn write_lasting(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        let host = self.asked.as_ref().unwrap_or(&self.host).as_bytes();
        for (name, value) in headers {
            if !self.replaces(name.as_str()) {
                write_line(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.whence.write(host, out);
        write_line(out, b"x-request-id", self.request_id.as_bytes());
        if let Some(identity) = &self.identity {
            out.extend_from_slice(identity.lines());
        }
    }

    /// Whether a client's header of this name does not go on.
    fn replaces(&self, name: &str) -> bool {
        match name {
            // Framing is written from the parsed body; the 100-continue was ours to answer.
            "host" | "content-length" | "expect" => true,
            "x-request-id" => true,
            "authorization" => self.authorized_here,
            // The guard has deleted them already; they are never anybody else's to say.
            _ => self.whence.replaces(name) || name.starts_with("x-auth-") || ends_here(name.as_bytes()),
        }
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
    use crate::config::forwarding as config;
    use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, VIA};

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
            ("connection", "x-auth-subject, x-forwarded-for, host, x-request-id, keep-alive, x-own"),
            ("x-own", "1"),
            ("host", "app"),
            ("content-length", "9"),
            ("x-auth-roles", "forged"),
            ("authorization", "Bearer x"),
            ("accept", "*/*"),
        ]);
        let host = HeaderValue::from_static("app");
        let id = HeaderValue::from_static("id");
        let offer = HeaderValue::from_static("websocket");
        let told = |authorized_here: bool, headers: &mut HeaderMap| {
            let client = &client();
            let (host, request_id, offer) = (&host, &id, authorized_here.then_some(&offer));
            let (forwarding, version) = (&Forwarding::new(&config::Forwarding::default()), Version::HTTP_11);
            let said = Said {
                client,
                host,
                renamed: None,
                forwarding,
                version,
                request_id,
                identity: None,
                offer,
                authorized_here,
            };
            let mut out = Vec::new();
            Told::new(headers, true, said).write(headers, &mut out);
            String::from_utf8(out).unwrap()
        };
        let ours = "x-forwarded-for: 203.0.113.9\r\nx-real-ip: 203.0.113.9\r\nx-forwarded-proto: https\r\n\
            x-forwarded-host: app\r\nvia: 1.1 keepgate\r\nx-request-id: id\r\n";
        assert_eq!(
            told(true, &mut headers.clone()),
            format!("host: app\r\naccept: */*\r\n{ours}connection: upgrade\r\nupgrade: websocket\r\n")
        );
        let passed_on = told(false, &mut headers);
        assert_eq!(passed_on, format!("host: app\r\nauthorization: Bearer x\r\naccept: */*\r\n{ours}"));
    }

    #[test]
    fn what_ends_here_is_left_out_of_answers_too() {
        assert!(HOP_BY_HOP.iter().all(|name| ends_here(name.as_str().to_ascii_uppercase().as_bytes())));
        let goes_on = [CONTENT_LENGTH, COOKIE, EXPECT, HOST, AUTHORIZATION, FORWARDED, VIA];
        assert!(!goes_on.iter().any(|name| ends_here(name.as_str().as_bytes())));
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
