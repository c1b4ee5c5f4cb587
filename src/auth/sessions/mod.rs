//! Sessions: login, refresh with rotation and reuse detection, and every way to end one.
//!
//! One session is one refresh-token family and one record. The rules that decide on a presented
//! token are in [`family`], its text form in [`token`]; the files beside them are one command each.
//! Every answer that grants, renews or ends access leaves after its bundle is durable.
//!
//! **The `seq` of an access token.** A grant's bundle depends on the account it read; the committer
//! takes it only if nothing wrote that account in between. So at the position of its receipt the
//! account is exactly what the token says, and that position is the token's `seq`. An account
//! revocation committed later has a greater position and refuses the token, even if the token is
//! signed and sent only afterwards; one committed earlier is part of what was read. Session
//! revocations need no position: they refuse every token of the session, whenever granted. A replay
//! changes nothing but commits its audit event in a bundle with the same dependencies, so the same
//! argument holds for it; signing with the position that the view had reached before reading would
//! be as safe, but would leave a grant without a durable record.

mod end;
pub mod family;
pub mod grant;
mod list;
mod login;
mod refresh;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod token;

use std::sync::Arc;

use super::commands::Commands;
use super::password::Passwords;
use super::throttle::Throttle;
use super::tokens::Issuer;
use crate::config::accounts::Accounts;
use crate::config::tokens::Tokens;
use family::Lifetimes;
use grant::Granting;
use token::RefreshKeys;

/// A login with a password, as it arrived.
#[derive(Debug)]
pub struct Login {
    /// The address, in any spelling.
    pub email: String,
    /// The password.
    pub password: secrecy::SecretString,
    /// What the client calls itself, at most 200 bytes; without it the user agent is kept.
    pub device: Option<String>,
    /// What may be device cookies ([`crate::auth::throttle::device`]), as they came.
    pub cookies: Vec<secrecy::SecretString>,
}

/// Opens, renews, lists and ends sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    commands: Arc<Commands>,
    passwords: Passwords,
    throttle: Throttle,
    granting: Arc<Granting>,
    lives: Lifetimes,
    cap: usize,
}

impl Sessions {
    pub(in crate::auth) fn new(
        commands: Arc<Commands>,
        passwords: Passwords,
        throttle: Throttle,
        issuer: Issuer,
        refresh: RefreshKeys,
        accounts: &Accounts,
        tokens: &Tokens,
    ) -> Self {
        Self {
            commands,
            passwords,
            throttle,
            granting: Arc::new(Granting { issuer, refresh, access_ttl: tokens.access_ttl }),
            lives: Lifetimes {
                refresh: tokens.refresh_ttl,
                session: tokens.session_ttl,
                grace: tokens.refresh_grace,
            },
            cap: accounts.sessions_per_account.max(1),
        }
    }
}
