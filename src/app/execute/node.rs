//! Commands about the node: blacklist, signing keys, status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::super::control::Outcome;
use super::super::control::command::PAGE;
use super::super::control::reply::{Code, Failure, Reply};
use super::super::control::view::{self, Status};
use super::super::core::Core;
use super::super::handover::Restarts;
use super::super::reload::{InForce, Refused};
use super::Who;
use super::refused::{key_refused, missing, refused, unreadable};
use crate::audit::draft::Draft;
use crate::auth::bans::{self, NewBan};
use crate::config::Config;
use crate::config::problem::Problem;
use crate::model::ban;
use crate::model::caller::Actor;
use crate::model::event::{self, Intent};
use crate::model::key::{KeyId, KeyState};

impl Core {
    pub(super) async fn blacklist_add(
        &self,
        network: IpNet,
        reason: String,
        ttl_seconds: Option<u64>,
        force: bool,
        who: Who,
    ) -> Outcome {
        // As the edge sees its peers; everybody is refused by the service, in words of its own.
        let network = ban::network(&network.to_string()).unwrap_or(network);
        let some = !force && network.prefix_len() > 0;
        if some && let Some(held) = bans::own(network, &self.in_force().listen.trusted_proxies) {
            let failure = Failure::new(Code::Refused, held);
            return Err(failure.remedy("name a smaller network, or say so on purpose with --force"));
        }
        let expires_at = ttl_seconds.map(|seconds| self.clock.now().plus(Duration::from_secs(seconds)));
        let new = NewBan { network: network.to_string(), reason, expires_at, force };
        let ban = self.auth.bans.add(new, who.actor, &who.origin).await.map_err(refused)?;
        Ok(Reply::Bans(vec![(&ban).into()]))
    }

    pub(super) fn blacklist_list(&self) -> Outcome {
        Ok(Reply::Bans(self.auth.bans.list().map_err(refused)?.iter().map(Into::into).collect()))
    }

    /// In order of network, whatever the configuration banned first.
    pub(super) fn blacklist_configured(&self, after: Option<IpNet>, limit: u32) -> Outcome {
        let (config, banned) = match self.reloader.get() {
            Some(reloader) => {
                let InForce { config, banned } = reloader.in_force();
                (config, banned)
            }
            None => {
                let unreadable = |problems: Vec<Problem>| {
                    let told = problems.first().map(|problem| (problem.told(""), problem.remedy.clone()));
                    let (message, remedy) = told.unwrap_or_default();
                    Failure::new(Code::Unavailable, message).remedy(remedy)
                };
                let banned = self.config.blacklist.gather().map_err(unreadable)?;
                (Arc::new(self.config.clone()), banned.into())
            }
        };
        let named: BTreeSet<_> = config.blacklist.networks.iter().collect();
        let from = after.map_or(0, |after| banned.partition_point(|network| *network <= after));
        let page = banned.iter().skip(from).take(limit.min(PAGE) as usize);
        let source = |network| if named.contains(network) { "blacklist.networks" } else { "blacklist.file" };
        Ok(Reply::Bans(page.map(|network| view::Ban::configured(*network, source(network))).collect()))
    }

    /// In order of network.
    pub(super) fn blacklist_earned(&self, after: Option<IpNet>, limit: u32) -> Reply {
        let page = self.blacklist.ladder().page(after, limit.min(PAGE) as usize, self.clock.now());
        Reply::Bans(page.iter().map(Into::into).collect())
    }

    /// The configuration in force, or the one to start with.
    fn in_force(&self) -> Arc<Config> {
        let reloader = self.reloader.get();
        reloader.map_or_else(|| Arc::new(self.config.clone()), |reloader| reloader.in_force().config)
    }

    pub(super) async fn blacklist_remove(&self, network: IpNet, who: Who) -> Outcome {
        let network = ban::network(&network.to_string()).unwrap_or(network);
        let pardoned = self.blacklist.ladder().pardon(network, self.clock.now());
        let commanded = self.auth.bans.list().map_err(refused)?.iter().any(|ban| ban.network == network);
        if pardoned && !commanded {
            let draft = Draft::new(Intent::BlacklistRemove, event::Outcome::Granted).by(who.actor);
            let recorded = self.trail.record(draft.target(network).reason("offences").at(&who.origin)).await;
            return match recorded {
                Ok(()) => Ok(Reply::Done),
                Err(error) => Err(Failure::new(Code::Unavailable, error.to_string())),
            };
        }
        let done = self.auth.bans.remove(&network.to_string(), who.actor, &who.origin).await;
        done.map_err(|error| missing(error, || self.not_removed(network)))?;
        Ok(Reply::Done)
    }

    /// Why a ban cannot be lifted that is not there as it was named: it may be a network's.
    fn not_removed(&self, network: IpNet) -> String {
        let holds = |other: &IpNet| *other != network && other.contains(&network);
        let commanded = self.auth.bans.list().unwrap_or_default();
        if let Some(ban) = commanded.iter().find(|ban| holds(&ban.network)) {
            return format!(
                "{network} has no ban of its own; the one of {} holds it: remove that",
                ban.network
            );
        }
        let configured = match self.reloader.get() {
            Some(reloader) => reloader.in_force().banned.to_vec(),
            None => self.config.blacklist.gather().unwrap_or_default(),
        };
        if let Some(other) = configured.iter().find(|other| **other == network || holds(other)) {
            return format!(
                "{network} is banned by [blacklist] in the configuration ({other}): remove it there"
            );
        }
        format!(
            "{network} is not among the bans that commands made; those of [blacklist] in the configuration are \
             removed there"
        )
    }

    pub(super) fn key_list(&self) -> Reply {
        Reply::Keys(self.keys.list().iter().map(Into::into).collect())
    }

    pub(super) async fn key_rotate(&self, force: bool, actor: Actor) -> Outcome {
        self.keys.rotate(actor, force).await.map_err(|error| key_refused(&error))?;
        Ok(self.key_list())
    }

    pub(super) async fn key_retire(&self, key: KeyId, compromised: bool, actor: Actor) -> Outcome {
        self.keys.retire(&key, compromised, actor).await.map_err(|error| key_refused(&error))?;
        Ok(self.key_list())
    }

    pub(super) async fn reload(&self, who: Who) -> Outcome {
        let Some(reloader) = self.reloader.get() else {
            let failure = Failure::new(Code::Unavailable, "this node does not serve: nothing to reload");
            return Err(failure.remedy("a start reads the configuration anyway"));
        };
        match reloader.reload(self, who.actor, &who.origin).await {
            Ok(reloaded) => Ok(Reply::Reloaded(reloaded)),
            Err(Refused::Wrong(problems)) => Ok(Reply::Misconfigured(problems)),
            Err(Refused::Unrecorded(error)) => Err(Failure::new(Code::Unavailable, error.to_string())),
            Err(Refused::Broken) => {
                let failure = Failure::new(Code::Internal, "reading the configuration broke off");
                Err(failure.remedy("look at the daemon's log"))
            }
        }
    }

    pub(super) async fn restart(&self, force: bool, who: Who) -> Outcome {
        let Some(restarts) = self.restarts.get() else {
            let failure = Failure::new(Code::Unavailable, "this node does not serve: nothing to restart");
            return Err(failure.remedy("start it"));
        };
        Ok(Reply::Restarting { pid: restarts.restart(force, who.actor, who.origin).await? })
    }

    pub(super) async fn status(&self) -> Result<Status, Failure> {
        self.log_is_complete().await;
        let keys = self.keys.list();
        let active = keys.iter().find(|key| key.state == KeyState::Active);
        let head = self.stores.logs.head().map_err(|error| unreadable(&error))?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: !self.listeners.get().is_none_or(Vec::is_empty),
            pid: Some(std::process::id()),
            started_at: self.started_at.rfc3339(),
            environment: self.config.environment.name().to_owned(),
            data_dir: self.config.data_dir.display().to_string(),
            listeners: self.listeners.get().cloned().unwrap_or_default(),
            seq: self.stores.committer.durable().0,
            accounts: self.auth.accounts.count().map_err(refused)?,
            bans: self.auth.bans.list().map_err(refused)?.len() as u64,
            signing_key: active.map(|key| key.id.to_string()).unwrap_or_default(),
            audit_records: head.count,
            configuration: self.reloader.get().map(|reloader| reloader.told()),
            restart: self.restarts.get().map(Restarts::status),
            health: self.health.ready(),
        })
    }
}
