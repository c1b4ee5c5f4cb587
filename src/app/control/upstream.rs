//! Application servers as an operator sees them.

use serde::{Deserialize, Serialize};

use crate::edge::upstream::standing::Standing;

/// A server of an upstream group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamServer {
    /// The group's name.
    pub upstream: String,
    /// As the configuration writes it.
    pub server: String,
    /// Its part of the requests.
    pub weight: u32,
    /// Whether it is asked only when too few others are in service.
    pub backup: bool,
    /// Where it stands, if the configuration says so.
    pub zone: Option<String>,
    /// `up`, `rising` (it is back, and its share grows), `ejected` (its requests failed), `down` (its checks
    /// fail) or `drained`.
    pub health: String,
    /// Requests under way.
    pub in_flight: u32,
    /// RFC 3339; since when it stands so, if that is not since the start.
    pub since: Option<String>,
    /// Why it is not in service; empty if it is.
    pub why: String,
}

impl From<Standing> for UpstreamServer {
    fn from(standing: Standing) -> Self {
        let Standing { upstream, server, weight, backup, zone, in_flight, told, since } = standing;
        Self {
            upstream,
            server,
            weight,
            backup,
            zone,
            health: told.health.word().to_owned(),
            in_flight,
            since: since.map(|at| at.rfc3339()),
            why: told.why,
        }
    }
}
