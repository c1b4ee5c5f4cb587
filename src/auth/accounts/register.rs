//! How accounts come to be: by registering, or by an administrator.
//!
//! Open registration tells whether an address is taken: without sending mail there is no way to
//! answer both cases alike and still be of use. The password is hashed first, so that at least the
//! time does not tell before the answer does, and each guess costs the guesser a hash and one of the failures
//! that an address may have (see `auth::throttle`). What is refused
//! before that costs the asker nothing; such refusals are folded in the audit log.

use std::collections::BTreeSet;

use secrecy::SecretString;

use crate::audit::draft::Draft;
use crate::auth::commands::Verdict;
use crate::auth::error::AuthError;
use crate::auth::invites::InviteCode;
use crate::config;
use crate::model::account::{Account, PasswordHash};
use crate::model::caller::{Actor, Origin};
use crate::model::change::AuthChange;
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::invite::Invite;
use crate::model::role::Role;
use crate::store::bundle::Bundle;

use super::{Accounts, NewAccount, Registration};

impl Accounts {
    /// Creates an account for whoever asks, as far as `[accounts] registration` lets them. An
    /// invitation given under open registration is used too, for its roles.
    ///
    /// # Errors
    /// [`AuthError::RegistrationClosed`], [`AuthError::Invalid`], [`AuthError::Invite`],
    /// [`AuthError::EmailTaken`]; [`AuthError::TooManyAttempts`] after too many of the last two; otherwise
    /// failures of the node.
    pub async fn register(&self, registration: Registration, origin: &Origin) -> Result<Account, AuthError> {
        use config::accounts::Registration as Mode;
        let Registration { email, password, name, invite } = registration;
        if self.registration == Mode::Closed {
            return self.commands.deny(denied("closed", origin), AuthError::RegistrationClosed).await;
        }
        let person = self.read(&email, &name, &password).map_err(AuthError::Invalid)?;
        let code = match invite {
            None if self.registration == Mode::Invite => return self.refuse_invite(origin).await,
            None => None,
            Some(text) => match InviteCode::parse(&text) {
                Ok(code) => Some(code),
                Err(_) => return self.refuse_invite(origin).await,
            },
        };
        // Looked at before hashing, so that only the invited can make us hash; decided on below.
        if let Some(code) = &code
            && self.invite_for(&mut Bundle::new(), code, &person.0)?.is_none()
        {
            return self.refuse_invite(origin).await;
        }
        let attempt = match self.throttle.begin_registration(origin.address) {
            Ok(attempt) => attempt,
            Err(throttled) => return Err(self.commands.registration_throttled(throttled, origin).await),
        };
        let registered = self.enter(&person, &password, code.as_ref(), origin).await;
        match &registered {
            // It told whether there is such an account, or such an invitation.
            Err(AuthError::EmailTaken | AuthError::Invite) => attempt.wrong(),
            _ => attempt.withdraw(),
        }
        registered
    }

    /// Hashes and decides.
    async fn enter(
        &self,
        person: &(Email, String),
        password: &SecretString,
        code: Option<&InviteCode>,
        origin: &Origin,
    ) -> Result<Account, AuthError> {
        let hash = self.passwords.hash(password).await?;
        self.commands
            .settle(|bundle| {
                let draft = |outcome| Draft::new(Intent::Register, outcome).at(origin);
                let mut invite = None;
                if let Some(code) = code {
                    invite = self.invite_for(bundle, code, &person.0)?;
                    if invite.is_none() {
                        let draft = draft(Outcome::Denied).reason("invite");
                        return Ok(self.commands.refuse(bundle, draft, AuthError::Invite));
                    }
                }
                let roles = invite.as_ref().map(|invite| invite.roles.clone()).unwrap_or_default();
                let verdict = self.add(bundle, person, &hash, &roles, draft)?;
                if let (Ok(_), Some(invite)) = (&verdict, invite) {
                    self.commands.auth.stage(bundle, AuthChange::InviteRemoved { invite: invite.id });
                }
                Ok(verdict)
            })
            .await
    }

    /// Creates an account by an administrator, whatever registration allows.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::EmailTaken`]; otherwise failures of the node.
    pub async fn create(&self, new: NewAccount, actor: Actor, origin: &Origin) -> Result<Account, AuthError> {
        let NewAccount { email, password, name, roles } = new;
        let person = self.read(&email, &name, &password).map_err(AuthError::Invalid)?;
        let hash = self.passwords.for_known().hash(&password).await?;
        self.commands
            .settle(|bundle| {
                let draft = |outcome| Draft::new(Intent::AccountCreate, outcome).by(actor.clone()).at(origin);
                self.add(bundle, &person, &hash, &roles, draft)
            })
            .await
    }

    /// Stages the account and its event, or the event of its refusal if the address is taken.
    fn add(
        &self,
        bundle: &mut Bundle,
        person: &(Email, String),
        hash: &PasswordHash,
        roles: &BTreeSet<Role>,
        draft: impl Fn(Outcome) -> Draft,
    ) -> Result<Verdict<Account>, AuthError> {
        let commands = &self.commands;
        if let Some(holder) = commands.auth.read_account_by_email(bundle, &person.0)? {
            let draft = draft(Outcome::Denied).target(holder.id).reason("email_taken");
            return Ok(commands.refuse(bundle, draft, AuthError::EmailTaken));
        }
        let account = self.draft(person.clone(), hash.clone(), roles.clone(), commands.now());
        commands.auth.stage(bundle, AuthChange::AccountCreated(account.clone()));
        commands.trail.attach(bundle, draft(Outcome::Granted).target(account.id));
        Ok(Ok(account))
    }

    /// The invitation of that code if it is good now for that address.
    fn invite_for(
        &self,
        bundle: &mut Bundle,
        code: &InviteCode,
        email: &Email,
    ) -> Result<Option<Invite>, AuthError> {
        let invite = self.commands.auth.read_invite(bundle, code.invite)?;
        let now = self.commands.now();
        Ok(invite.filter(|invite| {
            code.opens(invite)
                && now < invite.expires_at
                && invite.email.as_ref().is_none_or(|bound| bound == email)
        }))
    }

    async fn refuse_invite(&self, origin: &Origin) -> Result<Account, AuthError> {
        self.commands.deny(denied("invite", origin), AuthError::Invite).await
    }
}

fn denied(reason: &str, origin: &Origin) -> Draft {
    Draft::new(Intent::Register, Outcome::Denied).reason(reason).at(origin)
}
