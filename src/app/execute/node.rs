//! Commands about the node: blacklist, signing keys, status.

use std::sync::Weak;
use std::time::Duration;

use ipnet::IpNet;

use super::super::control::Outcome;
use super::super::control::reply::{Code, Failure, Reply};
use super::super::control::view::Status;
use super::super::core::Core;
use super::super::reload::Refused;
use super::Who;
use super::refused::{key_refused, missing, refused, unreadable};
use crate::auth::bans::NewBan;
use crate::model::caller::Actor;
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
        let expires_at = ttl_seconds.map(|seconds| self.clock.now().plus(Duration::from_secs(seconds)));
        let new = NewBan { network: network.to_string(), reason, expires_at, force };
        let ban = self.auth.bans.add(new, who.actor, &who.origin).await.map_err(refused)?;
        Ok(Reply::Bans(vec![(&ban).into()]))
    }

    pub(super) fn blacklist_list(&self) -> Outcome {
        Ok(Reply::Bans(self.auth.bans.list().map_err(refused)?.iter().map(Into::into).collect()))
    }

    pub(super) async fn blacklist_remove(&self, network: IpNet, who: Who) -> Outcome {
        let done = self.auth.bans.remove(&network.to_string(), who.actor, &who.origin).await;
        done.map_err(|error| missing(error, || format!("{network} is not among the bans that commands made; those of [blacklist] in the configuration are removed there")))?;
        Ok(Reply::Done)
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
        let Some(reloader) = self.reloader.get().and_then(Weak::upgrade) else {
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

    pub(super) async fn status(&self) -> Result<Status, Failure> {
        self.log_is_complete().await;
        let keys = self.keys.list();
        let active = keys.iter().find(|key| key.state == KeyState::Active);
        let head = self.stores.logs.head().map_err(|error| unreadable(&error))?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: !self.listeners.get().is_none_or(Vec::is_empty),
            pid: std::process::id(),
            started_at: self.started_at.rfc3339(),
            environment: self.config.environment.name().to_owned(),
            data_dir: self.config.data_dir.display().to_string(),
            listeners: self.listeners.get().cloned().unwrap_or_default(),
            seq: self.stores.committer.durable().0,
            accounts: self.auth.accounts.count().map_err(refused)?,
            bans: self.auth.bans.list().map_err(refused)?.len() as u64,
            signing_key: active.map(|key| key.id.to_string()).unwrap_or_default(),
            audit_records: head.count,
            configuration: self.reloader.get().and_then(Weak::upgrade).map(|reloader| reloader.told()),
            health: self.health.ready(),
        })
    }
}
