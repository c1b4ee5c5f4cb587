//! Networks: the blacklist and the trusted proxies say of every address what a plain list says.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::input::Input;
use crate::config::blacklist;
use crate::edge::guard::address::TrustedProxies;
use crate::edge::guard::blacklist::Blacklist;
use crate::model::ban::Ban;
use crate::model::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_000);

/// Lines `+NETWORK` (ban), `-NETWORK` (lift) and `?ADDRESS` (ask), after one another.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (list, mut plain) = (Blacklist::new(), Vec::<IpNet>::new());
    while let Some(line) = input.line() {
        let Some((verb, text)) = std::str::from_utf8(line).ok().and_then(|line| line.split_at_checked(1))
        else {
            return;
        };
        configured(text);
        match (verb, text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            ("+", Ok(network), _) => {
                let version = list.version();
                list.insert(&ban(network));
                assert!(list.version() > version);
                plain.retain(|known| *known != canonical(network));
                plain.push(canonical(network));
            }
            ("-", Ok(network), _) => {
                list.remove(network);
                plain.retain(|known| *known != canonical(network));
            }
            ("?", _, Ok(address)) => ask(&list, &plain, address),
            _ => return,
        }
        assert_eq!(list.kept(), plain.len(), "after {verb}{text}");
    }
    for network in plain.iter().take(16) {
        let ends = [network.network(), network.broadcast()];
        ends.into_iter().chain(ends.map(beside)).for_each(|address| ask(&list, &plain, address));
    }
}

/// The address that differs in one bit: where networks as long as those of the corpus end.
fn beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::from((v4.to_bits() ^ 1 << 8).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() ^ 1 << 96).to_be_bytes()),
    }
}

/// What the configuration may ban: what was written, in one spelling, and never everybody.
fn configured(text: &str) {
    let Ok(network) = blacklist::network(text) else { return };
    assert!(
        network.prefix_len() > 0 && network == network.trunc() && network == canonical(network),
        "{network}"
    );
    assert_eq!(blacklist::network(&network.to_string()), Ok(network));
}

fn ask(list: &Blacklist, plain: &[IpNet], address: IpAddr) {
    let canonical = address.to_canonical();
    let covered = plain.iter().any(|network| network.contains(&canonical));
    assert_eq!(list.contains(address, NOW), covered, "{address} in {plain:?}");
    assert_eq!(TrustedProxies::new(plain.to_vec()).contains(address), covered, "{address} in {plain:?}");
}

fn ban(network: IpNet) -> Ban {
    let (reason, author) = (String::new(), String::new());
    Ban { network, reason, author, created_at: NOW, expires_at: None }
}

/// A network of mapped IPv4 addresses is the IPv4 network they map; host bits mean nothing.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => {
            v6.network().to_ipv4_mapped().map(|v4| (v4, v6.prefix_len() - 96))
        }
        _ => None,
    };
    mapped.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok()).map_or(network, IpNet::V4).trunc()
}
