//! The keeper of certificates among the rest of the house: made when the doors open, told of in
//! metrics and `status`.

use std::sync::Arc;

use super::core::Core;
use crate::edge::acme::keeper::{Keeper, Work};
use crate::edge::acme::measures::Measures;
use crate::edge::certificates::book::Origin;
use crate::edge::tls::Terminator;
use crate::observe::metrics::Metrics;

/// Makes the keeper; its work is yet to be run.
pub(in crate::app) fn keeper(core: &Core, terminator: &Terminator, metrics: &Metrics) -> (Arc<Keeper>, Work) {
    let time_and_chance = (Arc::clone(&core.clock), Arc::clone(&core.rng));
    let certificates = terminator.certificates();
    let (keeper, work) = Keeper::new(certificates, Arc::new(core.trail.clone()), time_and_chance);
    let _ = core.keeper.set(Arc::downgrade(&keeper));
    let measured = Measures(Arc::clone(&keeper));
    metrics.register(|registry| registry.register_collector(Box::new(measured)));
    if certificates.acme().is_some() {
        let certificates = Arc::clone(certificates);
        // A node without its certificates yet is ready all the same: whoever balances by readiness
        // would keep the CA from seeing the challenge.
        core.health.register("certificates", move || {
            let served = certificates.served();
            let missing = served.iter().filter(|served| served.origin == Origin::SelfSigned).count();
            Ok(match missing {
                0 => format!("all {} issued", served.len()),
                _ => format!("{missing} of {} not issued yet: self-signed ones are served", served.len()),
            })
        });
    }
    (keeper, work)
}
