//! The user namespace in maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Memory, State};
use crate::model::change::{Change, Namespace, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::id::{AccountId, Seq};
use crate::model::profile::Profile;
use crate::store::error::StoreError;
use crate::store::view::UserView;

/// Documents and profiles by account.
#[derive(Default)]
pub(in crate::store) struct User {
    owners: BTreeMap<AccountId, Owned>,
}

/// What is kept of one account.
#[derive(Default)]
struct Owned {
    documents: BTreeMap<String, Document>,
    last_version: u64,
    profile: Option<Profile>,
}

impl State for User {
    const NAMESPACE: Namespace = Namespace::User;

    fn apply(&mut self, _: Seq, _: u32, change: &Change) -> Result<(), StoreError> {
        let Change::User(change) = change else { return Ok(()) };
        match change {
            UserChange::DocumentPut(document) => {
                let owned = self.owners.entry(document.account).or_default();
                owned.last_version = owned.last_version.max(document.version);
                owned.documents.insert(document.key.clone(), document.clone());
            }
            UserChange::DocumentDeleted { account, key } => {
                if let Some(owned) = self.owners.get_mut(account) {
                    owned.documents.remove(key);
                }
            }
            UserChange::UserErased { account } => {
                self.owners.remove(account);
            }
            UserChange::ProfileSet(profile) => {
                self.owners.entry(profile.account).or_default().profile = Some(profile.clone());
            }
        }
        Ok(())
    }
}

impl UserView for Memory<User> {
    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.read(|_, user| user.owners.get(&account)?.documents.get(key).cloned()))
    }

    fn documents(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|_, user| {
            let owned = user.owners.get(&account).into_iter();
            let rest = owned.flat_map(|all| all.documents.range::<str, _>((start, Bound::Unbounded)));
            rest.take(limit).map(|(_, document)| document.into()).collect()
        }))
    }

    fn usage(&self, account: AccountId) -> Result<Usage, StoreError> {
        Ok(self.read(|_, user| {
            let Some(owned) = user.owners.get(&account) else { return Usage::default() };
            let bytes = owned.documents.values().map(|document| document.body.len() as u64).sum();
            let documents = owned.documents.len() as u64;
            Usage { documents, bytes, last_version: owned.last_version }
        }))
    }

    fn profile(&self, account: AccountId) -> Result<Option<Profile>, StoreError> {
        Ok(self.read(|_, user| user.owners.get(&account)?.profile.clone()))
    }
}
