//! What a login or refresh hands out, and how it is put together once its bundle is durable.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::SecretString;

use super::token::{Genuine, RefreshKeys};
use crate::auth::error::AuthError;
use crate::auth::throttle::DeviceCookie;
use crate::auth::tokens::{AccessGrant, Issuer};
use crate::model::id::{Seq, SessionId, TokenId};
use crate::model::random::Rng;
use crate::model::role::Role;
use crate::model::session::Session;
use crate::model::time::Timestamp;

/// What a client gets.
#[derive(Debug)]
pub struct Grant {
    /// The JWT.
    pub access_token: SecretString,
    /// How long it is good.
    pub expires_in: Duration,
    /// The one live refresh token of the session.
    pub refresh_token: SecretString,
    /// How long it is good if it is not used.
    pub refresh_expires_in: Duration,
    /// The session.
    pub session: SessionId,
    /// What makes the device known: with a login.
    pub device: Option<DeviceCookie>,
}

/// Makes grants.
pub(super) struct Granting {
    pub issuer: Issuer,
    pub refresh: RefreshKeys,
    pub access_ttl: Duration,
}

/// What was decided, durable but for its position.
pub(super) struct Granted {
    pub record: Session,
    pub roles: BTreeSet<Role>,
    pub token: Genuine,
    pub now: Timestamp,
}

impl Granting {
    /// Signs the access token of a grant whose bundle is durable at `seq`.
    ///
    /// It ends with its session at the latest, so that an expired session needs no revocation.
    /// If it cannot be signed the rotation stands; the client's retry is a replay.
    pub fn make(&self, granted: Granted, seq: Seq, rng: &dyn Rng) -> Result<Grant, AuthError> {
        let Granted { record, roles, token, now } = granted;
        let expires_at = now.plus(self.access_ttl).min(record.expires_at);
        let access = AccessGrant {
            account: record.account,
            session: record.id,
            token: TokenId::new(now, rng),
            seq,
            issued_at: now,
            expires_at,
            authenticated_at: record.authenticated_at,
            amr: record.amr,
            roles,
        };
        let access_token = self.issuer.sign(&access)?;
        Ok(Grant {
            access_token,
            expires_in: expires_at.since(now),
            refresh_token: self.refresh.text(&token),
            refresh_expires_in: record.expires_at.since(now),
            session: record.id,
            device: None,
        })
    }
}
