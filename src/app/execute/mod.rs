//! What an operator's commands do: each is one call of a service, and its result as the operator
//! sees it. Rules live in the services; this finds, calls and translates.

mod ca;
mod certificates;
mod data;
mod log;
mod node;
mod people;
mod refused;
#[cfg(test)]
mod tests;
mod upstreams;

use std::future::Future;
use std::pin::Pin;

use super::control::command::Command;
use super::control::reply::Reply;
use super::control::{Executor, Outcome};
use super::core::Core;
use crate::auth::accounts::transfer::Manner;
use crate::model::caller::{Actor, Origin};
use crate::model::id::RequestId;

impl Executor for Core {
    fn execute(&self, command: Command, actor: Actor) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async move {
            let request = RequestId::new(self.clock.now(), &*self.rng);
            let origin = Origin { request, address: None, user_agent: String::new() };
            self.dispatch(command, Who { actor, origin }).await
        })
    }
}

/// On whose behalf.
struct Who {
    actor: Actor,
    origin: Origin,
}

impl Core {
    async fn dispatch(&self, command: Command, who: Who) -> Outcome {
        match command {
            Command::Status => self.status().await.map(|status| Reply::Status(Box::new(status))),
            Command::Reload => self.reload(who).await,
            Command::Restart { force } => self.restart(force, who).await,
            Command::UserAdd { email, name, roles, password } => {
                self.user_add(email, name, roles, password, who).await
            }
            Command::UserList { after, limit } => self.user_list(after, limit),
            Command::UserShow { user } => self.user_show(&user),
            Command::UserEnable { user } => self.user_enable(&user, who).await,
            Command::UserDisable { user } => self.user_disable(&user, who).await,
            Command::UserSetPassword { user, password } => self.user_set_password(&user, password, who).await,
            Command::UserUnthrottle { user } => self.user_unthrottle(&user, who).await,
            Command::UserRoles { user, roles } => self.user_roles(&user, roles, who).await,
            Command::UserDelete { user } => self.user_delete(&user, who).await,
            Command::UserExport { after, limit, hashes } => self.user_export(after, limit, hashes, who).await,
            Command::UserImport { users, skip_existing, check } => {
                self.user_import(users, Manner { check, skip_existing }, who).await
            }
            Command::UserDocuments { user, after, limit } => {
                self.user_documents(&user, after, limit, who).await
            }
            Command::UserDocument { user, key } => self.user_document(&user, &key, who).await,
            Command::InviteCreate { email, roles, ttl_seconds } => {
                self.invite_create(email, roles, ttl_seconds, who).await
            }
            Command::InviteList => self.invite_list(),
            Command::InviteRevoke { invite } => self.invite_revoke(invite, who).await,
            Command::SessionList { user } => self.session_list(&user),
            Command::SessionRevoke { session } => self.session_revoke(session, who).await,
            Command::BlacklistAdd { network, reason, ttl_seconds, force } => {
                self.blacklist_add(network, reason, ttl_seconds, force, who).await
            }
            Command::BlacklistList => self.blacklist_list(),
            Command::BlacklistConfigured { after, limit } => self.blacklist_configured(after, limit),
            Command::BlacklistEarned { after, limit } => Ok(self.blacklist_earned(after, limit)),
            Command::BlacklistRemove { network } => self.blacklist_remove(network, who).await,
            Command::KeyList => Ok(self.key_list()),
            Command::KeyRotate { force } => self.key_rotate(force, who.actor).await,
            Command::KeyRetire { key, compromised } => self.key_retire(key, compromised, who.actor).await,
            Command::CertificateList => self.certificate_list(),
            Command::CertificateRenew { name } => self.certificate_renew(name, who.actor).await,
            Command::CertificateRevoke { name, reason } => {
                self.certificate_revoke(name, reason, who.actor).await
            }
            Command::CaShow => self.ca_show(),
            Command::CaIssue(order) => self.ca_issue(*order, who).await,
            Command::UpstreamList => self.upstream_list(),
            Command::UpstreamDrain { upstream, server, drained } => {
                self.upstream_drain(&upstream, &server, drained, who).await
            }
            Command::AuditTail { after, limit } => self.audit_tail(after, limit).await,
            Command::AuditSearch { wanted, beyond, newest_first, limit } => {
                self.audit_search(wanted, beyond, newest_first, limit).await
            }
            Command::AuditVerify { witness } => self.audit_verify(witness).await,
            Command::AuditRenewWitness => self.audit_renew_witness(who).await,
        }
    }
}
