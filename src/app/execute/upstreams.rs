//! Commands about application servers: only a node that serves has any.

use super::super::control::Outcome;
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use super::Who;
use crate::audit::draft::Draft;
use crate::edge::upstream::standing::Upstreams;
use crate::model::event::{self, Intent};

impl Core {
    fn upstreams(&self) -> Result<&Upstreams, Failure> {
        self.upstreams.get().ok_or_else(|| {
            let failure = Failure::new(Code::Unavailable, "this node does not serve: it asks no application");
            failure.remedy("start it with `keepgate serve`")
        })
    }

    pub(super) fn upstream_list(&self) -> Outcome {
        Ok(Reply::Upstreams(self.upstreams()?.standing().into_iter().map(Into::into).collect()))
    }

    /// On record before it is done, unless it changes nothing.
    pub(super) async fn upstream_drain(
        &self,
        upstream: &str,
        server: &str,
        drained: bool,
        who: Who,
    ) -> Outcome {
        let upstreams = self.upstreams()?;
        let unknown = |error| {
            let list = "`keepgate upstream list` shows what there is";
            Failure::new(Code::NotFound, format!("{error}")).remedy(list)
        };
        if upstreams.is_drained(upstream, server).map_err(unknown)? != drained {
            let intent = if drained { Intent::UpstreamDrain } else { Intent::UpstreamUndrain };
            let draft = Draft::new(intent, event::Outcome::Granted).by(who.actor).at(&who.origin);
            let recorded = self.trail.record(draft.target(format!("{upstream} {server}"))).await;
            recorded.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
            upstreams.drain(upstream, server, drained).map_err(unknown)?;
        }
        self.upstream_list()
    }
}
