//! What an account says about itself beyond its name: claims by the names of OpenID Connect Core
//! §5.1, in the user namespace. Which claims there are and what each may hold is `users`' business;
//! a record is read whatever claims it has, so that a newer Keepgate may know more of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::AccountId;
use super::time::Timestamp;

/// An account's claims, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Whose they are.
    pub account: AccountId,
    /// Values by claim name (`zoneinfo` → `Europe/Zurich`); a claim that is not there is not set.
    pub claims: BTreeMap<String, String>,
    /// When they, or the account's name, were last changed by their owner.
    pub updated_at: Timestamp,
}
