//! Commands about certificates: only a node that serves has any.

use std::sync::Arc;

use super::super::control::Outcome;
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use crate::edge::acme::commands::Refusal;
use crate::edge::acme::keeper::Keeper;
use crate::model::caller::Actor;
use crate::model::certificate::RevocationReason;

impl Core {
    fn keeper(&self) -> Result<Arc<Keeper>, Failure> {
        self.keeper.get().ok_or_else(|| {
            let failure =
                Failure::new(Code::Unavailable, "this node does not serve: it has no certificates in use");
            failure.remedy("start it with `keepgate serve`")
        })
    }

    pub(super) fn certificate_list(&self) -> Outcome {
        Ok(Reply::Certificates(self.keeper()?.standing().into_iter().map(Into::into).collect()))
    }

    pub(super) async fn certificate_renew(&self, name: String, actor: Actor) -> Outcome {
        self.keeper()?.renew(name, actor).await.map_err(refused)?;
        self.certificate_list()
    }

    pub(super) async fn certificate_revoke(
        &self,
        name: String,
        reason: RevocationReason,
        actor: Actor,
    ) -> Outcome {
        self.keeper()?.revoke(name, reason, actor).await.map_err(refused)?;
        Ok(Reply::Done)
    }
}

fn refused(refusal: Refusal) -> Failure {
    let (code, remedy) = match &refusal {
        Refusal::Unknown { .. } | Refusal::NotIssued { .. } => {
            (Code::NotFound, "`keepgate certificate list` shows what there is")
        }
        Refusal::Limited { .. } => {
            (Code::Refused, "mend what `keepgate certificate list` shows, and wait until then")
        }
        Refusal::Failed(_) => {
            (Code::Unavailable, "it is tried again by itself; docs/certificates.md says when")
        }
        Refusal::Unavailable => (Code::Unavailable, "try again in a minute"),
    };
    Failure::new(code, refusal.to_string()).remedy(remedy)
}
