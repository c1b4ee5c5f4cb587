//! What administrators do to accounts: roles, disable, enable, delete. Whatever takes power away
//! revokes the access tokens granted before it; a token granted later speaks of the new state.

use std::collections::BTreeSet;

use crate::audit::draft::Draft;
use crate::auth::error::AuthError;
use crate::model::account::{Account, AccountStatus};
use crate::model::caller::{Actor, Origin};
use crate::model::change::AuthChange;
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::revocation::{RevocationCause, RevokedSubject};
use crate::model::role::Role;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;

use super::Accounts;

/// What asking for a change of an account came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It was staged.
    Changed,
    /// It was staged, and is an administrator's doing where the owner could have done it.
    ByAdministrator,
    /// It is so already.
    Unchanged,
    /// Refused: nobody could administer any more.
    LastAdministrator,
}

impl Ruling {
    /// The reason that the audit event gives; none where there is nothing to add.
    const fn word(self) -> &'static str {
        match self {
            Self::Changed => "",
            Self::ByAdministrator => "administrator",
            Self::Unchanged => "unchanged",
            Self::LastAdministrator => "last_administrator",
        }
    }
}

impl Accounts {
    /// Replaces an account's roles. Its sessions go on; their next refresh carries the new roles,
    /// and the access tokens with the old ones are refused from now on.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::LastAdministrator`]; otherwise failures of the node.
    pub async fn set_roles(
        &self,
        id: AccountId,
        roles: BTreeSet<Role>,
        actor: Actor,
        origin: &Origin,
    ) -> Result<(), AuthError> {
        self.change(id, Intent::RolesChange, &actor, origin, |bundle, account, now| {
            if account.roles == roles {
                return Ok(Ruling::Unchanged);
            }
            if !roles.iter().any(Role::is_admin) && self.is_last_administrator(bundle, account)? {
                return Ok(Ruling::LastAdministrator);
            }
            self.commands.auth.stage(bundle, AuthChange::RolesSet { account: id, roles: roles.clone() });
            self.commands.revoke(bundle, RevokedSubject::Account(id), RevocationCause::RolesChanged, now);
            Ok(Ruling::Changed)
        })
        .await
    }

    /// Disables an account: its sessions end, its access tokens are refused, nobody can log in.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::LastAdministrator`]; otherwise failures of the node.
    pub async fn disable(&self, id: AccountId, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        self.change(id, Intent::AccountDisable, &actor, origin, |bundle, account, now| {
            if self.is_last_administrator(bundle, account)? {
                return Ok(Ruling::LastAdministrator);
            }
            // Said again even if it is disabled already: asking twice does no harm.
            self.set_status(bundle, id, AccountStatus::Disabled);
            self.commands.end_all(bundle, id, RevocationCause::AccountDisabled, now)?;
            Ok(Ruling::Changed)
        })
        .await
    }

    /// Forgets the failed password tries at an account, of strangers and of known devices.
    ///
    /// # Errors
    /// [`AuthError::NotFound`]; otherwise failures of the node.
    pub async fn unthrottle(&self, id: AccountId, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        let account = self.get(id)?;
        self.change(id, Intent::ThrottleClear, &actor, origin, |_, _, _| Ok(Ruling::Changed)).await?;
        self.throttle.clear(&account.email);
        Ok(())
    }

    /// Lets a disabled account log in again. What was revoked stays revoked.
    ///
    /// # Errors
    /// [`AuthError::NotFound`]; otherwise failures of the node.
    pub async fn enable(&self, id: AccountId, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        self.change(id, Intent::AccountEnable, &actor, origin, |bundle, _, _| {
            self.set_status(bundle, id, AccountStatus::Active);
            Ok(Ruling::Changed)
        })
        .await
    }

    /// Deletes an account with everything that is kept of it but the audit log. Its id is never
    /// used again; its address is free.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::LastAdministrator`]; otherwise failures of the node.
    pub async fn delete(&self, id: AccountId, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        self.change(id, Intent::AccountDelete, &actor, origin, |bundle, account, now| {
            if self.is_last_administrator(bundle, account)? {
                return Ok(Ruling::LastAdministrator);
            }
            self.commands.end_all(bundle, id, RevocationCause::AccountDeleted, now)?;
            self.commands.auth.stage(bundle, AuthChange::AccountDeleted { account: id });
            (self.erasure)(bundle, id);
            Ok(Ruling::Changed)
        })
        .await
    }

    /// One change of one account: reads it, lets `stage` decide, and adds the event that says
    /// what it came to.
    pub(super) async fn change(
        &self,
        id: AccountId,
        intent: Intent,
        actor: &Actor,
        origin: &Origin,
        mut stage: impl FnMut(&mut Bundle, &Account, Timestamp) -> Result<Ruling, AuthError>,
    ) -> Result<(), AuthError> {
        let commands = &self.commands;
        let draft = |outcome| Draft::new(intent, outcome).by(actor.clone()).target(id).at(origin);
        commands
            .settle(|bundle| {
                let Some(account) = commands.auth.read_account(bundle, id)? else {
                    let draft = draft(Outcome::Denied).reason("not_found");
                    return Ok(commands.refuse(bundle, draft, AuthError::NotFound));
                };
                let ruling = stage(bundle, &account, commands.now())?;
                let draft = |outcome| draft(outcome).reason(ruling.word());
                Ok(match ruling {
                    Ruling::LastAdministrator => {
                        commands.refuse(bundle, draft(Outcome::Denied), AuthError::LastAdministrator)
                    }
                    Ruling::Changed | Ruling::ByAdministrator | Ruling::Unchanged => {
                        commands.trail.attach(bundle, draft(Outcome::Granted));
                        Ok(())
                    }
                })
            })
            .await
    }

    /// Whether nobody else could administer if this account could not. Depends on who can, so that
    /// of two administrators who take each other out at the same time one stays.
    fn is_last_administrator(&self, bundle: &mut Bundle, account: &Account) -> Result<bool, AuthError> {
        Ok(account.is_active_admin() && self.commands.auth.read_active_administrators(bundle)? <= 1)
    }

    fn set_status(&self, bundle: &mut Bundle, account: AccountId, status: AccountStatus) {
        self.commands.auth.stage(bundle, AuthChange::StatusSet { account, status });
    }
}
