//! Invitations to register. The code is shown once and stored as a hash; using or withdrawing an
//! invitation removes its record, so a code is good at most once.
//!
//! ```text
//! kgi_ base64url( invitation id 16 ‖ secret 32 ‖ crc32 4 )     without padding
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::commands::Commands;
use super::error::AuthError;
use crate::audit::draft::Draft;
use crate::model::caller::{Actor, Origin};
use crate::model::change::AuthChange;
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::id::InviteId;
use crate::model::invite::Invite;
use crate::model::random;
use crate::model::role::Role;
use crate::model::session::TokenHash;

const PREFIX: &str = "kgi_";
const LENGTH: usize = 16 + 32 + 4;

/// An invitation to be.
#[derive(Debug, Default)]
pub struct NewInvite {
    /// The only address it may be used with, in any spelling; `None` for whoever has the code.
    pub email: Option<String>,
    /// The roles the new account gets.
    pub roles: BTreeSet<Role>,
    /// How long it is good; `accounts.invite_ttl` if `None`.
    pub ttl: Option<Duration>,
}

/// Makes, lists and withdraws invitations. Cheap to clone.
#[derive(Clone)]
pub struct Invites {
    commands: Arc<Commands>,
    ttl: Duration,
}

/// Longest life, as of `accounts.invite_ttl`.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Invites {
    pub(in crate::auth) const fn new(commands: Arc<Commands>, ttl: Duration) -> Self {
        Self { commands, ttl }
    }

    /// Makes an invitation and the code to hand over: the only time it is seen.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for `email` or `ttl`; otherwise failures of the node.
    pub async fn create(
        &self,
        new: NewInvite,
        actor: Actor,
        origin: &Origin,
    ) -> Result<(Invite, SecretString), AuthError> {
        let commands = &self.commands;
        let email = match new.email.map(|email| email.parse::<Email>()).transpose() {
            Ok(email) => email,
            Err(error) => return Err(AuthError::field("email", "invalid", error.to_string())),
        };
        let ttl = new.ttl.unwrap_or(self.ttl);
        if ttl < Duration::from_secs(1) || ttl > LONGEST {
            return Err(AuthError::field(
                "ttl",
                "invalid",
                "use a time from 1 second to 366 days".to_owned(),
            ));
        }
        let now = commands.now();
        let secret = Zeroizing::new(random::bytes::<32>(&*commands.rng));
        let code = InviteCode { invite: InviteId::new(now, &*commands.rng), secret };
        let invite = Invite {
            id: code.invite,
            hash: code.hash(),
            email,
            roles: new.roles,
            author: author(&actor),
            created_at: now,
            expires_at: now.plus(ttl),
        };
        commands
            .settle(|bundle| {
                commands.auth.stage(bundle, AuthChange::InviteCreated(invite.clone()));
                let draft = Draft::new(Intent::InviteCreate, Outcome::Granted).by(actor.clone());
                commands.trail.attach(bundle, draft.target(invite.id).at(origin));
                Ok(Ok(()))
            })
            .await?;
        Ok((invite, code.text()))
    }

    /// The unused invitations that have not lapsed.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list(&self) -> Result<Vec<Invite>, AuthError> {
        let now = self.commands.now();
        let mut invites = self.commands.auth.invites()?;
        invites.retain(|invite| now < invite.expires_at);
        Ok(invites)
    }

    /// Withdraws an unused invitation.
    ///
    /// # Errors
    /// [`AuthError::NotFound`] if it is unknown or used; otherwise failures of the node.
    pub async fn revoke(&self, id: InviteId, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        let commands = &self.commands;
        commands
            .settle(|bundle| {
                let draft = |outcome| {
                    Draft::new(Intent::InviteRevoke, outcome).by(actor.clone()).target(id).at(origin)
                };
                if commands.auth.read_invite(bundle, id)?.is_none() {
                    let draft = draft(Outcome::Denied).reason("not_found");
                    return Ok(commands.refuse(bundle, draft, AuthError::NotFound));
                }
                commands.auth.stage(bundle, AuthChange::InviteRemoved { invite: id });
                commands.trail.attach(bundle, draft(Outcome::Granted));
                Ok(Ok(()))
            })
            .await
    }
}

/// Who wrote it, as invitations and bans keep it.
pub(in crate::auth) fn author(actor: &Actor) -> String {
    match actor {
        Actor::Anonymous => "anonymous".to_owned(),
        Actor::Account(id) => format!("account:{id}"),
        Actor::Console(user) => format!("console:{user}"),
        Actor::System => "system".to_owned(),
    }
}

/// A code as given: names an invitation and may open it.
pub(in crate::auth) struct InviteCode {
    pub invite: InviteId,
    secret: Zeroizing<[u8; 32]>,
}

/// The text is not an invitation's code, by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct MalformedCode;

impl InviteCode {
    pub fn parse(text: &SecretString) -> Result<Self, MalformedCode> {
        let encoded = text.expose_secret().trim().strip_prefix(PREFIX).ok_or(MalformedCode)?;
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes[..]).map_err(|_| MalformedCode)?;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(MalformedCode)?;
        if length != LENGTH || crc32fast::hash(covered) != u32::from_be_bytes(*crc) {
            return Err(MalformedCode);
        }
        let (id, secret) = covered.split_first_chunk::<16>().ok_or(MalformedCode)?;
        let secret = Zeroizing::new(secret.try_into().map_err(|_| MalformedCode)?);
        Ok(Self { invite: InviteId(Uuid::from_bytes(*id)), secret })
    }

    /// Whether it is this invitation's code.
    pub fn opens(&self, invite: &Invite) -> bool {
        self.invite == invite.id && self.hash().0.ct_eq(&invite.hash.0).into()
    }

    fn hash(&self) -> TokenHash {
        TokenHash(*blake3::hash(&*self.secret).as_bytes())
    }

    fn text(&self) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(self.invite.0.as_bytes());
        bytes.extend_from_slice(&*self.secret);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_survives_the_trip_and_a_typing_error_is_noticed() {
        let code =
            InviteCode { invite: InviteId(Uuid::from_bytes([3; 16])), secret: Zeroizing::new([4; 32]) };
        let text = code.text();
        let read = InviteCode::parse(&text).unwrap();
        assert_eq!((read.invite, read.hash()), (code.invite, code.hash()));
        let mistyped = text.expose_secret().replacen("BAQE", "BAQF", 1);
        assert!(InviteCode::parse(&mistyped.into()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(kgi_)?[A-Za-z0-9_=-]{0,80}|\\PC*") {
            let _ = InviteCode::parse(&text.into());
        }
    }
}
