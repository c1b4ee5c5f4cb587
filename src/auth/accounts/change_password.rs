//! Passwords change: by their owner, who proves the old one, or by an administrator.

use secrecy::SecretString;

use crate::audit::draft::Draft;
use crate::auth::commands::{Setback, Verdict};
use crate::auth::error::AuthError;
use crate::auth::password::Verification;
use crate::auth::throttle::denial::About;
use crate::auth::throttle::{Attempt, DeviceCookie, Standing};
use crate::model::account::{Account, PasswordHash};
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::change::AuthChange;
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::revocation::RevocationCause;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;
use crate::store::error::CommitError;

use super::Accounts;
use super::administer::Ruling;

/// Verifications of one change: one more each time the stored hash changed while hashing.
const VERIFICATIONS: usize = 3;

impl Accounts {
    /// Changes the caller's password. Every other session of theirs ends; the caller's goes on, with
    /// its tokens, and hence each of the others is revoked by itself: revoking the account would
    /// refuse the caller's own access token too.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for `new_password`; [`AuthError::Credentials`] if `current` is wrong;
    /// [`AuthError::TooManyAttempts`] after too many of those;
    /// [`AuthError::SessionEnded`] if the caller's session has just ended (whoever was shut out must
    /// not be able to take the account along); otherwise failures of the node.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: SecretString,
        new: SecretString,
        origin: &Origin,
    ) -> Result<DeviceCookie, AuthError> {
        let passwords = self.passwords.for_known();
        let mut attempt = None;
        for verified in 0..VERIFICATIONS {
            let Some(account) = self.commands.auth.account(caller.account)? else {
                return Err(AuthError::SessionEnded);
            };
            let faults = self.passwords.faults("new_password", &new, Some(&account.email));
            if !faults.is_empty() {
                return Err(AuthError::Invalid(faults));
            }
            if attempt.is_none() {
                attempt = Some(self.admit(caller, &account, origin).await?);
            }
            let verification = match passwords.verify(&current, Some(&account.password)).await {
                Ok(verification) => verification,
                Err(error) => {
                    // Before the first verdict there is nothing that the asker could have learnt.
                    if let Some(attempt) = attempt.filter(|_| verified == 0) {
                        attempt.withdraw();
                    }
                    return Err(error);
                }
            };
            let right = verification != Verification::Wrong;
            let hash = if right { Some(passwords.hash(&new).await) } else { None };
            let hash = match hash.transpose() {
                Ok(hash) => hash,
                Err(error) => {
                    attempt.into_iter().for_each(Attempt::withdraw);
                    return Err(error);
                }
            };
            let decided = self.commands.decide(|bundle| {
                self.decide_change(bundle, caller, &account.password, hash.as_ref(), origin)
            });
            match decided.await {
                Ok((verdict, _)) => {
                    verdict?;
                    if let Some(attempt) = attempt {
                        attempt.right();
                    }
                    // Older cookies ended with the old password.
                    return Ok(self.throttle.cookie(account.id, None, &*self.commands.rng));
                }
                Err(Setback::Overtaken) => {}
                Err(Setback::Failed(error)) => {
                    // As at a login: the node's failure is not held against who was right, and a wrong
                    // guess counts.
                    attempt.into_iter().filter(|_| right).for_each(Attempt::withdraw);
                    return Err(error);
                }
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Whether the caller may try the password now. Whoever has stolen a session guesses in a bucket of
    /// its own.
    async fn admit(&self, caller: &Caller, account: &Account, origin: &Origin) -> Result<Attempt, AuthError> {
        match self.throttle.begin(&account.email, Standing::Session(caller.session), origin.address) {
            Ok(attempt) => Ok(attempt),
            Err(throttled) => {
                let (intent, email) = (Intent::PasswordChange, &account.email);
                let about = About { intent, email, account: Some(account.id) };
                Err(self.commands.throttled(&self.throttle, throttled, &about, origin).await)
            }
        }
    }

    /// `new` is there if the current password was proved against the hash `proved`.
    fn decide_change(
        &self,
        bundle: &mut Bundle,
        caller: &Caller,
        proved: &PasswordHash,
        new: Option<&PasswordHash>,
        origin: &Origin,
    ) -> Result<Verdict<()>, Setback> {
        let commands = &self.commands;
        let draft = |outcome| {
            Draft::new(Intent::PasswordChange, outcome).caller(caller).target(caller.account).at(origin)
        };
        let now = commands.now();
        let account = commands.auth.read_account(bundle, caller.account)?;
        let session = commands.tokens.read_session(bundle, caller.session)?;
        let live = session.filter(|session| session.account == caller.account && now < session.expires_at);
        let (Some(account), Some(_)) = (account, live) else {
            let draft = draft(Outcome::Denied).reason("session_ended");
            return Ok(commands.refuse(bundle, draft, AuthError::SessionEnded));
        };
        if account.password != *proved {
            return Err(Setback::Overtaken);
        }
        let Some(password) = new else {
            let draft = draft(Outcome::Denied).reason("wrong_password");
            return Ok(commands.refuse(bundle, draft, AuthError::Credentials));
        };
        self.stage_password(bundle, &account, password.clone(), now);
        for session in commands.tokens.read_sessions_of(bundle, account.id)? {
            if session.id != caller.session {
                commands.end_and_revoke(bundle, &session, RevocationCause::PasswordChanged, now);
            }
        }
        commands.trail.attach(bundle, draft(Outcome::Granted));
        Ok(Ok(()))
    }

    /// Sets anybody's password, for administrators. Every session of the account ends.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for `password`, [`AuthError::NotFound`]; otherwise failures of the node.
    pub async fn set_password(
        &self,
        id: AccountId,
        password: SecretString,
        actor: Actor,
        origin: &Origin,
    ) -> Result<(), AuthError> {
        let account = self.get(id)?;
        let faults = self.passwords.faults("password", &password, Some(&account.email));
        if !faults.is_empty() {
            return Err(AuthError::Invalid(faults));
        }
        let hash = self.passwords.for_known().hash(&password).await?;
        self.change(id, Intent::PasswordChange, &actor, origin, |bundle, account, now| {
            self.stage_password(bundle, account, hash.clone(), now);
            self.commands.end_all(bundle, id, RevocationCause::PasswordChanged, now)?;
            Ok(Ruling::ByAdministrator)
        })
        .await
    }

    fn stage_password(&self, bundle: &mut Bundle, account: &Account, password: PasswordHash, at: Timestamp) {
        self.commands.auth.stage(bundle, AuthChange::PasswordSet { account: account.id, password, at });
    }
}
