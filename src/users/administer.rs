//! What administrators may see: every account, its profile, its documents. They may not change them:
//! a document is its owner's and the application's.

use std::time::Instant;

use super::Users;
use super::error::UsersError;
use super::key::DocumentKey;
use super::looks::Look;
use super::profile::Person;
use crate::audit::draft::Draft;
use crate::model::account::Account;
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::document::{Document, DocumentEntry};
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::role::Role;

/// Somebody who has shown that they may look at anybody's data.
#[derive(Clone, Debug)]
pub struct Administrator {
    actor: Actor,
    origin: Origin,
}

impl Administrator {
    /// Whoever sits at the console: they can open the data folder anyway.
    pub const fn console(actor: Actor, origin: Origin) -> Self {
        Self { actor, origin }
    }
}

impl Users {
    /// The caller as an administrator, by the roles of their token: a token with roles that were
    /// taken away is revoked.
    ///
    /// # Errors
    /// [`UsersError::NotAdministrator`], once an event that covers it is written; otherwise failures
    /// of the node.
    pub async fn administrator(&self, caller: &Caller, origin: &Origin) -> Result<Administrator, UsersError> {
        if caller.roles.iter().any(Role::is_admin) {
            return Ok(Administrator { actor: Actor::Account(caller.account), origin: origin.clone() });
        }
        let draft = Draft::new(Intent::DataRead, Outcome::Denied).caller(caller).at(origin);
        self.commands.denials.denied(draft.reason("not_administrator"), None).await?;
        Err(UsersError::NotAdministrator)
    }

    /// Accounts in order of id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// Failures of the node.
    pub async fn accounts(
        &self,
        by: &Administrator,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>, UsersError> {
        self.looked(by, None, "accounts").await?;
        Ok(self.commands.people.accounts(after, limit)?)
    }

    /// Somebody's profile.
    ///
    /// # Errors
    /// [`UsersError::NoAccount`]; otherwise failures of the node.
    pub async fn person(&self, by: &Administrator, id: AccountId) -> Result<Person, UsersError> {
        let account = self.known(id)?;
        self.looked(by, Some(id), "profile").await?;
        Ok(Person::new(account, self.commands.user.profile(id)?))
    }

    /// Somebody's documents in order of key, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`UsersError::NoAccount`]; otherwise failures of the node.
    pub async fn documents_of(
        &self,
        by: &Administrator,
        id: AccountId,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>, UsersError> {
        self.known(id)?;
        self.looked(by, Some(id), "documents").await?;
        self.list(id, after, limit)
    }

    /// One of somebody's documents.
    ///
    /// # Errors
    /// [`UsersError::NoAccount`], [`UsersError::NoDocument`]; otherwise failures of the node.
    pub async fn document_of(
        &self,
        by: &Administrator,
        id: AccountId,
        key: &DocumentKey,
    ) -> Result<Document, UsersError> {
        self.known(id)?;
        let document = self.read(id, key)?;
        self.looked(by, Some(id), "document").await?;
        Ok(document)
    }

    fn known(&self, id: AccountId) -> Result<Account, UsersError> {
        self.commands.account(id)?.ok_or(UsersError::NoAccount)
    }

    /// Resolves once an event that covers this look is durable: who cannot be recorded sees nothing.
    async fn looked(
        &self,
        by: &Administrator,
        of: Option<AccountId>,
        what: &'static str,
    ) -> Result<(), UsersError> {
        let look = Look { actor: by.actor.clone(), of, what };
        let now = Instant::now();
        if self.looks.covers(&look, now) {
            return Ok(());
        }
        let draft = Draft::new(Intent::DataRead, Outcome::Granted).by(by.actor.clone()).at(&by.origin);
        let draft = match of {
            Some(of) => draft.target(of),
            None => draft,
        };
        self.commands.trail.record(draft.reason(what)).await?;
        self.looks.recorded(look, now);
        Ok(())
    }
}
