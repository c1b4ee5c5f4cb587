//! Who the client is, by address: the peer, or, behind trusted proxies, what they say.
//!
//! The trusted set is empty by default, and then no header is believed (oauth2-proxy's
//! CVE-2026-40575 was trusting everybody by default). `X-Forwarded-For` is walked from the right:
//! each trusted hop vouches for the one before it, the first untrusted one is the client, and
//! everything left of that is the client's own invention.

use std::net::{IpAddr, SocketAddr};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// `X-Forwarded-For`
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Peers whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether this network holds one of them, or is part of one.
    pub fn touch(&self, network: &IpNet) -> bool {
        self.0.iter().any(|trusted| overlap(trusted, network))
    }
}

/// Whether one of two networks holds the other.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The client behind a trusted `peer`, and the hops after it (client first, peer last), which is
/// what goes on to the upstream as `X-Forwarded-For`.
///
/// A hop that is no address ends the walk: the proxy that reported it is the last known place.
pub fn behind_proxy(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> (IpAddr, HeaderValue) {
    let mut hops = vec![peer];
    let lines: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).iter().collect();
    let reported = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in reported {
        let Some(address) = parse_hop(hop) else { break };
        hops.push(address);
        if !trusted.contains(address) {
            break;
        }
    }
    let client = hops.last().copied().unwrap_or(peer);
    let chain: Vec<String> = hops.iter().rev().map(IpAddr::to_string).collect();
    let header = HeaderValue::try_from(chain.join(", "));
    (client, header.unwrap_or_else(|_| HeaderValue::from_static("")))
}

/// One element of `X-Forwarded-For`: an address, perhaps with a port, perhaps in brackets.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(peer: &str, trusted: &[&str], lines: &[&str]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let (client, chain) = behind_proxy(&headers, peer.parse().unwrap(), &trusted);
        (client.to_string(), chain.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let (client, chain) =
            walk("10.0.0.1", &["10.0.0.0/8"], &["6.6.6.6, 203.0.113.9, 10.0.0.7", "10.0.0.3"]);
        assert_eq!(client, "203.0.113.9");
        assert_eq!(chain, "203.0.113.9, 10.0.0.7, 10.0.0.3, 10.0.0.1");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_hop_that_reported_it() {
        let (client, chain) = walk("10.0.0.1", &["10.0.0.0/8"], &["203.0.113.9, unknown, 10.0.0.2"]);
        assert_eq!(client, "10.0.0.2");
        assert_eq!(chain, "10.0.0.2, 10.0.0.1");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        let trusted = &["10.0.0.0/8"];
        assert_eq!(walk("10.0.0.1", trusted, &["203.0.113.9:4711"]).0, "203.0.113.9");
        assert_eq!(walk("10.0.0.1", trusted, &["[2001:db8::1]:4711"]).0, "2001:db8::1");
        assert_eq!(walk("10.0.0.1", trusted, &["[2001:db8::1]"]).0, "2001:db8::1");
        assert_eq!(walk("10.0.0.1", trusted, &["203.0.113.9, ::ffff:10.0.0.2"]).0, "203.0.113.9");
    }

    #[test]
    fn with_only_trusted_hops_the_farthest_is_the_client() {
        assert_eq!(walk("10.0.0.1", &["10.0.0.0/8"], &["10.0.0.9, 10.0.0.8"]).0, "10.0.0.9");
        assert_eq!(walk("10.0.0.1", &["10.0.0.0/8"], &[]).0, "10.0.0.1");
    }

    #[test]
    fn a_network_touches_those_in_it_and_those_around_it() {
        let trusted = ["10.0.0.0/8", "2001:db8::1/128"].map(|text| text.parse().unwrap()).to_vec();
        let touch = |text: &str| TrustedProxies::new(trusted.clone()).touch(&text.parse().unwrap());
        assert!(
            touch("10.1.0.0/16") && touch("0.0.0.0/1") && touch("2001:db8::/64") && touch("2001:db8::1/128")
        );
        assert!(!touch("11.0.0.0/8") && !touch("2001:db8:0:1::/64") && !touch("2001:db8::2/128"));
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }
}
