//! The proxy: a vetted request to an application server, and its response back.
//!
//! Bodies stream both ways. Which server is asked is `edge::upstream`'s business, what is tried again is
//! `exchange`'s, what becomes of a request to switch protocols `switch`'s.

pub mod answer;
pub mod connect;
mod exchange;
pub mod headers;
pub mod http2;
pub mod line;
pub mod pool;
mod send;
mod switch;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;

use self::answer::UpstreamBody;
use self::exchange::Asked;
use self::headers::{Said, Told};
use self::send::{Failed, Outbound, Tail};
use self::switch::Asking;
use super::authenticate::{Stopped, Vetted, Who};
use super::body::{BodyError, Outgoing, RequestBody, Upload};
use super::decisions::Denied;
use super::forwarding::Forwarding;
use super::guard::Client;
use super::http1::body::Broken;
use super::http1::scratch::Scratch;
use super::identity::{self, Identities};
use super::incoming::{Incoming, IncomingError};
use super::respond::Refused;
use super::shape::Shape;
use super::shape::headers::Facts;
use super::upstream::local::{Flight, Group};
use super::watch::{Grounds, Watched, Watchlist};
use crate::config::limits::Limits;
use crate::config::route::RouteAuth;
use crate::observe::metrics::{EdgeCounters, UpstreamFailure};

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What the proxy works with.
#[derive(Clone, Copy)]
pub struct Proxy<'a> {
    /// Times.
    pub limits: &'a Limits,
    /// What applications are told of where a request came from.
    pub forwarding: &'a Forwarding,
    /// Identity headers made before.
    pub identities: &'a Identities,
    /// What is counted.
    pub counters: &'a EdgeCounters,
    /// All groups, for room where there is none.
    pub groups: &'a [Group],
    /// What is held open.
    pub watchlist: &'a Rc<Watchlist>,
    /// The thread's buffers.
    pub scratch: &'a Rc<Scratch>,
}

/// A request as the upstream is to get it.
struct Prepared {
    /// Boxed, as it is handed on.
    outbound: Box<Outbound>,
    /// The progress of its body, if it has one.
    upload: Option<Arc<Upload>>,
    grounds: Grounds,
    asking: Option<Asking>,
    /// What the group tells requests apart by.
    key: u64,
}

/// The body of a request, within the route's limit (413 before a byte is read where the length is
/// declared).
pub fn limited(body: Incoming, limit: u64, stall: Duration) -> Result<RequestBody, Refused> {
    if body.size_hint().lower() > limit {
        return Err(Refused::too_large(limit));
    }
    Ok(RequestBody::new(body, limit, stall))
}

impl Proxy<'_> {
    /// Sends a request to one of the group's servers and returns the response.
    pub async fn forward(
        self,
        group: &Group,
        vetted: Vetted,
        request_id: &HeaderValue,
    ) -> Result<Response<Outgoing>, Stopped> {
        let prepared = self.prepare(group, vetted, request_id)?;
        let Prepared { mut outbound, upload, grounds, asking, key } = prepared;
        let watched = Watched::new(self.watchlist, grounds);
        if let Some(asking) = asking {
            return Box::pin(self.switch(group, (&mut outbound, key), asking, watched)).await;
        }
        let asked = Asked { group, key, upload: upload.as_ref() };
        let (response, flight) = self.exchange(asked, &mut outbound).await?;
        // Nothing was asked for, so there is nothing to switch to.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.broken("the application answered 101 without being asked").into());
        }
        Ok(self.answer(response, flight, watched))
    }

    /// A response that has a body, or might have.
    fn answer(self, response: Response<Tail>, flight: Flight, watched: Watched) -> Response<Outgoing> {
        let (mut parts, tail) = response.into_parts();
        if !matches!(&tail, Tail::Http1(rest, _) if !rest.hop_by_hop) {
            headers::drop_hop_by_hop(&mut parts.headers);
        }
        // RFC 9110 §8.6. Over HTTP/1.1 none is written anyway.
        if parts.status == StatusCode::NO_CONTENT {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let body = UpstreamBody::new(tail, (self.limits.stall_timeout, self.scratch), watched);
        parts.version = Version::HTTP_11;
        Response::from_parts(parts, Outgoing::upstream(body).flying(flight))
    }

    fn prepare(self, group: &Group, vetted: Vetted, request_id: &HeaderValue) -> Result<Prepared, Refused> {
        let key = vetted.asker().key(&group.shared().config.balance);
        let (routed, who) = vetted.into_parts();
        let (route, mut admitted) = routed.into_parts();
        // Nothing switches in HTTP/2 (RFC 9113 §8.6).
        let offer = admitted.take_offer().filter(|_| !group.shared().config.http2);
        let offer = offer.and_then(|offer| offer.within(&route.upgrade));
        let asking = offer.map(|offer| {
            let caller = match &who {
                Who::Authenticated(somebody) => identity::caller(somebody.claims()).ok(),
                Who::Anonymous(_) => None,
            };
            let (origin, target) = (admitted.origin(), Arc::clone(&route.name));
            Asking { offer, denied: Box::new(Denied { origin, reason: "revoked", target, caller }) }
        });
        let hop_by_hop = admitted.hop_by_hop();
        let (mut parts, body, client, host) = admitted.into_parts();
        let mut body = limited(body, route.body_bytes, self.limits.stall_timeout)?;
        if route.shape.request.is_some() || !group.shared().config.takes_trailers() {
            body.drop_trailers();
        }
        let (identity, verified) = match who {
            Who::Authenticated(somebody) => {
                let made = self.identities.of(somebody.claims());
                let made = made.map_err(|refusal| Refused::internal().detail(refusal.to_string()))?;
                (Some(made), Some(somebody.into_verified()))
            }
            Who::Anonymous(_) => (None, None),
        };
        let said = Said {
            client: &client,
            host: host.value(),
            renamed: group.shared().host.as_ref(),
            forwarding: self.forwarding,
            version: parts.version,
            request_id,
            identity,
            offer: asking.as_ref().map(|asking| asking.offer.value()),
            authorized_here: route.auth != RouteAuth::None,
        };
        let told = Told::new(&mut parts.headers, hop_by_hop, said);
        self.reshape(&mut parts, &route.shape, (&client, host.name(), request_id))?;
        parts.version = Version::HTTP_11;
        // hyper's own notes on an HTTP/2 connection are of no use to the next one.
        parts.extensions.clear();
        let upload = (!body.is_end_stream()).then(|| body.watched());
        let outbound = Box::new(Outbound::new(Request::from_parts(parts, body), told));
        let grounds = Grounds::new(verified, &client, self.limits.tunnel_lifetime);
        Ok(Prepared { outbound, upload, grounds, asking, key })
    }

    /// What the route changes: last, so that nothing a client sends takes it back.
    fn reshape(
        self,
        parts: &mut Parts,
        shape: &Shape,
        (client, host, request_id): (&Client, &str, &HeaderValue),
    ) -> Result<(), Refused> {
        if let Some(rules) = &shape.request {
            rules.apply(&mut parts.headers, Facts { host, client: client.address, request_id });
        }
        let Some(prefix) = &shape.prefix else { return Ok(()) };
        parts.uri = prefix.target(&parts.uri)?;
        if let Some(told) = prefix.told().filter(|_| self.forwarding.writes_x_forwarded()) {
            parts.headers.insert(FORWARDED_PREFIX, told.clone());
        }
        Ok(())
    }

    fn timed_out(self) -> Refused {
        self.counters.upstream_failures.up(UpstreamFailure::Timeout);
        Refused::new(StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "Application timed out")
            .detail("the application did not answer in time")
    }

    fn broken(self, reason: &str) -> Refused {
        self.counters.upstream_failures.up(UpstreamFailure::Broken);
        tracing::warn!(reason, "an exchange with an application server failed");
        Refused::new(StatusCode::BAD_GATEWAY, "upstream-broken", "Application failed")
            .detail("the application broke off, or did not answer in HTTP")
    }

    /// An exchange failed: whose fault was it?
    fn failed(self, failed: &Failed) -> Refused {
        match failed {
            Failed::Body(BodyError::TooLarge { limit }) => Refused::too_large(*limit),
            Failed::Body(BodyError::Stalled) => {
                Refused::new(StatusCode::REQUEST_TIMEOUT, "body-stalled", "Request body stalled")
                    .detail("the request body made no progress")
                    .closing()
            }
            Failed::Body(BodyError::Broken(IncomingError::Http1(Broken::Misframed(breach)))) => {
                Refused::bad_request(breach.to_string()).closing()
            }
            Failed::Body(BodyError::Broken(IncomingError::Http1(Broken::Gone) | IncomingError::Http2(_))) => {
                Refused::client_gone()
            }
            Failed::Body(_) | Failed::Length => Refused::bad_request("the request body broke off").closing(),
            Failed::TimedOut => self.timed_out(),
            Failed::Unsayable => Refused::bad_request("the request cannot be said in HTTP/2"),
            Failed::Unprocessed { error, .. } => self.broken(&format!("it refused the request: {error}")),
            Failed::Unsent(error) => self.broken(&format!("it took no request: {error}")),
            Failed::Gone(error) => self.broken(&format!("it closed the connection unanswered: {error}")),
            Failed::Broken(why) => self.broken(&why.to_string()),
        }
    }
}
