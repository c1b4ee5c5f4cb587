//! Access tokens: signed with the active key (RFC 9068, JWS compact).
//!
//! Says what it is told to say. Whether it may be said, and that it is durable, was decided before.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header};
use keepgate_guard::claims::Claims;
use secrecy::SecretString;

use super::keys::live::LiveKeys;
use super::sessions::grant::{AccessGrant, AccessTokens};
use crate::config::tokens::Tokens;
use crate::model::key::KeyAlgorithm;

/// Signs access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    keys: LiveKeys,
    issuer: Arc<str>,
    audience: Arc<str>,
}

impl Issuer {
    /// Signs with whatever key of `keys` is active, as `tokens.issuer` for `tokens.audience`.
    pub fn new(keys: LiveKeys, tokens: &Tokens) -> Self {
        Self { keys, issuer: tokens.issuer.as_str().into(), audience: tokens.audience.as_str().into() }
    }

    fn claims(&self, grant: &AccessGrant) -> Claims {
        Claims {
            iss: self.issuer.to_string(),
            aud: self.audience.to_string(),
            sub: grant.account.0,
            sid: grant.session.0,
            jti: grant.token.0,
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

impl AccessTokens for Issuer {
    /// `None` if no key is active or it does not sign. `scope` is empty: people's sessions have roles.
    fn sign(&self, grant: &AccessGrant) -> Option<SecretString> {
        let signer = self.keys.signer()?;
        let mut header = Header::new(algorithm(signer.algorithm));
        header.typ = Some("at+jwt".into());
        header.kid = Some(signer.id.0.clone());
        jsonwebtoken::encode(&header, &self.claims(grant), &signer.key).ok().map(SecretString::from)
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
