//! What belongs to a person besides the means to log in: a profile and the documents that
//! applications keep for them, and what administrators may see of both. No HTTP.
//!
//! Only this module touches the user namespace. It has no handle on accounts: what it must know of
//! them, and the name, which is theirs, it gets through [`People`], inside the bundle it decides in.
//! Its rule is auth's: decide from reads that the bundle depends on, commit, decide afresh on a
//! conflict. So a quota is exact and nothing is written for an account that is being deleted.
//!
//! What an owner does to their own data is no security decision and no audit event. That somebody
//! else looked at it is one, and so is that somebody was not let.

pub mod administer;
mod claims;
mod commands;
pub mod condition;
pub mod documents;
pub mod error;
pub mod json;
pub mod key;
mod looks;
pub mod profile;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use commands::Commands;
use looks::Looks;

use crate::audit::Trail;
use crate::audit::folded::Folded;
use crate::config;
use crate::model::account::Account;
use crate::model::id::AccountId;
use crate::model::time::SharedClock;
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::StoreError;
use crate::store::namespace::UserStore;

/// The accounts, as far as this module may know them. Whoever wires the house passes it.
pub trait People: Send + Sync {
    /// The account of that id; the bundle depends on it.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read_account(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>, StoreError>;
    /// Accounts in order of id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError>;
    /// Stages another name, which the caller has checked ([`crate::model::account::name`]).
    fn rename(&self, bundle: &mut Bundle, id: AccountId, name: String);
}

/// What the service is made of.
pub struct Parts {
    /// The user namespace.
    pub user: UserStore,
    /// The accounts.
    pub people: Arc<dyn People>,
    /// The one way to write.
    pub committer: Committer,
    /// Where looks at other people's data are recorded.
    pub trail: Trail,
    /// Where refusals are counted; shared with `auth`.
    pub denials: Arc<Folded<Trail>>,
    /// The time.
    pub clock: SharedClock,
}

/// Profiles and documents. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    commands: Arc<Commands>,
    looks: Arc<Looks>,
    quotas: config::users::Users,
}

impl Users {
    /// The service over these parts.
    pub fn new(parts: Parts, quotas: &config::users::Users) -> Self {
        Self {
            commands: Arc::new(Commands::new(parts)),
            looks: Arc::new(Looks::default()),
            quotas: quotas.clone(),
        }
    }

    /// `users.document_bytes`: more of a body need not be read.
    pub const fn largest_document(&self) -> usize {
        self.quotas.document_bytes
    }
}
