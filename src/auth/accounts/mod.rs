//! Accounts: how they come to be, change and go. A change that takes power away revokes what was
//! granted before it in the same bundle.
//!
//! One invariant spans accounts: while there is an active administrator there is one left. Every
//! command that could break it reads the set of administrators through its bundle, so that two
//! that would each leave one cannot both be committed.

mod administer;
mod change_password;
mod look;
mod register;
#[cfg(test)]
mod tests;
pub mod transfer;

use std::collections::BTreeSet;
use std::sync::Arc;

use secrecy::SecretString;

use super::commands::Commands;
use super::error::FieldError;
use super::password::Passwords;
use super::throttle::Throttle;
use crate::config;
use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::email::Email;
use crate::model::id::AccountId;
use crate::model::role::Role;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;

const LONGEST_NAME: usize = 100;

/// Stages, in the bundle that deletes an account, the removal of what other modules keep of it.
/// Whoever wires the house passes it: `auth` has no handle on the user namespace.
pub type Erasure = Arc<dyn Fn(&mut Bundle, AccountId) + Send + Sync>;

/// Someone wants an account.
#[derive(Debug)]
pub struct Registration {
    /// The address, in any spelling.
    pub email: String,
    /// The password to be.
    pub password: SecretString,
    /// As they wish to be called; may be empty.
    pub name: String,
    /// The code of an invitation.
    pub invite: Option<SecretString>,
}

/// An administrator makes an account.
#[derive(Debug)]
pub struct NewAccount {
    /// The address, in any spelling.
    pub email: String,
    /// The password to be.
    pub password: SecretString,
    /// As they wish to be called; may be empty.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
}

/// The rule that a name, trimmed, breaks.
fn name_fault(name: &str) -> Option<FieldError> {
    if name.chars().count() > LONGEST_NAME {
        let detail = format!("use at most {LONGEST_NAME} characters");
        return Some(FieldError::new("name", "too_long", detail));
    }
    name.contains(char::is_control)
        .then(|| FieldError::new("name", "invalid", "leave out control characters"))
}

/// Registers, changes, finds and removes accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    commands: Arc<Commands>,
    passwords: Passwords,
    throttle: Throttle,
    registration: config::accounts::Registration,
    erasure: Erasure,
}

impl Accounts {
    pub(in crate::auth) fn new(
        commands: Arc<Commands>,
        passwords: Passwords,
        throttle: Throttle,
        config: &config::accounts::Accounts,
        erasure: Erasure,
    ) -> Self {
        Self { commands, passwords, throttle, registration: config.registration, erasure }
    }

    /// The address and name of an account to be, checked together with its password so that all
    /// faults are told at once.
    fn read(
        &self,
        email: &str,
        name: &str,
        password: &SecretString,
    ) -> Result<(Email, String), Vec<FieldError>> {
        let email = email.parse::<Email>();
        let mut faults = Vec::new();
        if let Err(error) = &email {
            faults.push(FieldError::new("email", "invalid", error.to_string()));
        }
        faults.extend(self.passwords.faults("password", password, email.as_ref().ok()));
        let name = name.trim();
        faults.extend(name_fault(name));
        match email {
            Ok(email) if faults.is_empty() => Ok((email, name.to_owned())),
            _ => Err(faults),
        }
    }

    fn draft(
        &self,
        (email, name): (Email, String),
        password: PasswordHash,
        roles: BTreeSet<Role>,
        now: Timestamp,
    ) -> Account {
        Account {
            id: AccountId::new(now, &*self.commands.rng),
            email,
            name,
            roles,
            status: AccountStatus::Active,
            password,
            password_set_at: now,
            created_at: now,
        }
    }
}
