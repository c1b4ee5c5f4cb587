//! Access tokens: signed with the active key (RFC 9068, JWS compact).
//!
//! Says what it is told to say. Whether it may be said, and that it is durable, was decided before.

use std::sync::Arc;
use std::time::Instant;

use jsonwebtoken::{Algorithm, Header};
use keepgate_guard::claims::Claims;
use secrecy::SecretString;

use super::keys::live::LiveKeys;
use crate::config::tokens::Tokens;
use crate::model::id::{AccountId, Seq, SessionId, TokenId};
use crate::model::key::KeyAlgorithm;
use crate::model::role::Role;
use crate::model::time::Timestamp;
use crate::observe::identity::IdentityMeters;

/// `client_id` of every token: sessions of people are opened by the first-party client, Keepgate's own
/// login API, and RFC 9068 §2.2 has no token without a client.
const CLIENT: &str = "keepgate";

/// What an access token shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGrant {
    /// `sub`
    pub account: AccountId,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
    /// `seq`: the position whose state the rest speaks of.
    pub seq: Seq,
    /// `iat`
    pub issued_at: Timestamp,
    /// `exp`
    pub expires_at: Timestamp,
    /// `auth_time`
    pub authenticated_at: Timestamp,
    /// `amr` (RFC 8176)
    pub amr: Vec<String>,
    /// `roles`
    pub roles: std::collections::BTreeSet<Role>,
}

/// No key could sign.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the access token could not be signed")]
pub struct Unsigned;

/// Signs access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    keys: LiveKeys,
    issuer: Arc<str>,
    audience: Arc<str>,
    meters: Arc<IdentityMeters>,
}

impl Issuer {
    /// Signs with whatever key of `keys` is active, as `tokens.issuer` for `tokens.audience`.
    pub fn new(keys: LiveKeys, tokens: &Tokens, meters: Arc<IdentityMeters>) -> Self {
        let (issuer, audience) = (tokens.issuer.as_str().into(), tokens.audience.as_str().into());
        Self { keys, issuer, audience, meters }
    }

    /// The token in compact form. `scope` is empty: sessions of people have roles.
    ///
    /// # Errors
    /// If no key is active or it does not sign.
    pub fn sign(&self, grant: &AccessGrant) -> Result<SecretString, Unsigned> {
        let signer = self.keys.signer().ok_or(Unsigned)?;
        let mut header = Header::new(algorithm(signer.algorithm));
        header.typ = Some("at+jwt".into());
        header.kid = Some(signer.id.0.clone());
        let begun = Instant::now();
        let token = jsonwebtoken::encode(&header, &self.claims(grant), &signer.key);
        self.meters.sign.took(begun.elapsed());
        token.map(SecretString::from).map_err(|_| Unsigned)
    }

    fn claims(&self, grant: &AccessGrant) -> Claims {
        Claims {
            iss: self.issuer.to_string(),
            aud: self.audience.to_string(),
            sub: grant.account.0,
            sid: grant.session.0,
            jti: grant.token.0,
            client_id: CLIENT.to_owned(),
            seq: grant.seq.0,
            iat: grant.issued_at.as_secs(),
            exp: grant.expires_at.as_secs(),
            auth_time: grant.authenticated_at.as_secs(),
            amr: grant.amr.clone(),
            roles: grant.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            scope: String::new(),
        }
    }
}

const fn algorithm(algorithm: KeyAlgorithm) -> Algorithm {
    match algorithm {
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::HS256 => Algorithm::HS256,
    }
}
