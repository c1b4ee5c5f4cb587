//! How fast a request's sender may ask: the checks that stand on the request path.
//!
//! | what | when | whose bucket |
//! |---|---|---|
//! | `rates.address` | before routing | the client's address |
//! | `rates.failed_verifications` | before a signature is computed | the client's address; of IPv6 its site too |
//! | `rates.user`, `rates.session` | after authentication, before a byte of the body | the token's `sub`, `sid` |
//! | a route's own | there too | as its `rate_by` says |
//!
//! A request that one of them refuses has been counted by those before it. API keys, when they come,
//! are one more scope beside user and session. Refresh tokens and passwords are no signatures: they
//! are bounded by `rates.address`, a route's own rate, and what `auth` does about logins.
//!
//! Nothing here is per configuration but [`Rates`] and the limiters that routes hold; the buckets are
//! in [`limiter::Limiters`], which stays.

pub mod buckets;
pub mod limiter;
pub mod measures;
pub mod room;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use self::limiter::{Limiter, Limiters, Past, Scope, Spec, Subject, whole_seconds};
use super::authenticate::{Stopped, Vetted, Who};
use super::decisions::Denied;
use super::guard::Admitted;
use super::identity;
use super::respond::{Beside, Refused};
use crate::config::rates::{self as config, RateBy, RouteRate};
use crate::config::route::Route as RouteConfig;
use crate::observe::metrics::Denial;

/// `RateLimit`
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy`
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Who has an IPv6 /48 has 65,536 networks to fail from: together they may fail this many times as often
/// as one. Nothing wider: neighbours that share a /32 share no more than a provider.
const SITE: (u8, u32) = (48, 16);

/// The rates that hold for all routes.
#[derive(Debug)]
pub struct Rates {
    address: Option<Arc<Limiter>>,
    user: Option<Arc<Limiter>>,
    session: Option<Arc<Limiter>>,
    failed_verifications: Option<Arc<Limiter>>,
    failed_sites: Option<Arc<Limiter>>,
}

/// A route's own rate.
#[derive(Debug)]
pub struct RouteLimit {
    limiter: Arc<Limiter>,
    by: RateBy,
}

impl RouteLimit {
    /// The limit of a route, if it has one.
    pub fn of(route: &RouteConfig, name: &str, ipv6_prefix: u8, limiters: &Limiters) -> Option<Self> {
        let RouteRate { rate, by } = route.rate?;
        let scope = Scope::Route(format!("{} {name}", route.methods.join(",")), by);
        Some(Self { limiter: limiters.limiter(Spec { scope, rate, ipv6_prefix }), by })
    }
}

impl Rates {
    /// As configured; buckets that `limiters` knows are used on.
    pub fn new(rates: &config::Rates, limiters: &Limiters) -> Self {
        let ipv6_prefix = rates.ipv6_prefix;
        let of = |scope, rate: Option<config::Rate>| {
            rate.map(|rate| limiters.limiter(Spec { scope, rate, ipv6_prefix }))
        };
        let (ipv6_site, times) = SITE;
        let of_site = |rate: config::Rate| {
            let (scope, rate) = (Scope::FailedVerifications, rate.times(times));
            limiters.limiter(Spec { scope, rate, ipv6_prefix: ipv6_site })
        };
        let sites = rates.failed_verifications.filter(|_| ipv6_prefix > ipv6_site);
        Self {
            failed_sites: sites.map(of_site),
            address: of(Scope::Address, rates.address),
            user: of(Scope::User, rates.user),
            session: of(Scope::Session, rates.session),
            failed_verifications: of(Scope::FailedVerifications, rates.failed_verifications),
        }
    }

    /// Counts a request for its address.
    pub fn address(&self, admitted: &Admitted) -> Result<(), Stopped> {
        let Some(limiter) = &self.address else { return Ok(()) };
        let Err(past) = limiter.take(Subject::Address(admitted.client().address)) else { return Ok(()) };
        let origin = admitted.origin();
        let denied = Denied { origin, reason: "rate_limited", target: "rates".into(), caller: None };
        Err(Stopped { refused: refused(limiter, past), denied: Some(Box::new(denied)) })
    }

    /// Counts a request for its user, its session and its route, and says in headers what is left of
    /// the route's rate.
    pub fn caller(&self, vetted: &Vetted, beside: &mut Beside) -> Result<(), Stopped> {
        if let Who::Authenticated(somebody) = vetted.who() {
            let claims = somebody.claims();
            for (limiter, id) in [(&self.user, claims.sub), (&self.session, claims.sid)] {
                let Some(limiter) = limiter else { continue };
                limiter.take(Subject::Id(id)).map_err(|past| stopped(vetted, limiter, past))?;
            }
        }
        let Some(RouteLimit { limiter, by }) = &vetted.route().limit else { return Ok(()) };
        let measured = limiter.take(subject(*by, vetted));
        measured.map_err(|past| stopped(vetted, limiter, past))?;
        beside.push((RATELIMIT_POLICY, limiter.policy()));
        beside.push((RATELIMIT, limiter.standing(measured)));
        Ok(())
    }

    /// Whether another signature may be computed for this address; the answer if not.
    pub fn may_verify(&self, address: IpAddr) -> Result<(), Refused> {
        let subject = Subject::Address(address);
        self.failures(address)
            .try_for_each(|limiter| limiter.look(subject).map(drop).map_err(|past| refused(limiter, past)))
    }

    /// Counts a token that did not verify. Threads that looked at the same moment may count more than
    /// there was room for, by as many as there are threads.
    pub fn failed_to_verify(&self, address: IpAddr) {
        for limiter in self.failures(address) {
            // Past the rate it is counted no further: the next look says no.
            let _ = limiter.take(Subject::Address(address));
        }
    }

    fn failures(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Limiter>> {
        let sites = self.failed_sites.iter().filter(move |_| address.to_canonical().is_ipv6());
        self.failed_verifications.iter().chain(sites)
    }
}

/// Where nobody is known, users and sessions are told apart by address.
fn subject(by: RateBy, vetted: &Vetted) -> Subject {
    match (by, vetted.who()) {
        (RateBy::Route, _) => Subject::All,
        (RateBy::User, Who::Authenticated(somebody)) => Subject::Id(somebody.claims().sub),
        (RateBy::Session, Who::Authenticated(somebody)) => Subject::Id(somebody.claims().sid),
        _ => Subject::Address(vetted.admitted().client().address),
    }
}

fn stopped(vetted: &Vetted, limiter: &Limiter, past: Past) -> Stopped {
    let caller = match vetted.who() {
        Who::Authenticated(somebody) => identity::caller(somebody.claims()).ok(),
        Who::Anonymous(_) => None,
    };
    let (origin, target) = (vetted.admitted().origin(), Arc::clone(&vetted.route().name));
    let denied = Denied { origin, reason: "rate_limited", target, caller };
    Stopped { refused: refused(limiter, past), denied: Some(Box::new(denied)) }
}

/// 429 (RFC 6585 §4), with what the limit is and when to come back.
fn refused(limiter: &Limiter, past: Past) -> Refused {
    let seconds = whole_seconds(past.wait).max(1);
    let (denial, title, whose) = match limiter.scope() {
        Scope::Address => (Denial::RateAddress, "Too many requests", "from this address"),
        Scope::User => (Denial::RateUser, "Too many requests", "by this account"),
        Scope::Session => (Denial::RateSession, "Too many requests", "in this session"),
        Scope::Route(_, RateBy::Route) => (Denial::RateRoute, "Too many requests", "for this route"),
        Scope::Route(..) => (Denial::RateRoute, "Too many requests", "from you for this route"),
        Scope::FailedVerifications => {
            (Denial::RateFailures, "Too many invalid tokens", "with invalid tokens from this address")
        }
    };
    let word = if denial == Denial::RateFailures { "too-many-failures" } else { "rate-limited" };
    Refused::new(StatusCode::TOO_MANY_REQUESTS, word, title)
        .detail(format!("too many requests {whose}: try again in {seconds} s"))
        .header(RETRY_AFTER, HeaderValue::from(seconds))
        .header(RATELIMIT_POLICY, limiter.policy())
        .header(RATELIMIT, limiter.standing(Err(past)))
        .denial(denial)
}
