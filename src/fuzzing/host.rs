//! Hosts: what is let in is one plain name or address, and `http` reads it the same way.

use http::uri::Authority;
use http::{HeaderValue, Request, Version};

use super::input::Input;
use crate::edge::guard::host::Host;

/// `edge/guard/host.rs` over a request line's target and some `Host` lines.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let uri = input.line().unwrap_or_default();
    let mut request = Request::builder().uri(uri);
    if uri.first() == Some(&b'h') {
        request = request.version(Version::HTTP_2);
    }
    let mut lines = Vec::new();
    while let Some(line) = input.line() {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        lines.push(value.clone());
        request = request.header("host", value);
    }
    let Ok(request) = request.body(()) else { return };
    let (parts, ()) = request.into_parts();
    let Ok(host) = Host::of(&parts) else { return };
    check(&host);
    assert!(lines.len() <= 1, "one of several hosts was chosen");
    let named = parts.uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let asked = lines.first().map(|line| line.as_bytes().to_ascii_lowercase());
    for said in [named.map(String::into_bytes), asked].into_iter().flatten() {
        assert_eq!(host.value().as_bytes(), said, "it is not the host that the request names");
    }
}

fn check(host: &Host) {
    let (name, value) = (host.name(), host.value());
    let text = value.to_str().unwrap_or_default();
    assert!(!name.is_empty() && text.starts_with(name), "{name:?} of {text:?}");
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[]:".contains(&b);
    assert!(name.bytes().all(plain), "{name:?}");
    assert!(name.starts_with('[') || !name.contains([':', '[', ']']), "{name:?}");
    let Ok(again) = Host::parse(value.clone()) else { panic!("{text:?} is refused the second time") };
    assert_eq!((again.name(), again.value()), (name, value));
    // The URI library, which knows nothing of the parser under test, finds the same host and port.
    let Ok(authority) = text.parse::<Authority>() else { panic!("{text:?} is no authority") };
    let theirs = authority.host();
    assert_eq!(theirs.strip_suffix('.').unwrap_or(theirs), name, "{text:?}");
    let port = text.rsplit_once(':').filter(|_| !text.ends_with(']')).map(|(_, port)| port);
    assert_eq!(authority.port_u16().is_some(), port.is_some(), "{text:?}");
}
