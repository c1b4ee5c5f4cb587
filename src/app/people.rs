//! The accounts as `users` may know them: `auth`'s, without its handle on the namespace.

use crate::auth::accounts::Accounts;
use crate::auth::error::AuthError;
use crate::model::account::Account;
use crate::model::change::Namespace;
use crate::model::id::AccountId;
use crate::store::bundle::Bundle;
use crate::store::error::StoreError;
use crate::users::People;

/// `auth`'s accounts.
pub(in crate::app) struct AuthPeople(pub Accounts);

impl People for AuthPeople {
    fn read_account(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.0.read_in(bundle, id)
    }

    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.0.list(after, limit).map_err(|error| match error {
            AuthError::Store(error) => error,
            other => StoreError::Engine { namespace: Namespace::Auth, detail: other.to_string() },
        })
    }

    fn rename(&self, bundle: &mut Bundle, id: AccountId, name: String) {
        self.0.rename(bundle, id, name);
    }
}
