//! What becomes of a request that a filter stops: its answer, its place in the audit trail, and, where it is an
//! offence, its address's next step on the ladder.
//!
//! An offence is only ever the client's whose connection it is, or whom a trusted proxy names: no header that a
//! client writes can have another banned. Nor can a page that a person looks at have that person banned: what a browser
//! says was asked for by another site is refused, and is no offence.

use std::net::{IpAddr, Ipv6Addr};

use http::StatusCode;
use http::header::HeaderName;

use super::{Caught, Filters};
use crate::config::filter::Action;
use crate::edge::Pipeline;
use crate::edge::decisions::Denied;
use crate::edge::guard::address::overlap;
use crate::edge::guard::ladder::network_of;
use crate::edge::guard::{self, Admitted};
use crate::edge::plan::Plan;
use crate::edge::respond::Refused;
use crate::edge::route;
use crate::model::time::Timestamp;
use crate::observe::metrics::Denial;

/// Written by browsers alone: no page can set it (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Pipeline {
    /// The answer to a request that a filter has caught.
    pub(in crate::edge) async fn caught(
        &self,
        (plan, filters): (&Plan, &Filters),
        caught: Caught,
        (admitted, now): (&Admitted, Timestamp),
    ) -> Refused {
        let refused = match caught.action {
            Action::NotFound => route::nothing(),
            Action::Refuse | Action::Log | Action::Ban => {
                Refused::new(StatusCode::FORBIDDEN, "filtered", "Forbidden")
                    .detail("requests like this one are not let in")
            }
        };
        let target = format!("filter {}", caught.filter.name()).into();
        let origin = admitted.origin();
        let denied = Denied { origin: origin.clone(), reason: "filtered", target, caller: None };
        self.record(denied).await;
        let address = admitted.client().address;
        let spared = || self.spares((plan, filters), address) || asked_for_by_another_site(admitted);
        if caught.action != Action::Ban || spared() {
            return refused.denial(Denial::Filter);
        }
        let Some(ban) = self.site.blacklist.offend(address, caught.filter.name(), &filters.bans, now) else {
            return refused.denial(Denial::Filter);
        };
        tracing::warn!(
            network = %ban.network,
            filter = &**caught.filter.name(),
            until = ban.until.rfc3339(),
            step = ban.step,
            "an address was banned for its offences"
        );
        let until = ban.until;
        if Box::pin(self.site.decisions.banned(&ban, &origin)).await.is_err() {
            self.counters.audit_failures.up();
        }
        guard::banned(Some(until.since(now)))
    }

    /// Whether nothing that this address does may have it banned: it is one of this node's own surroundings, or
    /// shares the network that would be banned with one.
    fn spares(&self, (plan, filters): (&Plan, &Filters), address: IpAddr) -> bool {
        let Some(network) = network_of(address) else { return true };
        address.is_loopback()
            || network.contains(&IpAddr::from(Ipv6Addr::LOCALHOST))
            || plan.trusted.touch(&network)
            || self.site.proxies.touch(&network)
            || filters.bans.never.iter().any(|never| overlap(never, &network))
    }
}

fn asked_for_by_another_site(admitted: &Admitted) -> bool {
    let mut lines = admitted.headers().get_all(FETCH_SITE).iter();
    lines.any(|line| matches!(line.as_bytes(), b"cross-site" | b"same-site"))
}
