//! Banned addresses: the IP blacklist.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// One entry of the blacklist. The network is its identity: banning it again replaces the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// A single address (`/32`, `/128`) or a CIDR block, host bits cleared.
    pub network: IpNet,
    /// Why, in the author's words.
    pub reason: String,
    /// Who added it.
    pub author: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it lapses; `None` stays until removed.
    pub expires_at: Option<Timestamp>,
}

impl Ban {
    /// Whether the ban still holds at `now`.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// An address or a CIDR block in its one normal form: host bits cleared, and IPv4 as IPv4 even if
/// it was written IPv6-mapped, since that is how the edge sees its peers.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    network.map(normalise)
}

fn normalise(network: IpNet) -> IpNet {
    let mapped = |address: Ipv4Addr, length: u8| Ipv4Net::new(address, length).ok();
    let network = match network {
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96))
            .and_then(|(address, length)| mapped(address, length))
            .map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    };
    network.trunc()
}
