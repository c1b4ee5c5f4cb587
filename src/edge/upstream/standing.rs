//! How the application servers stand, and taking one out of service, for operators.

use std::sync::Arc;
use std::time::Duration;

use super::queue;
use super::shared::Shared;
use super::state::{Health, ServerState, Told};
use crate::config::upstream::Named;
use crate::edge::plan::Plans;
use crate::model::time::{SharedClock, Timestamp};

/// The groups in force, for commands.
#[derive(Clone)]
pub struct Upstreams {
    plans: Arc<Plans>,
    clock: SharedClock,
}

/// How one server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The group's name.
    pub upstream: String,
    /// The server's address.
    pub server: String,
    /// Its weight.
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// Where it stands, if that is said.
    pub zone: Option<String>,
    /// Requests under way.
    pub in_flight: u32,
    /// Whether it is in service, and why not.
    pub told: Told,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// There is no such group or server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum Unknown {
    /// No such group.
    #[error("no upstream is named '{name}'")]
    Upstream { name: String },
    /// No such server in it.
    #[error("upstream '{name}' has no server {server}")]
    Server { name: String, server: String },
}

fn unresolved(upstream: &str, named: &Named) -> Standing {
    let why = "the name leads to no address yet; the log says why".to_owned();
    Standing {
        upstream: upstream.to_owned(),
        server: format!("{}:{}", named.host, named.port),
        weight: named.weight,
        backup: named.backup,
        zone: named.zone.as_deref().map(str::to_owned),
        in_flight: 0,
        since: None,
        told: Told { health: Health::Unresolved, since: None, why },
    }
}

impl Upstreams {
    /// Of these plans.
    pub const fn new(plans: Arc<Plans>, clock: SharedClock) -> Self {
        Self { plans, clock }
    }

    /// Every server, in the order of the configuration, and every name that leads to none.
    pub fn standing(&self) -> Vec<Standing> {
        let wall = self.clock.now();
        let mut standing = Vec::new();
        for group in self.plans.current().upstreams().iter() {
            let now = group.now();
            for (member, state) in group.members.iter().zip(&group.servers) {
                let told = state.told(group.config.passive.slow_start, now);
                let ago = |since: u64| wall.minus(Duration::from_millis(now.saturating_sub(since)));
                standing.push(Standing {
                    upstream: group.name.clone(),
                    server: state.label().to_owned(),
                    weight: member.weight,
                    backup: member.backup,
                    zone: member.zone.as_deref().map(str::to_owned),
                    in_flight: state.in_flight(),
                    since: told.since.map(ago),
                    told,
                });
            }
            let names = group.config.names.iter();
            let lost = names.filter(|named| self.plans.groups().known(&named.host).is_empty());
            standing.extend(lost.map(|named| unresolved(&group.name, named)));
        }
        standing
    }

    /// Whether an operator took a server out of service.
    pub fn is_drained(&self, name: &str, server: &str) -> Result<bool, Unknown> {
        self.find(name, server).map(|(_, state)| state.is_drained())
    }

    /// Takes a server out of service, or lets it in again. What is under way there goes on.
    pub fn drain(&self, name: &str, server: &str, drained: bool) -> Result<(), Unknown> {
        let (group, state) = self.find(name, server)?;
        if state.drain(drained, group.now()) {
            let what = if drained { "is drained" } else { "is let in again" };
            tracing::info!(upstream = name, server, "an application server {what}");
            queue::serve(&group, &state);
        }
        Ok(())
    }

    fn find(&self, name: &str, server: &str) -> Result<(Arc<Shared>, Arc<ServerState>), Unknown> {
        let plan = self.plans.current();
        let groups = plan.upstreams();
        let group = groups.iter().find(|group| group.name == name);
        let group = group.ok_or_else(|| Unknown::Upstream { name: name.to_owned() })?;
        let state = group.servers.iter().find(|state| state.label() == server);
        let unknown = || Unknown::Server { name: name.to_owned(), server: server.to_owned() };
        Ok((Arc::clone(group), Arc::clone(state.ok_or_else(unknown)?)))
    }
}
