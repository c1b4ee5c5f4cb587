//! Who asks, and may they: the bearer token of RFC 6750 against the route's demands.
//!
//! Verification is the guard crate's (signature, claims, revocation view), in memory, without a
//! store or another service. On a route that looks at tokens the `Authorization` header ends here:
//! upstreams get the identity headers, the local API gets the `Caller`, nobody behind the edge gets a
//! bearer token that they could use elsewhere. On a route with `auth = "none"` it belongs to the
//! upstream and passes untouched.

use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use keepgate_guard::claims::Claims;
use keepgate_guard::refusal::Refusal;
use keepgate_guard::verifier::{Verified, Verifier};
use keepgate_guard::view::Listener;

use super::decisions::Denied;
use super::guard::Admitted;
use super::identity;
use super::rates::Rates;
use super::respond::Refused;
use super::route::{Route, Routed};
use super::upstream::key::Asker;
use crate::config::route::RouteAuth;
use crate::model::time::Timestamp;
use crate::observe::metrics::Denial;

/// From a token's text to claims: what the edge needs of a verifier. [`Verifier`] in the appliance.
pub trait TokenCheck: Send + Sync + 'static {
    /// What is remembered of a token at `now` (seconds since the epoch), which costs no signature.
    fn recall(&self, token: &str, now: i64) -> Option<Result<Verified, Refusal>>;

    /// Verifies a token of which nothing is remembered.
    fn verify_afresh(&self, token: &str, now: i64) -> Result<Verified, Refusal>;

    /// Whether what was begun with a token may go on: see [`Verifier::still_holds`].
    fn still_holds(&self, verified: &Verified) -> Result<(), Refusal>;

    /// Tells `listener`, while it is kept, when that may have changed.
    fn on_change(&self, listener: &Listener);
}

impl TokenCheck for Verifier {
    fn recall(&self, token: &str, now: i64) -> Option<Result<Verified, Refusal>> {
        Self::recall(self, token, now)
    }

    fn verify_afresh(&self, token: &str, now: i64) -> Result<Verified, Refusal> {
        Self::verify_afresh(self, token, now)
    }

    fn still_holds(&self, verified: &Verified) -> Result<(), Refusal> {
        Self::still_holds(self, verified)
    }

    fn on_change(&self, listener: &Listener) {
        Self::on_change(self, listener);
    }
}

/// A caller whose token was verified, and who may use the route.
#[derive(Debug)]
pub struct Authenticated {
    verified: Verified,
}

impl Authenticated {
    /// The token's claims.
    pub fn claims(&self) -> &Arc<Claims> {
        self.verified.claims()
    }

    /// For what stays open after the request.
    pub fn into_verified(self) -> Verified {
        self.verified
    }
}

/// Why a caller that may use the route is nobody.
#[derive(Debug)]
pub enum Anonymous {
    /// The route does not look at tokens.
    NotAsked,
    /// There was none, and the route does not insist.
    NoToken,
    /// It did not verify, and the route does not insist. The event is for the case that whoever
    /// answers insists after all.
    BadToken(Refusal, Box<Denied>),
}

/// Who asks.
#[derive(Debug)]
pub enum Who {
    /// Somebody.
    Authenticated(Authenticated),
    /// Nobody.
    Anonymous(Anonymous),
}

/// A request whose caller may use its route. Only [`authenticate`] makes one.
#[derive(Debug)]
pub struct Vetted {
    routed: Routed,
    who: Who,
}

impl Vetted {
    /// For the stage that answers.
    pub fn into_parts(self) -> (Routed, Who) {
        (self.routed, self.who)
    }

    /// Who asks.
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// Who asks, as far as it matters for where it goes.
    pub fn asker(&self) -> Asker<'_> {
        let admitted = self.admitted();
        let account = match &self.who {
            Who::Authenticated(somebody) => Some(somebody.claims().sub),
            Who::Anonymous(_) => None,
        };
        Asker { address: admitted.client().address, account, headers: admitted.headers() }
    }

    /// The request.
    pub fn admitted(&self) -> &Admitted {
        self.routed.admitted()
    }

    /// The route.
    pub const fn route(&self) -> &Arc<Route> {
        self.routed.route()
    }
}

/// A refused caller: the answer, and the audit event where there is something to tell.
#[derive(Debug)]
pub struct Stopped {
    /// The answer.
    pub refused: Refused,
    /// The event.
    pub denied: Option<Box<Denied>>,
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self { refused, denied: None }
    }
}

/// Lets a request pass, or says why not.
pub fn authenticate(
    (check, rates): (&dyn TokenCheck, &Rates),
    routed: Routed,
    now: Timestamp,
) -> Result<Vetted, Stopped> {
    let demand = routed.route().auth;
    if demand == RouteAuth::None {
        return Ok(Vetted { routed, who: Who::Anonymous(Anonymous::NotAsked) });
    }
    // Nobody has no role and no scope: a route that demands one insists on somebody.
    let insists = demand == RouteAuth::Required || routed.route().has_demands();
    let token = match bearer(routed.admitted().headers()) {
        Ok(Some(token)) => token,
        Ok(None) if insists => return Err(Stopped { refused: no_token(), denied: None }),
        Ok(None) => return Ok(Vetted { routed, who: Who::Anonymous(Anonymous::NoToken) }),
        Err(refused) => return Err(Stopped { refused, denied: None }),
    };
    let verified = match verify((check, rates), &routed, token, now) {
        Ok(verified) => verified,
        Err(refused) => {
            let denied = Some(denied(&routed, "too_many_failures", None));
            return Err(Stopped { refused, denied });
        }
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(refusal) if insists => {
            let denied = Some(denied(&routed, refusal.word(), None));
            return Err(Stopped { refused: bad_token(refusal), denied });
        }
        Err(refusal) => {
            let denied = denied(&routed, refusal.word(), None);
            return Ok(Vetted { routed, who: Who::Anonymous(Anonymous::BadToken(refusal, denied)) });
        }
    };
    match missing(routed.route(), verified.claims()) {
        None => Ok(Vetted { routed, who: Who::Authenticated(Authenticated { verified }) }),
        Some((reason, refused)) => {
            let denied = Some(denied(&routed, reason, Some(verified.claims())));
            Err(Stopped { refused, denied })
        }
    }
}

/// The bearer token, if there is one: exactly one header, the scheme in any case.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        let challenge = HeaderValue::from_static(r#"Bearer realm="keepgate", error="invalid_request""#);
        return Err(
            Refused::bad_request("more than one Authorization header").header(WWW_AUTHENTICATE, challenge)
        );
    }
    let Ok(text) = line.to_str() else { return Ok(Some("")) };
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim_start_matches(' ')))
        }
        _ if text.eq_ignore_ascii_case("bearer") => Ok(Some("")),
        _ => Ok(None),
    }
}

/// Verifies a token, unless it would cost a signature and too many from that address have failed: then
/// the answer is 429 also where the route would let a bad token pass, because this one may be good.
fn verify(
    (check, rates): (&dyn TokenCheck, &Rates),
    routed: &Routed,
    token: &str,
    now: Timestamp,
) -> Result<Result<Verified, Refusal>, Refused> {
    if let Some(known) = check.recall(token, now.as_secs()) {
        return Ok(known);
    }
    let address = routed.admitted().client().address;
    rates.may_verify(address)?;
    let verified = check.verify_afresh(token, now.as_secs());
    // Only what was forged: an expired or revoked token is an honest client's as often as not, and a
    // malformed one costs no signature. Both are bounded by the address's rate.
    if matches!(verified, Err(Refusal::Signature)) {
        rates.failed_to_verify(address);
    }
    Ok(verified)
}

/// RFC 6750 §3.1: without credentials the challenge carries no error.
fn no_token() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication required")
        .detail("send an access token: 'Authorization: Bearer …'")
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="keepgate""#))
        .denial(Denial::NoToken)
}

/// RFC 6750 §3.1, with the reason.
pub fn bad_token(refusal: Refusal) -> Refused {
    let challenge =
        format!(r#"Bearer realm="keepgate", error="invalid_token", error_description="{refusal}""#);
    let challenge = HeaderValue::try_from(challenge)
        .unwrap_or_else(|_| HeaderValue::from_static(r#"Bearer realm="keepgate", error="invalid_token""#));
    Refused::new(StatusCode::UNAUTHORIZED, "invalid-token", "Invalid access token")
        .detail(refusal.to_string())
        .header(WWW_AUTHENTICATE, challenge)
        .denial(Denial::BadToken)
}

/// What the route demands and the token lacks.
fn missing(route: &Route, claims: &Claims) -> Option<(&'static str, Refused)> {
    let has_role = |role: &crate::model::role::Role| claims.roles.iter().any(|have| have == role.as_str());
    if !route.roles.is_empty() && !route.roles.iter().any(has_role) {
        return Some(("missing_role", forbidden("the account has none of the roles that may do this", None)));
    }
    let has_scope = |scope: &String| claims.scope.split(' ').any(|have| have == scope);
    if !route.scopes.iter().all(has_scope) {
        let scopes = route.scopes.join(" ");
        return Some(("missing_scope", forbidden("the token lacks a scope that this needs", Some(&scopes))));
    }
    None
}

fn forbidden(detail: &'static str, scopes: Option<&str>) -> Refused {
    let mut challenge = r#"Bearer realm="keepgate", error="insufficient_scope""#.to_owned();
    if let Some(scopes) = scopes {
        challenge.push_str(&format!(r#", scope="{scopes}""#));
    }
    let refused = Refused::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden")
        .detail(detail)
        .denial(Denial::Forbidden);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => refused.header(WWW_AUTHENTICATE, challenge),
        Err(_) => refused,
    }
}

fn denied(routed: &Routed, reason: &'static str, claims: Option<&Claims>) -> Box<Denied> {
    let caller = claims.and_then(|claims| identity::caller(claims).ok());
    let target = Arc::clone(&routed.route().name);
    Box::new(Denied { origin: routed.admitted().origin(), reason, target, caller })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut map, line| {
            map.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
            map
        })
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(bearer(&headers(&["bEaReR  abc"])).unwrap(), Some("abc"));
        assert_eq!(bearer(&headers(&["Bearer"])).unwrap(), Some(""));
        assert_eq!(bearer(&headers(&["Basic abc"])).unwrap(), None);
        assert_eq!(bearer(&headers(&["Bearerabc"])).unwrap(), None);
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
    }

    #[test]
    fn two_authorization_headers_are_a_bad_request() {
        let refused = bearer(&headers(&["Bearer a", "Bearer a"])).unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}
