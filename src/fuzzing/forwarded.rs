//! `X-Forwarded-For`: nobody but a trusted hop is believed, and the walk stops where trust does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::input::Input;
use crate::edge::guard::address::{FORWARDED_FOR, TrustedProxies, behind_proxy};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Sets of trusted proxies; the peer is in each.
const TRUSTED: [&[&str]; 4] = [
    &["10.0.0.1/32"],
    &["10.0.0.0/8", "::1/128"],
    &["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"],
    &["0.0.0.0/0", "::/0"],
];

/// `edge/guard/address.rs` over lines of the header.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let nets = TRUSTED.iter().cycle().nth(usize::from(input.byte() % 4)).copied().unwrap_or_default();
    let trusted = TrustedProxies::new(nets.iter().filter_map(|net| net.parse::<IpNet>().ok()).collect());
    let mut headers = HeaderMap::new();
    let mut elements = Vec::new();
    while let Some(line) = input.line() {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        elements.extend(line.split(|byte| *byte == b','));
        headers.append(FORWARDED_FOR, value);
    }
    let (client, chain) = behind_proxy(&headers, PEER, &trusted);
    let chain = chain.to_str().unwrap_or_default();
    let mut hops: Vec<IpAddr> = chain.split(", ").filter_map(|hop| hop.parse().ok()).collect();
    assert_eq!(hops.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "), chain);
    assert_eq!((hops.first(), hops.last()), (Some(&client), Some(&PEER)), "{chain}");
    hops.reverse();
    let (reported, walked) = (hops.get(1..).unwrap_or_default(), hops.len() - 1);
    for (hop, element) in reported.iter().zip(elements.iter().rev()) {
        assert_eq!(address(element), Some(*hop), "{chain}: not what was reported");
    }
    for hop in hops.iter().take(walked) {
        assert!(trusted.contains(*hop), "{chain}: {hop} was believed");
    }
    // It stopped for a reason: at the client, at the end, or at what is no address.
    let next = elements.iter().rev().nth(walked);
    let stopped = !trusted.contains(client) || next.is_none_or(|element| address(element).is_none());
    assert!(stopped, "{chain}: the walk ended early");
}

/// An element as RFC-minded proxies write it, read without the parser under test.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = match inside {
        // In brackets anything goes today; what counts is that it is the same address.
        Some((inside, "")) => inside.parse::<IpAddr>().ok(),
        Some(_) => text.parse::<SocketAddr>().ok().map(|at| at.ip()),
        None if text.matches(':').count() == 1 => text.parse::<SocketAddr>().ok().map(|at| at.ip()),
        None => text.parse().ok(),
    }?;
    Some(address.to_canonical())
}
