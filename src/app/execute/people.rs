//! Commands about people: accounts, invitations, sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::control::Outcome;
use super::super::control::command::{NewUser, PAGE, Password};
use super::super::control::reply::{Code, Failure, Reply};
use super::super::control::transfer::Exported;
use super::super::control::view::{Throttle, User};
use super::super::core::Core;
use super::Who;
use super::refused::{missing, refused};
use secrecy::ExposeSecret as _;

use crate::auth::accounts::NewAccount;
use crate::auth::accounts::transfer::{Incoming, Manner};
use crate::auth::error::AuthError;
use crate::auth::invites::NewInvite;
use crate::config::accounts::Registration;
use crate::model::account::Account;
use crate::model::email::Email;
use crate::model::id::{AccountId, InviteId, SessionId};
use crate::model::role::Role;

impl Core {
    pub(super) async fn user_add(
        &self,
        email: Email,
        name: String,
        roles: BTreeSet<Role>,
        password: Password,
        who: Who,
    ) -> Outcome {
        let new = NewAccount { email: email.into(), password: password.0, name, roles };
        let account = self.auth.accounts.create(new, who.actor, &who.origin).await.map_err(refused)?;
        Ok(self.user(&account))
    }

    pub(super) fn user_list(&self, after: Option<AccountId>, limit: u32) -> Outcome {
        let page = self.auth.accounts.list(after, limit.min(PAGE) as usize).map_err(refused)?;
        Ok(Reply::Users(page.iter().map(Into::into).collect()))
    }

    pub(super) fn user_show(&self, user: &str) -> Outcome {
        self.user_now(self.find(user)?)
    }

    pub(super) async fn user_enable(&self, user: &str, who: Who) -> Outcome {
        let id = self.find(user)?;
        self.auth.accounts.enable(id, who.actor, &who.origin).await.map_err(refused)?;
        self.user_now(id)
    }

    pub(super) async fn user_disable(&self, user: &str, who: Who) -> Outcome {
        let id = self.find(user)?;
        self.auth.accounts.disable(id, who.actor, &who.origin).await.map_err(refused)?;
        self.user_now(id)
    }

    pub(super) async fn user_set_password(&self, user: &str, password: Password, who: Who) -> Outcome {
        let id = self.find(user)?;
        let done = self.auth.accounts.set_password(id, password.0, who.actor, &who.origin).await;
        done.map_err(refused)?;
        self.user_now(id)
    }

    pub(super) async fn user_unthrottle(&self, user: &str, who: Who) -> Outcome {
        let id = self.find(user)?;
        self.auth.accounts.unthrottle(id, who.actor, &who.origin).await.map_err(refused)?;
        self.user_now(id)
    }

    pub(super) async fn user_roles(&self, user: &str, roles: BTreeSet<Role>, who: Who) -> Outcome {
        let id = self.find(user)?;
        self.auth.accounts.set_roles(id, roles, who.actor, &who.origin).await.map_err(refused)?;
        self.user_now(id)
    }

    pub(super) async fn user_delete(&self, user: &str, who: Who) -> Outcome {
        self.auth.accounts.delete(self.find(user)?, who.actor, &who.origin).await.map_err(refused)?;
        Ok(Reply::Done)
    }

    pub(super) async fn user_export(
        &self,
        after: Option<AccountId>,
        limit: u32,
        hashes: bool,
        who: Who,
    ) -> Outcome {
        let limit = limit.min(PAGE) as usize;
        let page = self.auth.accounts.export(after, limit, hashes, who.actor, &who.origin).await;
        let page = page.map_err(refused)?;
        Ok(Reply::Exported(page.iter().map(|account| Exported::new(account, hashes)).collect()))
    }

    pub(super) async fn user_import(&self, users: Vec<NewUser>, manner: Manner, who: Who) -> Outcome {
        let incoming = |user: NewUser| Incoming {
            id: user.id,
            email: user.email,
            name: user.name,
            roles: user.roles,
            status: user.status,
            created_at: user.created_at,
            password: user.password_hash,
            password_set_at: user.password_set_at,
        };
        let batch: Vec<_> = users.into_iter().map(incoming).collect();
        let done = self.auth.accounts.import(&batch, manner, who.actor, &who.origin).await;
        Ok(Reply::Imported((&done.map_err(refused)?).into()))
    }

    pub(super) async fn invite_create(
        &self,
        email: Option<Email>,
        roles: BTreeSet<Role>,
        ttl_seconds: Option<u64>,
        who: Who,
    ) -> Outcome {
        if self.config.accounts.registration == Registration::Closed {
            let message = "registration is closed (accounts.registration): nobody could use an invitation";
            let remedy = "make the account with `keepgate user add`; or set accounts.registration to \"invite\" and \
                          restart";
            return Err(Failure::new(Code::Refused, message).remedy(remedy));
        }
        let ttl = ttl_seconds.map(Duration::from_secs);
        let new = NewInvite { email: email.map(Into::into), roles, ttl };
        let (invite, code) = self.auth.invites.create(new, who.actor, &who.origin).await.map_err(refused)?;
        Ok(Reply::Invited { invite: (&invite).into(), code: code.expose_secret().to_owned() })
    }

    pub(super) fn invite_list(&self) -> Outcome {
        Ok(Reply::Invites(self.auth.invites.list().map_err(refused)?.iter().map(Into::into).collect()))
    }

    pub(super) async fn invite_revoke(&self, invite: InviteId, who: Who) -> Outcome {
        let done = self.auth.invites.revoke(invite, who.actor, &who.origin).await;
        done.map_err(|error| {
            missing(error, || format!("there is no open invitation {invite}"))
                .or_else_see("`keepgate user invites` shows them all")
        })?;
        Ok(Reply::Done)
    }

    pub(super) fn session_list(&self, user: &str) -> Outcome {
        let sessions = self.auth.sessions.list_for(self.find(user)?).map_err(refused)?;
        Ok(Reply::Sessions(sessions.iter().map(Into::into).collect()))
    }

    pub(super) async fn session_revoke(&self, session: SessionId, who: Who) -> Outcome {
        let done = self.auth.sessions.revoke_any(session, who.actor, &who.origin).await;
        done.map_err(|error| {
            missing(error, || format!("there is no session {session}"))
                .or_else_see("`keepgate session list USER` shows those of an account")
        })?;
        Ok(Reply::Done)
    }

    fn user_now(&self, id: AccountId) -> Outcome {
        Ok(self.user(&self.auth.accounts.get(id).map_err(refused)?))
    }

    fn user(&self, account: &Account) -> Reply {
        let standings = self.auth.throttle.standings(&account.email);
        let throttle = Throttle::new(standings, self.auth.throttle.now());
        Reply::User(User { throttle: Some(throttle), ..account.into() })
    }

    pub(super) fn find(&self, user: &str) -> Result<AccountId, Failure> {
        match self.auth.accounts.find(user) {
            Ok(account) => Ok(account.id),
            Err(AuthError::NotFound) => {
                let message = format!("there is no account '{user}'");
                Err(Failure::new(Code::NotFound, message).remedy("`keepgate user list` shows them all"))
            }
            Err(error) => Err(refused(error)),
        }
    }
}
