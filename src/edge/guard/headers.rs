//! What the client's headers may not say, found in one pass over them.
//!
//! Identity headers, forwarding headers and every name that has more than letters, digits and hyphens are
//! deleted whoever sent them, before anything is authenticated: an application that folds `X_Auth_Subject`
//! (WSGI, CGI) or even `X.Auth.Subject` (lighttpd's FastCGI) into `X-Auth-Subject` must never see a forged one
//! (Caddy GHSA-7r4p-vjf4-gxv4). So are those that make some applications take another path than the one that
//! was routed.

use http::HeaderMap;
use http::header::{EXPECT, HeaderName};

/// Names under these prefixes are Keepgate's own to give.
const IDENTITY: [&str; 2] = ["x-auth-", "x-keepgate-"];

/// What the pass saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of all names and values, with the four that separate each line in HTTP/1.
    pub bytes: usize,
    /// Header lines.
    pub lines: usize,
    /// Whether a header is there that ends at the next hop.
    pub hop_by_hop: bool,
    /// Whether there is an `Expect`.
    pub expects: bool,
    /// Whether gates have told that it passed them.
    pub via: bool,
}

/// Deletes what the client may not say. `believed`: the peer is a trusted proxy, whose
/// `X-Forwarded-Proto` and `X-Forwarded-Host` stay.
pub fn clean(headers: &mut HeaderMap, believed: bool) -> Seen {
    let mut seen = Seen::default();
    let mut banned: Vec<HeaderName> = Vec::new();
    let mut last: Option<&HeaderName> = None;
    for (name, value) in headers.iter() {
        seen.lines += 1;
        seen.bytes += name.as_str().len() + value.len() + 4;
        if last == Some(name) {
            continue;
        }
        last = Some(name);
        match kind(name.as_str(), believed) {
            Kind::Banned => banned.push(name.clone()),
            Kind::HopByHop => seen.hop_by_hop = true,
            Kind::Expect => seen.expects = true,
            Kind::Via => seen.via = true,
            Kind::Ordinary => {}
        }
    }
    for name in banned {
        headers.remove(name);
    }
    seen
}

/// Whether a client may say a header of this name, in lower case, and no part of the gate reads it.
pub fn is_ordinary(name: &str) -> bool {
    matches!(kind(name, false), Kind::Ordinary)
}

enum Kind {
    Ordinary,
    Banned,
    HopByHop,
    Expect,
    Via,
}

/// Header names arrive in lower case (`HeaderName` keeps them so).
fn kind(name: &str, believed: bool) -> Kind {
    let bytes = name.as_bytes();
    match bytes.first() {
        _ if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') => Kind::Banned,
        Some(b'x') if IDENTITY.iter().any(|prefix| name.starts_with(prefix)) => Kind::Banned,
        Some(b'x') if matches!(name, "x-forwarded-proto" | "x-forwarded-host") && believed => Kind::Ordinary,
        Some(b'x') if name.starts_with("x-forwarded-") || matches!(name, "x-real-ip" | "x-request-id") => {
            Kind::Banned
        }
        // CVE-2018-14773 and its like: the path by another name.
        Some(b'x') if matches!(name, "x-original-url" | "x-original-uri" | "x-rewrite-url") => Kind::Banned,
        Some(b'f') if name == "forwarded" => Kind::Banned,
        Some(b'c') if name == "connection" => Kind::HopByHop,
        Some(b'k') if name == "keep-alive" => Kind::HopByHop,
        Some(b't') if matches!(name, "te" | "trailer" | "transfer-encoding") => Kind::HopByHop,
        Some(b'u') if name == "upgrade" => Kind::HopByHop,
        Some(b'h') if name == "http2-settings" => Kind::HopByHop,
        Some(b'p') if name.starts_with("proxy-") => Kind::HopByHop,
        Some(b'e') if name == EXPECT.as_str() => Kind::Expect,
        Some(b'v') if name == "via" => Kind::Via,
        _ => Kind::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn identity_and_forwarding_headers_are_deleted_in_every_spelling() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("X-Auth-Subject", "me"),
            ("x-auth-subject", "me again"),
            ("X_Auth_Subject", "me"),
            ("X-Auth_Roles", "admin"),
            ("X-Keepgate-Assertion", "x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-proto", "http"),
            ("X-Real-IP", "1.2.3.4"),
            ("Forwarded", "for=1.2.3.4"),
            ("x-request-id", "x"),
            ("some_header", "x"),
            ("x.auth.subject", "me"),
            ("x-auth~subject", "me"),
            ("X-Original-URL", "/admin"),
            ("x-rewrite-url", "/admin"),
        ]);
        clean(&mut headers, false);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn a_trusted_proxy_keeps_its_say_on_scheme_and_host_but_not_on_identity() {
        let mut headers = map(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-auth-subject", "me"),
        ]);
        clean(&mut headers, true);
        assert_eq!(names(&headers), ["x-forwarded-proto", "x-forwarded-host"]);
    }

    #[test]
    fn the_pass_measures_and_notes() {
        let mut headers = map(&[("connection", "close"), ("expect", "100-continue"), ("a", "b")]);
        let seen = clean(&mut headers, false);
        assert_eq!(
            seen,
            Seen {
                bytes: 10 + 5 + 4 + 6 + 12 + 4 + 6,
                lines: 3,
                hop_by_hop: true,
                expects: true,
                via: false
            }
        );
    }
}
