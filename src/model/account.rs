//! Accounts: who can log in. The password is only ever here as a PHC string of a slow hash.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::email::Email;
use super::id::AccountId;
use super::role::Role;
use super::text;
use super::time::Timestamp;

/// Longest name, characters.
pub const LONGEST_NAME: usize = 100;

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// More than [`LONGEST_NAME`].
    #[error("use at most {LONGEST_NAME} characters")]
    TooLong,
    /// It could command a terminal, or disguise what stands beside it.
    #[error("leave out control characters, and those that change the direction of text")]
    Control,
}

impl InvalidName {
    /// A stable word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Control => "invalid",
        }
    }
}

/// A person's name as it is kept: without surrounding white space; may be empty.
///
/// # Errors
/// [`InvalidName`]
pub fn name(given: &str) -> Result<String, InvalidName> {
    let name = given.trim();
    if name.chars().count() > LONGEST_NAME {
        Err(InvalidName::TooLong)
    } else if name.contains(text::commands) {
        Err(InvalidName::Control)
    } else {
        Ok(name.to_owned())
    }
}

/// A password hash in PHC string format (`$argon2id$v=19$m=…`). `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl PasswordHash {
    /// Of an account that has no password yet: no password matches.
    pub const fn none() -> Self {
        Self(String::new())
    }

    /// Whether there is no password.
    pub const fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// Can log in and refresh.
    Active,
    /// Cannot; its sessions ended when it was disabled.
    Disabled,
}

/// One account, as the auth namespace holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The subject of its tokens; never reused.
    pub id: AccountId,
    /// Unique among accounts.
    pub email: Email,
    /// As the owner wishes to be called; may be empty.
    pub name: String,
    /// What it may do, beyond being itself.
    pub roles: BTreeSet<Role>,
    /// Whether it may be used.
    pub status: AccountStatus,
    /// The hash to verify the password against.
    pub password: PasswordHash,
    /// When the password was last set.
    pub password_set_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Account {
    /// Whether this account can administer Keepgate now.
    pub fn is_active_admin(&self) -> bool {
        self.status == AccountStatus::Active && self.roles.iter().any(Role::is_admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_neither_long_nor_able_to_command() {
        assert_eq!(name("  Zoë 王 ").as_deref(), Ok("Zoë 王"));
        assert_eq!(name(&"é".repeat(LONGEST_NAME + 1)), Err(InvalidName::TooLong));
        for commanding in ["a\u{1b}[2J", "gnp.\u{202e}exe"] {
            assert_eq!(name(commanding), Err(InvalidName::Control));
        }
    }
}
