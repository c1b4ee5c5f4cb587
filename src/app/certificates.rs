//! The keeper of certificates among the rest of the house: made when the doors open, told of in
//! `status`.

use std::sync::Arc;

use super::core::Core;
use crate::edge::acme::keeper::Keeper;
use crate::edge::acme::work::Work;
use crate::edge::certificates::book::Origin;
use crate::edge::tls::Terminator;

/// Makes the keeper; its work is yet to be run.
pub(in crate::app) fn keeper(core: &Core, terminator: &Terminator) -> (Arc<Keeper>, Work) {
    let time_and_chance = (Arc::clone(&core.clock), Arc::clone(&core.rng));
    let certificates = terminator.certificates();
    let (keeper, work) = Keeper::new(certificates, Arc::new(core.trail.clone()), time_and_chance);
    core.keeper.set(&keeper);
    if certificates.acme().is_some() {
        let certificates = Arc::clone(certificates);
        let keeper = Arc::downgrade(&keeper);
        // A node without its certificates yet is ready all the same: whoever balances by readiness
        // would keep the CA from seeing the challenge.
        core.health.register("certificates", move || {
            if keeper.upgrade().is_some_and(|keeper| keeper.is_over()) {
                return Err(
                    "none is renewed any more: restart the node, and tell us what its log says".to_owned()
                );
            }
            let served = certificates.served();
            let of = |origin: &Origin| served.iter().filter(|served| served.origin == *origin).count();
            Ok(match (of(&Origin::SelfSigned), of(&Origin::Former), served.len()) {
                (0, 0, all) => format!("all {all} issued"),
                (0, former, all) => {
                    format!("{former} of {all} not issued yet: those of other lists of names are served")
                }
                (missing, _, all) => {
                    format!("{missing} of {all} not issued yet: self-signed ones are served")
                }
            })
        });
    }
    (keeper, work)
}
