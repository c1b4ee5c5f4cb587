//! `login`: a password for a session. An unknown address, a wrong password and a disabled account
//! answer alike and take alike: the same lookup, the same hash, one durable audit event.

use secrecy::SecretString;

use crate::audit::draft::Draft;
use crate::auth::commands::{Setback, Verdict};
use crate::auth::error::{AuthError, FieldError};
use crate::auth::password::{Passwords, Verification};
use crate::auth::throttle::denial::About;
use crate::auth::throttle::device::Device;
use crate::auth::throttle::{Attempt, Standing};
use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::caller::{Actor, Origin};
use crate::model::change::{AuthChange, TokenChange};
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::id::{AccountId, SessionId};
use crate::model::random;
use crate::model::revocation::RevocationCause;
use crate::model::session::Session;
use crate::model::text;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;
use crate::store::error::CommitError;

use super::grant::{Grant, Granted};
use super::{Login, Sessions};

/// Verifications of one login: one more each time the account's hash changed while hashing.
const VERIFICATIONS: usize = 3;

const LONGEST_DEVICE: usize = 200;

/// What hashing came to, and for which stored hash it did.
struct Proof {
    stored: Option<PasswordHash>,
    verification: Verification,
    /// The same password under the parameters configured now, if the stored hash is weaker.
    renewed: Option<PasswordHash>,
}

impl Sessions {
    /// Opens a session.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for an ill-formed `email` or `device`; [`AuthError::Credentials`] for
    /// an unknown address, a wrong password or a disabled account; [`AuthError::TooManyAttempts`] after
    /// too many of those; otherwise failures of the node.
    pub async fn login(&self, login: Login, origin: &Origin) -> Result<Grant, AuthError> {
        let (email, device) = read(&login, origin)?;
        let (attempt, known) = self.admit(&email, &login, origin).await?;
        let passwords = if attempt.is_known() { self.passwords.for_known() } else { self.passwords.clone() };
        for verified in 0..VERIFICATIONS {
            let proof = match self.prove(&passwords, &email, &login.password).await {
                Ok(proof) => proof,
                Err(error) => {
                    // Before the first verdict there is nothing that the asker could have learnt.
                    if verified == 0 {
                        attempt.withdraw();
                    }
                    return Err(error);
                }
            };
            let decided =
                self.commands.decide(|bundle| self.decide_login(bundle, &email, &device, &proof, origin));
            match decided.await {
                Ok((verdict, receipt)) => {
                    let granted = verdict?;
                    attempt.right();
                    let rng = &*self.commands.rng;
                    let cookie = self.throttle.cookie(granted.record.account, known, rng);
                    let grant = self.granting.make(granted, receipt.seq, rng)?;
                    return Ok(Grant { device: Some(cookie), ..grant });
                }
                Err(Setback::Overtaken) => {}
                Err(Setback::Failed(error)) => {
                    // The node's failure is not held against who was right. A wrong guess counts: a node
                    // that writes nothing for hours must not be one to guess at for hours.
                    if proof.verification != Verification::Wrong {
                        attempt.withdraw();
                    }
                    return Err(error);
                }
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Whether this try may be made now, and the device that makes it, if it is known. Looks up the same
    /// for an account that does not exist.
    async fn admit(
        &self,
        email: &Email,
        login: &Login,
        origin: &Origin,
    ) -> Result<(Attempt, Option<Device>), AuthError> {
        let account = self.commands.auth.account_by_email(email)?;
        let known = self.throttle.known_device(account.as_ref(), &login.cookies);
        let standing = match known {
            Some(device) => Standing::Device(device.id),
            None => {
                let id = account.as_ref().map_or(AccountId(uuid::Uuid::nil()), |account| account.id);
                self.throttle.by_address(&self.commands.tokens.sessions_of(id)?, origin.address)
            }
        };
        match self.throttle.begin(email, standing, origin.address) {
            Ok(attempt) => Ok((attempt, known)),
            Err(throttled) => {
                let about = About { intent: Intent::Login, email, account: account.map(|it| it.id) };
                Err(self.commands.throttled(&self.throttle, throttled, &about, origin).await)
            }
        }
    }

    /// Does the slow work outside any decision.
    async fn prove(
        &self,
        passwords: &Passwords,
        email: &Email,
        password: &SecretString,
    ) -> Result<Proof, AuthError> {
        let account = self.commands.auth.account_by_email(email)?;
        let active = account.as_ref().is_some_and(|account| account.status == AccountStatus::Active);
        let stored = account.map(|account| account.password);
        let verification = passwords.verify(password, stored.as_ref()).await?;
        let renewed = match verification {
            // Only where the login succeeds: a refusal that took two hashes would tell that the
            // password was right.
            Verification::Right { outgrown: true } if active => Some(passwords.hash(password).await?),
            _ => None,
        };
        Ok(Proof { stored, verification, renewed })
    }

    fn decide_login(
        &self,
        bundle: &mut Bundle,
        email: &Email,
        device: &str,
        proof: &Proof,
        origin: &Origin,
    ) -> Result<Verdict<Granted>, Setback> {
        let commands = &self.commands;
        let account = commands.auth.read_account_by_email(bundle, email)?;
        if account.as_ref().map(|account| &account.password) != proof.stored.as_ref() {
            // The account or its password came, went or changed while we hashed: what was verified
            // says nothing about it.
            return Err(Setback::Overtaken);
        }
        let refusal = match (&account, proof.verification) {
            (None, _) => Some("unknown_account"),
            (Some(_), Verification::Wrong) => Some("wrong_password"),
            (Some(account), _) if account.status != AccountStatus::Active => Some("disabled"),
            _ => None,
        };
        let (None, Some(account)) = (refusal, &account) else {
            let draft =
                Draft::new(Intent::Login, Outcome::Denied).reason(refusal.unwrap_or_default()).at(origin);
            let draft = match &account {
                Some(account) => draft.target(account.id).about(account.id),
                None => draft,
            };
            return Ok(commands.refuse(bundle, draft, AuthError::Credentials));
        };
        let now = commands.now();
        self.make_room(bundle, account, now)?;
        if let Some(password) = proof.renewed.clone() {
            // The password is as old as it was; only its hash is new.
            let (account, at) = (account.id, account.password_set_at);
            commands.auth.stage(bundle, AuthChange::PasswordSet { account, password, at });
        }
        Ok(Ok(self.open(bundle, account, device, origin, now)))
    }

    /// Ends the least recently used sessions until one more is within the cap, and expired ones.
    fn make_room(&self, bundle: &mut Bundle, account: &Account, now: Timestamp) -> Result<(), AuthError> {
        let sessions = self.commands.tokens.read_sessions_of(bundle, account.id)?;
        let (mut live, expired): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|session| now < session.expires_at);
        for session in expired {
            // Access tokens end with their session, so there is nothing left to revoke.
            self.commands.end(bundle, session.id, session.account);
        }
        live.sort_unstable_by_key(|session| (session.used_at, session.id));
        let surplus = (live.len() + 1).saturating_sub(self.cap);
        for session in live.iter().take(surplus) {
            self.commands.end_and_revoke(bundle, session, RevocationCause::SessionLimit, now);
        }
        Ok(())
    }

    fn open(
        &self,
        bundle: &mut Bundle,
        account: &Account,
        device: &str,
        origin: &Origin,
        now: Timestamp,
    ) -> Granted {
        let commands = &self.commands;
        let id = SessionId::new(now, &*commands.rng);
        let token = self.granting.refresh.first(id, &*commands.rng);
        let record = Session {
            id,
            account: account.id,
            generation: token.generation,
            current: token.hash(),
            previous: None,
            salt: random::bytes(&*commands.rng),
            device: device.to_owned(),
            address: origin.address,
            amr: vec!["pwd".to_owned()],
            authenticated_at: now,
            created_at: now,
            used_at: now,
            expires_at: self.lives.expiry(now, now),
        };
        commands.tokens.stage(bundle, TokenChange::SessionOpened(record.clone()));
        let draft = Draft::new(Intent::Login, Outcome::Granted).by(Actor::Account(account.id)).target(id);
        commands.trail.attach(bundle, draft.at(origin));
        Granted { record, roles: account.roles.clone(), token, now }
    }
}

/// The address and what to call the client. A password may be anything: the policy is for new ones.
fn read(login: &Login, origin: &Origin) -> Result<(Email, String), AuthError> {
    let mut faults = Vec::new();
    let email = login.email.parse::<Email>();
    if let Err(error) = &email {
        faults.push(FieldError::new("email", "invalid", error.to_string()));
    }
    let device = login.device.as_ref().unwrap_or(&origin.user_agent);
    if login.device.is_some() && (device.len() > LONGEST_DEVICE || device.contains(text::commands)) {
        let detail = format!("use at most {LONGEST_DEVICE} bytes without control characters");
        faults.push(FieldError::new("device", "invalid", detail));
    }
    match email {
        Ok(email) if faults.is_empty() => Ok((email, device.clone())),
        _ => Err(AuthError::Invalid(faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{Backing, PASSWORD, Settings, World, address, here};

    #[tokio::test]
    async fn a_disabled_account_with_an_outgrown_hash_costs_one_hash_like_a_wrong_password() {
        let mut settings = Settings::cheap();
        let world = World::on(Backing::Disk, &settings).await;
        let eve = world.account("eve", &[]).await;
        settings.passwords.iterations = 2;
        let world = world.reopened(&settings).await;
        let email: Email = address("eve").parse().unwrap();
        let prove = |password: &str| {
            let password = SecretString::from(password);
            let (sessions, email) = (&world.auth.sessions, &email);
            async move { sessions.prove(&sessions.passwords, email, &password).await.unwrap() }
        };
        assert!(prove(PASSWORD).await.renewed.is_some());
        world.auth.accounts.disable(eve.id, Actor::System, &here()).await.unwrap();
        let (right, wrong) = (prove(PASSWORD).await, prove("incorrect horse").await);
        assert_eq!(right.verification, Verification::Right { outgrown: true });
        assert!(right.renewed.is_none() && wrong.renewed.is_none());
    }
}
