//! A verified caller as request headers, and as the value the local API gets.
//!
//! The headers of a token are made once, as the bytes that they are written as, and kept for its next request: making
//! them means a handful of allocations, using them again one reference count.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::HeaderName;
use keepgate_guard::claims::Claims;
use keepgate_guard::refusal::Refusal;
use quick_cache::unsync::Cache;
use uuid::Uuid;

use super::http1::encode::write_line;
use crate::model::caller::Caller;
use crate::model::id::{AccountId, SessionId, TokenId};
use crate::model::time::Timestamp;

/// The account's id.
pub const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
/// The session's id.
pub const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
/// The account's roles, separated by commas.
pub const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
/// The token's scopes, separated by spaces.
pub const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");

/// Tokens whose headers one edge thread keeps.
const KEPT: usize = 8192;

/// The identity headers of one token, as header lines.
#[derive(Clone, Debug)]
pub struct Identity(Bytes);

impl Identity {
    fn of(claims: &Claims) -> Option<Self> {
        let mut lines = Vec::new();
        let texts = [
            (SUBJECT, claims.sub.to_string()),
            (SESSION, claims.sid.to_string()),
            (ROLES, claims.roles.join(",")),
            (SCOPE, claims.scope.clone()),
        ];
        for (name, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            let value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
            write_line(&mut lines, name.as_str().as_bytes(), value.as_bytes());
        }
        Some(Self(lines.into()))
    }

    /// The lines. What the client sent under these names is gone by now.
    pub fn lines(&self) -> &[u8] {
        &self.0
    }
}

/// The identities one edge thread has met lately.
pub struct Identities(RefCell<Cache<Uuid, (Arc<Claims>, Identity)>>);

impl Default for Identities {
    fn default() -> Self {
        Self(RefCell::new(Cache::new(KEPT)))
    }
}

impl Identities {
    /// Forgets those whose tokens have expired by `now`.
    pub fn prune(&self, now: Timestamp) {
        let now = now.as_millis().div_euclid(1000);
        self.0.borrow_mut().retain(|_, (claims, _)| now < claims.exp);
    }

    /// The headers for a token's claims. Refused where a claim cannot stand in a header.
    pub fn of(&self, claims: &Arc<Claims>) -> Result<Identity, Refusal> {
        let mut kept = self.0.borrow_mut();
        if let Some((known, identity)) = kept.get(&claims.jti)
            && (Arc::ptr_eq(known, claims) || known == claims)
        {
            return Ok(identity.clone());
        }
        let identity = Identity::of(claims).ok_or(Refusal::Malformed)?;
        kept.insert(claims.jti, (Arc::clone(claims), identity.clone()));
        Ok(identity)
    }
}

/// The caller, as services know it. Refused where a role's name is not one.
pub fn caller(claims: &Claims) -> Result<Caller, Refusal> {
    let roles: Result<_, _> = claims.roles.iter().map(|role| role.parse()).collect();
    Ok(Caller {
        account: AccountId(claims.sub),
        session: SessionId(claims.sid),
        token: TokenId(claims.jti),
        roles: roles.map_err(|_| Refusal::Malformed)?,
        scope: claims.scope.clone(),
        expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1000)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(roles: &[&str], scope: &str) -> Arc<Claims> {
        Arc::new(Claims {
            iss: "i".into(),
            aud: "a".into(),
            sub: Uuid::from_u128(1),
            sid: Uuid::from_u128(2),
            jti: Uuid::from_u128(3),
            client_id: String::new(),
            seq: 1,
            iat: 0,
            exp: 9,
            auth_time: 0,
            amr: Vec::new(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            scope: scope.to_owned(),
        })
    }

    #[test]
    fn claims_become_headers_and_empty_ones_none() {
        let identities = Identities::default();
        let lines = |claims| String::from_utf8(identities.of(&claims).unwrap().lines().to_vec()).unwrap();
        let [subject, session] = [1, 2].map(Uuid::from_u128);
        let always = format!("x-auth-subject: {subject}\r\nx-auth-session: {session}\r\n");
        let all = format!("{always}x-auth-roles: admin,staff\r\nx-auth-scope: a b\r\n");
        assert_eq!(lines(claims(&["admin", "staff"], "a b")), all);
        assert_eq!(
            lines(claims(&[], "")),
            always,
            "the same jti with other claims is not served from memory"
        );
    }

    #[test]
    fn a_claim_that_cannot_stand_in_a_header_is_refused() {
        let identities = Identities::default();
        assert_eq!(identities.of(&claims(&["a\r\nx: y"], "")).unwrap_err(), Refusal::Malformed);
        assert_eq!(caller(&claims(&["Not A Role"], "")).unwrap_err(), Refusal::Malformed);
    }

    #[test]
    fn the_headers_of_expired_tokens_are_forgotten() {
        let identities = Identities::default();
        identities.of(&claims(&[], "")).unwrap();
        identities.prune(Timestamp::from_millis(8_999));
        assert_eq!(identities.0.borrow().len(), 1);
        identities.prune(Timestamp::from_millis(9_000));
        assert_eq!(identities.0.borrow().len(), 0);
    }
}
