//! Headers on their way to an application: nothing that only Keepgate may say survives from the client,
//! nothing of one hop reaches the next, and no client can nominate our headers away.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::input::Input;
use crate::config;
use crate::edge::forwarding::Forwarding;
use crate::edge::guard::{Client, headers};
use crate::edge::http1::encode::{Ending, write_request};
use crate::edge::proxy::headers::{Said, Told};

/// What no client may set, as prefixes and whole names.
const OURS: [&str; 5] = ["x-auth-", "x-keepgate-", "x-forwarded-", "x-real-ip", "x-request-id"];
const ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "proxy-authorization",
];

/// `edge/guard/headers.rs`, then `edge/proxy/headers.rs`, over header lines.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let believed = input.byte() & 1 == 1;
    let mut headers = HeaderMap::new();
    let (mut bytes, mut lines) = (0, 0);
    while let Some(line) = input.line() {
        let Some((name, value)) = split(line) else { return };
        (bytes, lines) = (bytes + name.as_str().len() + value.len() + 4, lines + 1);
        headers.append(name, value);
    }
    let seen = headers::clean(&mut headers, believed);
    assert_eq!((seen.bytes, seen.lines), (bytes, lines));
    check_clean(&headers, believed, &seen);
    let once = headers.clone();
    headers::clean(&mut headers, believed);
    assert_eq!(once, headers, "cleaning twice is not cleaning once");
    send(headers, &seen);
}

fn split(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let at = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(at);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

fn check_clean(headers: &HeaderMap, believed: bool, seen: &headers::Seen) {
    for name in headers.keys().map(HeaderName::as_str) {
        let kept = believed && matches!(name, "x-forwarded-proto" | "x-forwarded-host");
        let forged = OURS.iter().any(|ours| is_of(name, ours)) && !kept;
        assert!(!forged && name != "forwarded" && !name.contains('_'), "{name} survived");
    }
    let one_hop = headers.keys().any(|name| ONE_HOP.contains(&name.as_str()));
    assert!(seen.hop_by_hop || !one_hop, "a header of this hop went unseen");
    assert!(seen.expects || !headers.contains_key(EXPECT));
}

/// A family of names ends in a hyphen; what does not is one name.
fn is_of(name: &str, ours: &str) -> bool {
    if ours.ends_with('-') { name.starts_with(ours) } else { name == ours }
}

fn send(mut headers: HeaderMap, seen: &headers::Seen) {
    let [address, host, id] = ["203.0.113.9", "app.example", "an-id"].map(HeaderValue::from_static);
    let client = Client {
        address: [203, 0, 113, 9].into(),
        real_ip: address.clone(),
        forwarded_for: address.clone(),
        free_at: 0,
    };
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let te_said = headers.contains_key("te");
    let cookies: Vec<Vec<u8>> = headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec()).collect();
    let forwarding = Forwarding::new(&config::forwarding::Forwarding::default());
    let (host_said, request_id) = (&host, &id);
    let said = Said {
        client: &client,
        host: host_said,
        renamed: None,
        forwarding: &forwarding,
        version: Version::HTTP_11,
        request_id,
        identity: None,
        offer: None,
        authorized_here: false,
    };
    let told = Told::new(&mut headers, seen.hop_by_hop, said);
    let headers = arrives(&told, &headers);
    let ours =
        [("host", &host), ("x-forwarded-for", &address), ("x-real-ip", &address), ("x-request-id", &id)];
    for (name, value) in ours {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    for name in ["x-forwarded-proto", "x-forwarded-host"] {
        assert!(headers.contains_key(name), "{name} was nominated away");
    }
    // What the gate says anew for its own hop (RFC 9110 §10.1.4), and only of a client that said it.
    let takes_trailers = headers.get_all("te").iter().any(|te| te == "trailers");
    assert!(!takes_trailers || te_said, "trailers were asked for by nobody");
    for name in ONE_HOP {
        let anew = match name {
            "te" => vec!["trailers"],
            "connection" => vec!["te"],
            _ => Vec::new(),
        };
        let anew = if takes_trailers { anew } else { Vec::new() };
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), anew, "{name} went on");
    }
    assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(EXPECT));
    let said = |name: &HeaderName| {
        let name = name.as_str();
        ours.iter().any(|(our, _)| name == *our) || name.starts_with("x-forwarded-") || name == "via"
    };
    for name in named.iter().filter(|name| !said(name) && !ONE_HOP.contains(&name.as_str())) {
        assert!(!headers.contains_key(name), "{name} ends here and went on");
    }
    if !named.contains(&COOKIE) {
        check_cookies(&cookies, headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect());
    }
}

/// What an application reads of a request with these headers.
fn arrives(told: &Told, headers: &HeaderMap) -> HeaderMap {
    let mut out = Vec::new();
    let line = (&Method::GET, &Uri::from_static("/"));
    write_request(&mut out, line, Ending::NoBody, |out| told.write(headers, out));
    let mut lines = vec![httparse::EMPTY_HEADER; headers.len() + 16];
    let mut request = httparse::Request::new(&mut lines);
    assert_eq!(request.parse(&out), Ok(httparse::Status::Complete(out.len())));
    request.headers.iter().fold(HeaderMap::new(), |mut headers, line| {
        let value = HeaderValue::from_bytes(line.value).unwrap_or_else(|error| panic!("a value: {error}"));
        let name = HeaderName::from_bytes(line.name.as_bytes());
        headers.append(name.unwrap_or_else(|error| panic!("a name: {error}")), value);
        headers
    })
}

/// Applications get every cookie but Keepgate's own, in order, and in one line; one line without ours as
/// it was.
fn check_cookies(before: &[Vec<u8>], after: Vec<&[u8]>) {
    let pairs = |line: &[u8]| -> Vec<Vec<u8>> {
        let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        pairs.filter(|pair| !pair.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let ours = |pair: &Vec<u8>| pair.starts_with(b"__Host-keepgate-");
    let all: Vec<_> = before.iter().flat_map(|line| pairs(line)).collect();
    let kept: Vec<_> = all.iter().filter(|pair| !ours(pair)).cloned().collect();
    assert!(after.len() <= 1, "{after:?}");
    assert_eq!(after.iter().flat_map(|line| pairs(line)).collect::<Vec<_>>(), kept);
    if let ([line], true) = (before, all.len() == kept.len()) {
        let same = after == [line.as_slice()];
        // Unless something in it looks like one of ours, which costs it its spelling and no more.
        assert!(same || line.windows(16).any(|part| part == b"__Host-keepgate-"), "{line:?}");
    }
}
