//! What the client's headers may not say, found in one pass over them.
//!
//! Identity headers, forwarding headers and every name with an underscore are deleted whoever sent
//! them, before anything is authenticated: an application that folds `X_Auth_Subject` into
//! `X-Auth-Subject` (CGI, WSGI) must never see a forged one (Caddy GHSA-7r4p-vjf4-gxv4).

use http::header::{CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

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
            Kind::Ordinary => {}
        }
    }
    for name in banned {
        headers.remove(name);
    }
    seen
}

enum Kind {
    Ordinary,
    Banned,
    HopByHop,
    Expect,
}

/// Header names arrive in lower case (`HeaderName` keeps them so).
fn kind(name: &str, believed: bool) -> Kind {
    let bytes = name.as_bytes();
    match bytes.first() {
        _ if bytes.contains(&b'_') => Kind::Banned,
        Some(b'x') if IDENTITY.iter().any(|prefix| name.starts_with(prefix)) => Kind::Banned,
        Some(b'x') if matches!(name, "x-forwarded-proto" | "x-forwarded-host") && believed => Kind::Ordinary,
        Some(b'x') if name.starts_with("x-forwarded-") || matches!(name, "x-real-ip" | "x-request-id") => {
            Kind::Banned
        }
        Some(b'f') if name == "forwarded" => Kind::Banned,
        Some(b'c') if name == "connection" => Kind::HopByHop,
        Some(b'k') if name == "keep-alive" => Kind::HopByHop,
        Some(b't') if matches!(name, "te" | "trailer" | "transfer-encoding") => Kind::HopByHop,
        Some(b'u') if name == "upgrade" => Kind::HopByHop,
        Some(b'p') if name.starts_with("proxy-") => Kind::HopByHop,
        Some(b'e') if name == EXPECT.as_str() => Kind::Expect,
        _ => Kind::Ordinary,
    }
}

/// Why the framing is refused. The text goes to the client; the connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingRefused {
    /// RFC 9112 §6.1: the classic of request smuggling.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Both,
    /// More than one, or other than exactly `chunked`.
    #[error("the only transfer coding accepted is one 'chunked'")]
    Coding,
    /// Lists, signs, several lines.
    #[error("Content-Length must be one plain number")]
    Length,
    /// `Upgrade: h2c` (RFC 9113 §3.1 withdrew it; it tunnels past proxies).
    #[error("upgrading to h2c is not supported")]
    H2c,
}

/// Refuses contradictions in the framing of an HTTP/1 request: reject, do not repair (RFC 9112
/// §6.3). What hyper has already repaired (a `Content-Length` after `Transfer-Encoding`, a second
/// equal one) cannot be seen here; that needs the check in front of the parser.
pub fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), FramingRefused> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter();
    let plain =
        |digits: &[u8]| !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    let mut count = 0;
    for length in lengths {
        count += 1;
        if count > 1 || !plain(length.as_bytes()) {
            return Err(FramingRefused::Length);
        }
    }
    if version == Version::HTTP_2 {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if count > 0 {
            return Err(FramingRefused::Both);
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(FramingRefused::Coding);
        }
    }
    let h2c = |value: &http::HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"h2c");
    if headers.get_all(http::header::UPGRADE).iter().any(h2c) {
        return Err(FramingRefused::H2c);
    }
    Ok(())
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
            Seen { bytes: 10 + 5 + 4 + 6 + 12 + 4 + 6, lines: 3, hop_by_hop: true, expects: true }
        );
    }

    #[test]
    fn contradictory_framing_is_refused() {
        let check = |pairs: &[(&'static str, &'static str)]| check_framing(Version::HTTP_11, &map(pairs));
        assert_eq!(check(&[("content-length", "3")]), Ok(()));
        assert_eq!(check(&[("transfer-encoding", "Chunked")]), Ok(()));
        assert_eq!(
            check(&[("content-length", "3"), ("transfer-encoding", "chunked")]),
            Err(FramingRefused::Both)
        );
        for bad in ["gzip, chunked", "chunked, chunked", "identity", "\u{b}chunked"] {
            let headers = [("transfer-encoding", bad)];
            if HeaderValue::from_str(bad).is_ok() {
                assert_eq!(check(&headers), Err(FramingRefused::Coding), "{bad}");
            }
        }
        for bad in ["+3", "3, 3", "0x3", "", "-1", "99999999999999999999"] {
            assert_eq!(check(&[("content-length", bad)]), Err(FramingRefused::Length), "{bad}");
        }
        assert_eq!(check(&[("content-length", "3"), ("content-length", "3")]), Err(FramingRefused::Length));
        assert_eq!(check(&[("upgrade", "h2c")]), Err(FramingRefused::H2c));
    }
}
