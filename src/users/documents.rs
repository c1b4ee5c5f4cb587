//! An owner's documents: list, read, write, delete, within the account's quotas.

use super::Users;
use super::commands::Verdict;
use super::condition::Condition;
use super::error::UsersError;
use super::json::JsonText;
use super::key::DocumentKey;
use crate::model::caller::Caller;
use crate::model::change::UserChange;
use crate::model::document::{Document, DocumentEntry};
use crate::model::id::AccountId;
use crate::store::bundle::Bundle;

/// A document was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether it was not there before.
    pub created: bool,
    /// What it is now.
    pub document: DocumentEntry,
}

impl DocumentEntry {
    /// The entity tag. The version alone would do, but for a node that was restored from a backup
    /// and counts some versions a second time: the time tells those apart.
    pub fn tag(&self) -> String {
        format!("{:x}-{:x}", self.version, self.updated_at.as_millis())
    }
}

impl Document {
    /// As [`DocumentEntry::tag`].
    pub fn tag(&self) -> String {
        DocumentEntry::from(self).tag()
    }
}

impl Users {
    /// The caller's documents in order of key, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`UsersError::Store`].
    pub fn documents(
        &self,
        caller: &Caller,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>, UsersError> {
        self.list(caller.account, after, limit)
    }

    /// One of the caller's documents.
    ///
    /// # Errors
    /// [`UsersError::NoDocument`], [`UsersError::Store`].
    pub fn document(&self, caller: &Caller, key: &DocumentKey) -> Result<Document, UsersError> {
        self.read(caller.account, key)
    }

    pub(in crate::users) fn list(
        &self,
        account: AccountId,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>, UsersError> {
        Ok(self.commands.user.documents(account, after.map(DocumentKey::as_str), limit)?)
    }

    pub(in crate::users) fn read(
        &self,
        account: AccountId,
        key: &DocumentKey,
    ) -> Result<Document, UsersError> {
        self.commands.user.document(account, key.as_str())?.ok_or(UsersError::NoDocument)
    }

    /// Writes one of the caller's documents, if the condition holds and the quotas allow it.
    ///
    /// # Errors
    /// [`UsersError::Unmet`], [`UsersError::DocumentTooLarge`], [`UsersError::TooManyDocuments`],
    /// [`UsersError::TooManyBytes`], [`UsersError::SessionEnded`]; otherwise failures of the node.
    pub async fn put(
        &self,
        caller: &Caller,
        key: &DocumentKey,
        body: &JsonText,
        condition: &Condition,
    ) -> Result<Written, UsersError> {
        let limit = self.quotas.document_bytes;
        if body.as_str().len() > limit {
            return Err(UsersError::DocumentTooLarge { limit });
        }
        let commands = &*self.commands;
        commands
            .decide(caller.account, |bundle| {
                let before = match self.before(bundle, caller, key, condition)? {
                    Ok(before) => before,
                    Err(error) => return Ok(Err(error)),
                };
                let version = match self.next_version(bundle, caller.account, before.as_ref(), body)? {
                    Ok(version) => version,
                    Err(error) => return Ok(Err(error)),
                };
                let document = Document {
                    account: caller.account,
                    key: key.to_string(),
                    body: body.as_str().to_owned(),
                    version,
                    updated_at: commands.now(),
                };
                let written = Written { created: before.is_none(), document: (&document).into() };
                commands.user.stage(bundle, UserChange::DocumentPut(document));
                Ok(Ok(written))
            })
            .await
    }

    /// What is there before a document is written or deleted, if its owner is there and the condition holds.
    fn before(
        &self,
        bundle: &mut Bundle,
        caller: &Caller,
        key: &DocumentKey,
        condition: &Condition,
    ) -> Result<Verdict<Option<Document>>, UsersError> {
        if let Err(error) = self.commands.owner(bundle, caller.account)? {
            return Ok(Err(error));
        }
        let before = self.commands.user.read_document(bundle, caller.account, key.as_str())?;
        let met = condition.holds(before.as_ref().map(Document::tag).as_deref());
        Ok(met.map(|()| before).map_err(UsersError::from))
    }

    /// The version that a document gets if there is room for it. Whatever grows depends on all the
    /// account's documents; what does not is always let through, also where a quota was lowered.
    fn next_version(
        &self,
        bundle: &mut Bundle,
        account: AccountId,
        before: Option<&Document>,
        body: &JsonText,
    ) -> Result<Verdict<u64>, UsersError> {
        let (old, new) = (before.map_or(0, |it| it.body.len() as u64), body.as_str().len() as u64);
        if let Some(before) = before.filter(|_| new <= old) {
            return Ok(Ok(before.version.saturating_add(1)));
        }
        let usage = self.commands.user.read_usage(bundle, account)?;
        if before.is_none() && usage.documents >= self.quotas.documents {
            return Ok(Err(UsersError::TooManyDocuments { limit: self.quotas.documents }));
        }
        let would_be = usage.bytes.saturating_sub(old).saturating_add(new);
        if would_be > self.quotas.account_bytes {
            return Ok(Err(UsersError::TooManyBytes { limit: self.quotas.account_bytes, would_be }));
        }
        Ok(Ok(before.map_or(usage.last_version, |it| it.version).saturating_add(1)))
    }

    /// Deletes one of the caller's documents, if the condition holds.
    ///
    /// # Errors
    /// [`UsersError::NoDocument`], [`UsersError::Unmet`], [`UsersError::SessionEnded`]; otherwise
    /// failures of the node.
    pub async fn delete(
        &self,
        caller: &Caller,
        key: &DocumentKey,
        condition: &Condition,
    ) -> Result<(), UsersError> {
        let commands = &*self.commands;
        commands
            .decide(caller.account, |bundle| {
                let before = match self.before(bundle, caller, key, condition)? {
                    Ok(before) => before,
                    Err(error) => return Ok(Err(error)),
                };
                if before.is_none() {
                    return Ok(Err(UsersError::NoDocument));
                }
                let (account, key) = (caller.account, key.to_string());
                commands.user.stage(bundle, UserChange::DocumentDeleted { account, key });
                Ok(Ok(()))
            })
            .await
    }
}
