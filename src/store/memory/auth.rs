//! The auth namespace in maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Memory, State};
use crate::model::account::Account;
use crate::model::change::{AuthChange, Change, Namespace};
use crate::model::email::Email;
use crate::model::id::{AccountId, InviteId, Seq};
use crate::model::invite::Invite;
use crate::model::key::{KeyId, SealedKey};
use crate::store::error::StoreError;
use crate::store::view::{AuthView, address_taken};

/// Accounts, invitations and signing keys.
#[derive(Default)]
pub(in crate::store) struct Auth {
    accounts: BTreeMap<AccountId, Account>,
    emails: BTreeMap<Email, AccountId>,
    invites: BTreeMap<InviteId, Invite>,
    keys: BTreeMap<KeyId, SealedKey>,
}

impl State for Auth {
    const NAMESPACE: Namespace = Namespace::Auth;

    fn apply(&mut self, seq: Seq, _: u32, change: &Change) -> Result<(), StoreError> {
        let Change::Auth(change) = change else { return Ok(()) };
        match change {
            AuthChange::AccountCreated(account) => self.create(seq, account),
            AuthChange::PasswordSet { account, password, at } => self.alter(*account, |account| {
                account.password = password.clone();
                account.password_set_at = *at;
            }),
            AuthChange::RolesSet { account, roles } => {
                self.alter(*account, |account| account.roles.clone_from(roles));
            }
            AuthChange::StatusSet { account, status } => {
                self.alter(*account, |account| account.status = *status);
            }
            AuthChange::AccountDeleted { account } => self.delete(*account),
            AuthChange::InviteCreated(invite) => {
                self.invites.insert(invite.id, invite.clone());
            }
            AuthChange::InviteRemoved { invite } => {
                self.invites.remove(invite);
            }
            AuthChange::KeyAdded(key) => {
                self.keys.insert(key.id.clone(), key.clone());
            }
            AuthChange::KeyStateSet { key, state, at } => {
                if let Some(key) = self.keys.get_mut(key) {
                    key.state = *state;
                    key.changed_at = *at;
                }
            }
            AuthChange::NameSet { account, name } => {
                self.alter(*account, |account| account.name.clone_from(name));
            }
        }
        Ok(())
    }
}

impl Auth {
    fn create(&mut self, seq: Seq, account: &Account) {
        if self.emails.get(&account.email).is_some_and(|holder| *holder != account.id) {
            address_taken(seq, account.id);
            return;
        }
        self.delete(account.id);
        self.emails.insert(account.email.clone(), account.id);
        self.accounts.insert(account.id, account.clone());
    }

    fn alter(&mut self, id: AccountId, how: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(&id) {
            how(account);
        }
    }

    fn delete(&mut self, id: AccountId) {
        if let Some(account) = self.accounts.remove(&id) {
            self.emails.remove(&account.email);
        }
    }
}

impl AuthView for Memory<Auth> {
    fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.read(|_, auth| auth.accounts.get(&id).cloned()))
    }

    fn account_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        Ok(self.read(|_, auth| auth.emails.get(email).and_then(|id| auth.accounts.get(id)).cloned()))
    }

    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|_, auth| {
            auth.accounts.range((start, Bound::Unbounded)).take(limit).map(|(_, it)| it.clone()).collect()
        }))
    }

    fn account_count(&self) -> Result<u64, StoreError> {
        Ok(self.read(|_, auth| auth.accounts.len() as u64))
    }

    fn active_administrators(&self) -> Result<u64, StoreError> {
        Ok(self.read(|_, auth| auth.accounts.values().filter(|it| it.is_active_admin()).count() as u64))
    }

    fn invite(&self, id: InviteId) -> Result<Option<Invite>, StoreError> {
        Ok(self.read(|_, auth| auth.invites.get(&id).cloned()))
    }

    fn invites(&self) -> Result<Vec<Invite>, StoreError> {
        Ok(self.read(|_, auth| auth.invites.values().cloned().collect()))
    }

    fn keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        let mut keys: Vec<_> = self.read(|_, auth| auth.keys.values().cloned().collect());
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }
}
