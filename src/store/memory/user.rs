//! The user namespace in maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Memory, State};
use crate::model::change::{Change, Namespace, UserChange};
use crate::model::document::Document;
use crate::model::id::{AccountId, Seq};
use crate::store::error::StoreError;
use crate::store::view::UserView;

/// Documents by account and key.
#[derive(Default)]
pub(in crate::store) struct User {
    documents: BTreeMap<AccountId, BTreeMap<String, Document>>,
}

impl State for User {
    const NAMESPACE: Namespace = Namespace::User;

    fn apply(&mut self, _: Seq, _: u32, change: &Change) -> Result<(), StoreError> {
        let Change::User(change) = change else { return Ok(()) };
        match change {
            UserChange::DocumentPut(document) => {
                let documents = self.documents.entry(document.account).or_default();
                documents.insert(document.key.clone(), document.clone());
            }
            UserChange::DocumentDeleted { account, key } => {
                if let Some(documents) = self.documents.get_mut(account) {
                    documents.remove(key);
                }
            }
            UserChange::UserErased { account } => {
                self.documents.remove(account);
            }
        }
        Ok(())
    }
}

impl UserView for Memory<User> {
    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.read(|_, user| user.documents.get(&account)?.get(key).cloned()))
    }

    fn documents(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|_, user| {
            let documents = user.documents.get(&account).into_iter();
            let rest = documents.flat_map(|all| all.range::<str, _>((start, Bound::Unbounded)));
            rest.take(limit).map(|(_, document)| document.clone()).collect()
        }))
    }
}
