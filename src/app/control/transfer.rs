//! Accounts on their way to another node, and what came of those that arrived. The field names are the
//! schema of `user export` and `user import`, hence stable.

use serde::{Deserialize, Serialize};

use super::view::User;
use crate::auth::accounts::transfer::{Import, Misfit};
use crate::model::account::{Account, AccountStatus, PasswordHash};

/// An account as a line of an export has it, and `user import` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// UUID.
    pub id: String,
    /// Normalised.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// Sorted.
    pub roles: Vec<String>,
    /// `active` or `disabled`.
    pub status: AccountStatus,
    /// RFC 3339.
    pub created_at: String,
    /// PHC string, if it was asked for and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    /// RFC 3339, with the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_at: Option<String>,
}

impl Exported {
    /// With its hash only if `hashes`.
    pub fn new(account: &Account, hashes: bool) -> Self {
        let User { id, email, name, roles, status, created_at, password_set_at, throttle: _ } =
            account.into();
        let hash = (hashes && !account.password.is_none()).then(|| account.password.clone());
        let password_set_at = password_set_at.filter(|_| hash.is_some());
        Self { id, email, name, roles, status, created_at, password_hash: hash, password_set_at }
    }
}

/// What came of a batch of accounts from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// How many were created, or would be.
    pub created: u64,
    /// How many were left out because they are there already.
    pub skipped: u64,
    /// What cannot be; then nothing was created.
    pub faults: Vec<Fault>,
}

/// One field of one account from elsewhere cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which of the batch, from 0.
    pub index: u64,
    /// Its name.
    pub field: String,
    /// What to do about it.
    pub detail: String,
}

impl From<&Import> for Imported {
    fn from(import: &Import) -> Self {
        let fault = |misfit: &Misfit| Fault {
            index: misfit.index as u64,
            field: misfit.fault.field.to_owned(),
            detail: misfit.fault.detail.clone(),
        };
        Self {
            created: import.created as u64,
            skipped: import.skipped as u64,
            faults: import.misfits.iter().map(fault).collect(),
        }
    }
}
