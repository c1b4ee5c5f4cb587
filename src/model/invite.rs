//! Invitations to register, for `registration = "invite"`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::email::Email;
use super::id::InviteId;
use super::role::Role;
use super::session::TokenHash;
use super::time::Timestamp;

/// An unused invitation. A used or withdrawn one has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Its id, part of the code.
    pub id: InviteId,
    /// Hash of the code's secret part.
    pub hash: TokenHash,
    /// The only address it may be used with, if bound to one.
    pub email: Option<Email>,
    /// The roles the new account gets.
    pub roles: BTreeSet<Role>,
    /// Who invited.
    pub author: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
}
