//! Looking accounts up. Answers carry password hashes: surfaces show a projection.

use crate::auth::error::AuthError;
use crate::model::account::Account;
use crate::model::change::AuthChange;
use crate::model::email::Email;
use crate::model::id::AccountId;
use crate::store::bundle::Bundle;
use crate::store::error::StoreError;

use super::Accounts;

impl Accounts {
    /// The account of that id.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::Store`].
    pub fn get(&self, id: AccountId) -> Result<Account, AuthError> {
        self.commands.auth.account(id)?.ok_or(AuthError::NotFound)
    }

    /// The account of that id, for another module's command: its bundle depends on the answer.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read_in(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.commands.auth.read_account(bundle, id)
    }

    /// Stages another name in another module's command. Whoever asks has read the account through the
    /// same bundle and checked the name ([`crate::model::account::name`]).
    pub fn rename(&self, bundle: &mut Bundle, account: AccountId, name: String) {
        self.commands.auth.stage(bundle, AuthChange::NameSet { account, name });
    }

    /// The account with that id or e-mail address, as a person writes either.
    ///
    /// # Errors
    /// [`AuthError::NotFound`] (also for text that is neither), [`AuthError::Store`].
    pub fn find(&self, text: &str) -> Result<Account, AuthError> {
        if let Ok(id) = text.trim().parse::<AccountId>() {
            return self.get(id);
        }
        let email: Email = text.parse().map_err(|_| AuthError::NotFound)?;
        self.commands.auth.account_by_email(&email)?.ok_or(AuthError::NotFound)
    }

    /// Accounts in order of id (which is of creation), after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, AuthError> {
        Ok(self.commands.auth.accounts(after, limit)?)
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn count(&self) -> Result<u64, AuthError> {
        Ok(self.commands.auth.account_count()?)
    }
}
