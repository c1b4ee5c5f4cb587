//! Identity without HTTP: accounts, passwords, sessions, invitations, the blacklist, signing keys and
//! access tokens, and how revocations reach the verifiers. Every command decides from reads that its bundle depends on and
//! commits the decision with its audit event (see `commands`); answers leave after that.
//!
//! Only this module touches the auth and token namespaces. It knows no requests and no responses:
//! callers come verified ([`crate::model::caller::Caller`]), and errors are [`error::AuthError`].

pub mod accounts;
pub mod bans;
mod commands;
pub mod error;
pub mod invites;
pub mod keys;
pub mod lapsed;
pub mod password;
pub mod revocation;
pub mod sessions;
#[cfg(test)]
pub(crate) mod testing;
pub mod throttle;
pub mod tokens;

use std::sync::Arc;

use accounts::{Accounts, Erasure};
use bans::Bans;
use commands::Commands;
use invites::Invites;
use keys::KeyRing;
use lapsed::Lapsed;
use password::{Passwords, PasswordsError};
use sessions::Sessions;
use sessions::token::RefreshKeys;
use throttle::Throttle;
use tokens::Issuer;

use crate::audit::Trail;
use crate::audit::folded::Folded;
use crate::config;
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;
use crate::observe::identity::IdentityMeters;
use crate::store::commit::Committer;
use crate::store::namespace::{AuthStore, TokenStore};

/// What the services are made of.
pub struct Parts {
    /// The auth namespace.
    pub auth: AuthStore,
    /// The tokens namespace.
    pub tokens: TokenStore,
    /// The one way to write.
    pub committer: Committer,
    /// Where decisions are recorded.
    pub trail: Trail,
    /// The time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// The signing keys, opened.
    pub keys: KeyRing,
    /// What deleting an account removes beyond this module.
    pub erasure: Erasure,
}

/// The services. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    /// Accounts.
    pub accounts: Accounts,
    /// Sessions.
    pub sessions: Sessions,
    /// Invitations.
    pub invites: Invites,
    /// The blacklist.
    pub bans: Bans,
    /// Signing keys.
    pub keys: KeyRing,
    /// Refusals being counted. Whoever wires the house closes their windows from time to time, and at
    /// the end.
    pub denials: Arc<Folded<Trail>>,
    /// What clears away lapsed records.
    pub lapsed: Lapsed,
    /// What hashing and signing cost.
    pub meters: Arc<IdentityMeters>,
    /// How fast passwords may be guessed.
    pub throttle: Throttle,
}

impl Auth {
    /// Starts the services and their hashing threads. Refresh tokens rest on `master`: under another
    /// one those issued so far are forgeries, and their owners log in again.
    ///
    /// # Errors
    /// [`PasswordsError`] if the configured parameters are none of argon2id's or no thread is to be had.
    pub fn start(
        parts: Parts,
        master: &MasterKey,
        accounts: &config::accounts::Accounts,
        passwords: &config::passwords::Passwords,
        throttle: &config::throttle::Throttle,
        tokens: &config::tokens::Tokens,
    ) -> Result<Self, PasswordsError> {
        let refresh = RefreshKeys::new(&master.derive(Purpose::RefreshTokens));
        let meters = Arc::new(IdentityMeters::default());
        let issuer = Issuer::new(parts.keys.live().clone(), tokens, Arc::clone(&meters));
        let throttle = Throttle::new(throttle, master, Arc::clone(&parts.clock), &*parts.rng);
        let passwords = Passwords::start(accounts, passwords, Arc::clone(&parts.rng), Arc::clone(&meters))?;
        let denials = Arc::new(Folded::new(parts.trail.clone()));
        let commands = Arc::new(Commands {
            auth: parts.auth,
            tokens: parts.tokens,
            committer: parts.committer,
            trail: parts.trail,
            denials: Arc::clone(&denials),
            clock: parts.clock,
            rng: parts.rng,
            horizon: Commands::horizon(tokens),
        });
        Ok(Self {
            sessions: Sessions::new(
                Arc::clone(&commands),
                passwords.clone(),
                throttle.clone(),
                issuer,
                refresh,
                accounts,
                tokens,
            ),
            accounts: Accounts::new(
                Arc::clone(&commands),
                passwords,
                throttle.clone(),
                accounts,
                parts.erasure,
            ),
            invites: Invites::new(Arc::clone(&commands), accounts.invite_ttl),
            bans: Bans::new(Arc::clone(&commands)),
            lapsed: Lapsed::new(commands),
            keys: parts.keys,
            denials,
            throttle,
            meters,
        })
    }
}
