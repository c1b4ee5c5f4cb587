//! Which host the request is for: one `Host`, well-formed, and no contradiction with the request
//! line (RFC 9112 §3.2, RFC 9113 §8.3.1).

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderValue, Uri, Version};

/// Why the host is refused. The text goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefused {
    /// Neither `Host` nor `:authority`.
    #[error("the request names no host")]
    Missing,
    /// More than one `Host` line.
    #[error("the request has more than one Host header")]
    Several,
    /// Two different hosts.
    #[error("the request line and the Host header name different hosts")]
    Contradiction,
    /// `http:` or anything else where https ends.
    #[error("the request target's scheme must be https")]
    Scheme,
    /// Not `name[:port]`.
    #[error("the Host header is not a host name or address with an optional port")]
    Malformed,
}

/// A request's host, checked.
#[derive(Clone, Debug)]
pub struct Host {
    value: HeaderValue,
    name_length: usize,
}

/// The scheme, where the target names one (RFC 9110 §7.4): whoever asks for a resource of plain http over
/// TLS asks for another one. A trusted proxy says what it was asked for.
pub fn check_scheme(target: &Uri, believed: bool) -> Result<(), HostRefused> {
    let good = |scheme: &Scheme| *scheme == Scheme::HTTPS || (believed && *scheme == Scheme::HTTP);
    if target.scheme().is_none_or(good) { Ok(()) } else { Err(HostRefused::Scheme) }
}

impl Host {
    /// The host of a request.
    pub fn of(parts: &Parts) -> Result<Self, HostRefused> {
        let mut lines = parts.headers.get_all(HOST).iter();
        let header = lines.next();
        if lines.next().is_some() {
            return Err(HostRefused::Several);
        }
        let authority = parts.uri.authority();
        if let (Some(header), Some(authority)) = (header, authority)
            && !header.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        {
            return Err(HostRefused::Contradiction);
        }
        match (header, authority) {
            (Some(header), _) => Self::parse(header.clone()),
            // HTTP/1 wants the header even beside an absolute target.
            (None, Some(authority)) if parts.version == Version::HTTP_2 => {
                Self::parse(HeaderValue::from_str(authority.as_str()).map_err(|_| HostRefused::Malformed)?)
            }
            _ => Err(HostRefused::Missing),
        }
    }

    /// Checks the value of a `Host` header. Upper case becomes lower case.
    pub fn parse(value: HeaderValue) -> Result<Self, HostRefused> {
        let text = value.to_str().map_err(|_| HostRefused::Malformed)?;
        let name_length = checked_name(text).ok_or(HostRefused::Malformed)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let lower =
                HeaderValue::from_str(&text.to_ascii_lowercase()).map_err(|_| HostRefused::Malformed)?;
            return Ok(Self { value: lower, name_length });
        }
        Ok(Self { value, name_length })
    }

    /// The name in lower case, without port, brackets kept, a final dot dropped.
    pub fn name(&self) -> &str {
        let text = self.value.to_str().unwrap_or_default();
        let name = text.get(..self.name_length).unwrap_or_default();
        name.strip_suffix('.').unwrap_or(name)
    }

    /// The whole value, as it goes to the upstream.
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }
}

/// How long the name is, if `text` is `name[:port]`.
fn checked_name(text: &str) -> Option<usize> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (text.get(..address.len() + 2)?, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let good_name = name.starts_with('[')
        || (!name.is_empty()
            && name.len() <= 253
            && !name.starts_with('.')
            && !name.contains("..")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')));
    let good_port = port.is_none_or(|port| {
        port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    (good_name && good_port).then_some(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn host(build: http::request::Builder) -> Result<String, HostRefused> {
        Host::of(&build.body(()).unwrap().into_parts().0).map(|host| host.name().to_owned())
    }

    #[test]
    fn names_are_lower_case_without_port_and_final_dot() {
        let ask = |value: &str| host(Request::get("/").header("host", value));
        assert_eq!(ask("App.Example.COM:8443").unwrap(), "app.example.com");
        assert_eq!(ask("app.example.com.").unwrap(), "app.example.com");
        assert_eq!(ask("[2001:db8::1]:443").unwrap(), "[2001:db8::1]");
        assert_eq!(ask("127.0.0.1").unwrap(), "127.0.0.1");
    }

    #[test]
    fn malformed_hosts_are_refused() {
        for bad in [
            "",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:99999",
            "a:",
            "[::1",
            "[::1]x",
            "a,b",
            "..",
            ".a",
            "a..b",
            "a:1:2",
        ] {
            let answer = host(Request::get("/").header("host", bad));
            assert_eq!(answer, Err(HostRefused::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn none_several_and_contradicting_hosts_are_refused() {
        assert_eq!(host(Request::get("/")), Err(HostRefused::Missing));
        let two = Request::get("/").header("host", "a").header("host", "a");
        assert_eq!(host(two), Err(HostRefused::Several));
        let other = Request::get("http://a/").header("host", "b");
        assert_eq!(host(other), Err(HostRefused::Contradiction));
        assert_eq!(host(Request::get("http://a/")), Err(HostRefused::Missing));
        assert_eq!(host(Request::get("http://A/").header("host", "a")).unwrap(), "a");
    }

    #[test]
    fn https_is_the_only_scheme_but_for_trusted_proxies() {
        let ask = |target: &str, believed| check_scheme(&target.parse().unwrap(), believed);
        for target in ["/", "https://h/", "HTTPS://h/"] {
            assert_eq!(ask(target, false), Ok(()), "{target}");
        }
        assert_eq!(ask("http://h/", false), Err(HostRefused::Scheme));
        assert_eq!(ask("http://h/", true), Ok(()));
        assert_eq!(ask("ftp://h/", true), Err(HostRefused::Scheme));
    }

    #[test]
    fn http2_names_its_host_in_the_authority() {
        let ask = Request::get("https://app.example.com/").version(Version::HTTP_2);
        assert_eq!(host(ask).unwrap(), "app.example.com");
    }
}
