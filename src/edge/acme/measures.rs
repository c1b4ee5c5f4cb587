//! What certificates come to, for whoever scrapes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::keeper::Keeper;
use crate::edge::certificates::book::Origin;
use crate::observe::encode::{counters, float, gauges, whole};

/// Asks the keeper when somebody scrapes.
pub struct Measures(pub Arc<Keeper>);

// `Collector` wants it, for a registry's own `Debug`.
impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measures")
    }
}

impl Collector for Measures {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let standing = self.0.standing();
        let help = "When the certificate for a name runs out, since 1970";
        let ends = standing.iter().flat_map(|standing| {
            let end = float(u64::try_from(standing.served.life.until.as_secs()).unwrap_or_default());
            standing.served.names.iter().map(move |name| (name.as_str(), end))
        });
        // One series for each name: two certificates may share some.
        let ends: std::collections::BTreeMap<_, _> = ends.collect();
        gauges(to, ("certificate_expiry_timestamp_seconds", help, "name"), ends)?;
        let standing_in = standing.iter().filter(|standing| standing.served.origin == Origin::SelfSigned);
        let help = "Certificates that were not issued yet: self-signed ones are served in their place";
        whole(to, "certificates_self_signed", help, standing_in.count() as u64)?;
        let failing = standing.iter().filter(|standing| !standing.error.is_empty()).count();
        let help = "Certificates whose last order failed";
        whole(to, "certificates_failing", help, failing as u64)?;
        let counts = self.0.counts();
        let totals = [("issued", counts.issued.total()), ("failed", counts.failed.total())];
        let help = "Orders for certificates, by what became of them";
        counters(to, ("certificate_orders", help, "outcome"), totals)
    }
}
