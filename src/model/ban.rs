//! Banned addresses: the IP blacklist.

use ipnet::IpNet;
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
