//! The edge: the path of every request, from the socket to the application or the local API.
//!
//! ```text
//! accept → tls → guard → cors → rates → filter → route → authenticate → rates → ┬→ proxy → upstream
//!                                                                               ├→ local API
//!                                                                               └→ files
//! ```
//!
//! Each stage takes the value that only the stage before it can make ([`accept::Accepted`],
//! [`tls::Secured`], [`guard::Admitted`], [`route::Routed`], [`authenticate::Vetted`]), so a request
//! cannot reach an application without having passed every check: it would not compile. The first two
//! are run by [`worker`], once for each connection; the rest stands in [`Pipeline::answer`]. The edge
//! never opens a store: it verifies tokens as any service behind Keepgate could, and hands its
//! denials to the audit trail.

pub mod accept;
pub mod access;
pub mod acme;
pub mod activity;
pub mod authenticate;
pub mod body;
pub mod certificates;
pub mod codings;
pub mod compress;
pub mod connection;
pub mod cors;
pub mod decisions;
pub mod drain;
pub mod filter;
pub mod forwarding;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod incoming;
pub mod listen;
pub mod local;
pub mod local_ca;
pub mod pages;
pub mod plan;
pub mod protocols;
pub mod proxy;
pub mod proxy_protocol;
pub mod rates;
pub mod redirect;
pub mod representation;
pub mod request_ids;
pub mod respond;
pub mod route;
pub mod shape;
pub mod stall;
pub mod start;
pub mod statics;
pub mod tls;
pub mod trailers;
pub mod upgrade;
pub mod upstream;
pub mod watch;
pub mod worker;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response};

use self::access::Entry;
use self::authenticate::{Stopped, TokenCheck, Vetted, Who};
use self::body::Outgoing;
use self::certificates::TlsError;
use self::compress::Wish;
use self::compress::room::Room;
use self::decisions::{Decisions, Denied};
use self::guard::Arrival;
use self::guard::address::TrustedProxies;
use self::guard::blacklist::Blacklist;
use self::http1::scratch::Scratch;
use self::identity::Identities;
use self::incoming::Incoming;
use self::local::LocalApi;
use self::plan::{Follow, LocalPlan, Plans};
use self::proxy::Proxy;
use self::respond::{Beside, Refused};
use self::route::{RouteError, Target};
use self::statics::body::Rooms;
use self::watch::Watchlist;
use crate::model::random::SharedRng;
use crate::model::time::{SharedClock, Timestamp};
use crate::observe::metrics::{Denial, EdgeCounters};

/// The edge cannot start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum EdgeError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; {}, or set listen.https or listen.http to another (--https, --http)",
        listen::remedy(source)
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    /// The routes make no sense.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An upstream group has no servers.
    #[error("upstream '{name}' has no servers")]
    NoServers { name: String },
    /// What the TLS of a group goes by cannot be used.
    #[error("upstream '{name}': its TLS cannot be used: {source}")]
    Tls { name: String, source: TlsError },
    /// Nothing would hold the files of a route beneath its root.
    #[error(
        "a route serves files (`root`), which takes openat2 (Linux 5.6 or later, let through by seccomp)"
    )]
    NoBeneath,
    /// A page cannot be used.
    #[error("{0}")]
    Pages(String),
    /// A thread or its runtime cannot be made.
    #[error("cannot start an edge thread: {0}")]
    Thread(std::io::Error),
}

/// What all edge threads share: the plan, which may change while they run, and what stays. Nothing in
/// it is written for a request.
pub struct Site {
    plans: Arc<Plans>,
    https_port: u16,
    check: Arc<dyn TokenCheck>,
    stir: watch::Stir,
    api: LocalApi,
    decisions: Decisions,
    blacklist: Arc<Blacklist>,
    /// Room for files on their way to clients.
    open_files: Rooms,
    /// Who may say, before the first byte, whose connection it is.
    proxies: TrustedProxies,
    clock: SharedClock,
    rng: SharedRng,
}

/// One thread's way from a request to its answer.
pub struct Pipeline {
    site: Arc<Site>,
    follow: Follow,
    identities: Identities,
    watchlist: Rc<Watchlist>,
    scratch: Rc<Scratch>,
    /// For compressing answers.
    room: Rc<Room>,
    counters: Arc<EdgeCounters>,
}

impl Pipeline {
    /// Answers a request, with the headers that the stages of [`Self::decide`] add to whatever the
    /// answer is.
    async fn answer(
        &self,
        local: &LocalPlan,
        arrival: Arrival<'_>,
        request: Box<Request<Incoming>>,
        id_header: &HeaderValue,
        entry: &mut Entry,
    ) -> Result<Response<Outgoing>, Refused> {
        let mut beside = Beside::new();
        match self.decide(local, arrival, request, id_header, (entry, &mut beside)).await {
            Ok(mut response) => {
                for (name, value) in beside {
                    response.headers_mut().append(name, value);
                }
                Ok(response)
            }
            Err(refused) => Err(refused.beside(beside)),
        }
    }

    /// The request path, by the plan that was in force when the request came.
    async fn decide(
        &self,
        local: &LocalPlan,
        arrival: Arrival<'_>,
        request: Box<Request<Incoming>>,
        id_header: &HeaderValue,
        (entry, beside): (&mut Entry, &mut Beside),
    ) -> Result<Response<Outgoing>, Refused> {
        let (site, plan) = (&*self.site, &*local.plan);
        // Guard first: until the request is known to be one request, for one host and one path, from
        // an address that may come in, nothing that could be decided about it would hold. It also
        // deletes the identity headers, so that no later stage can mistake them for its own.
        let (limits, trusted, forwarding) = (&*plan.limits, &plan.trusted, &plan.forwarding);
        let rules = guard::Rules { limits, trusted, forwarding, blacklist: &site.blacklist };
        let admitted = match guard::admit(rules, arrival, *request, (entry.request, &mut entry.client)) {
            Ok(admitted) => admitted,
            Err(guard::Stopped::Refused(refused)) => return Err(refused),
            Err(guard::Stopped::Banned(banned)) => {
                let left = banned.left;
                self.record(banned.into_denied()).await;
                return Err(guard::banned(left));
            }
        };
        // Which page may read the answer comes before anything that may refuse: a page must be able to
        // read a refusal too.
        let preflight = plan.cors.as_ref().and_then(|cors| cors.look(&admitted, &plan.routes, beside));
        // The address's rate before anything that costs more than it.
        if let Err(stopped) = plan.rates.address(&admitted) {
            return Err(self.stop(stopped).await);
        }
        // What no route should see, whatever it would lead to. Boxed, as all that is rare.
        if let Some(filters) = &plan.filters
            && let Some(caught) = filters.judge(&admitted)
        {
            return Err(Box::pin(self.caught((plan, filters), caught, (&admitted, arrival.now))).await);
        }
        // A browser asks first, and asks without a token.
        if let Some(preflight) = preflight {
            return Ok(preflight.answer());
        }
        // Route before authentication: the route says what must be shown. A pure look-up, so that
        // unknown paths cost an attacker's request no signature check.
        let routed = plan.routes.find(admitted)?;
        entry.route = Some(Arc::clone(&routed.route().name));
        entry.rules.clone_from(&routed.route().shape.response);
        // Authentication before a byte of the body is read and before the application hears of it.
        let vetted = match authenticate::authenticate((&*site.check, &plan.rates), routed, arrival.now) {
            Ok(vetted) => vetted,
            Err(stopped) => return Err(self.stop(stopped).await),
        };
        if let Who::Authenticated(somebody) = vetted.who() {
            entry.account = Some(somebody.claims().sub);
        }
        // The rates of whoever it turned out to be, and the route's own, while nothing of the body is
        // read.
        if let Err(stopped) = plan.rates.caller(&vetted, beside) {
            return Err(self.stop(stopped).await);
        }
        let (wish, intercepts) = (Wish::of(&vetted), vetted.route().content.intercept);
        let mut response = self.send_on(local, vetted, (id_header, arrival.now)).await?;
        if intercepts && response.status().is_server_error() {
            response.extensions_mut().insert(pages::Intercepted);
            return Ok(response);
        }
        Ok(match wish {
            Some(wish) => wish.apply(response, &self.room),
            None => response,
        })
    }

    /// To whatever answers on its route.
    async fn send_on(
        &self,
        local: &LocalPlan,
        vetted: Vetted,
        (id_header, now): (&HeaderValue, Timestamp),
    ) -> Result<Response<Outgoing>, Refused> {
        let limits = &*local.plan.limits;
        match vetted.route().target.clone() {
            Target::Api => {
                let answered = Box::pin(local::call(&self.site.api, limits, vetted)).await?;
                if let Some(denied) = answered.denied {
                    self.counters.denials.up(Denial::BadToken);
                    self.record(*denied).await;
                }
                Ok(answered.response)
            }
            Target::Redirect => {
                let redirect = vetted.route().shape.redirect.as_ref();
                redirect.ok_or_else(Refused::internal)?.answer(vetted.admitted().uri())
            }
            Target::Upstream(at) => {
                let group = local.group(&vetted, at).ok_or_else(Refused::internal)?;
                match self.proxy(local).forward(group, vetted, id_header).await {
                    Ok(response) => Ok(response),
                    Err(stopped) => Err(self.stop(stopped).await),
                }
            }
            Target::Files(files) => {
                let (rooms, watchlist) = (&self.site.open_files, &self.watchlist);
                let around = statics::Around { limits, rooms, watchlist, now: now.as_secs() };
                Box::pin(statics::serve(&files, vetted, around)).await
            }
        }
    }

    fn proxy<'a>(&'a self, local: &'a LocalPlan) -> Proxy<'a> {
        let Self { identities, watchlist, scratch, counters, .. } = self;
        let LocalPlan { plan, groups, .. } = local;
        let (limits, forwarding) = (&*plan.limits, &plan.forwarding);
        Proxy { limits, forwarding, identities, counters, groups, watchlist, scratch }
    }

    /// Records the denial, if it is one, and gives the answer.
    async fn stop(&self, stopped: Stopped) -> Refused {
        if let Some(denied) = stopped.denied {
            self.record(*denied).await;
        }
        stopped.refused
    }

    /// Makes a denial durable before its answer leaves. If it cannot be, the answer is no all the
    /// same, and the operator hears of it: each is counted, and the log has one line ([`Decisions`]).
    ///
    /// [`Decisions`]: decisions::Decisions
    async fn record(&self, denied: Denied) {
        if Box::pin(self.site.decisions.denied(denied)).await.is_err() {
            self.counters.audit_failures.up();
        }
    }
}
