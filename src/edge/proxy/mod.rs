//! The proxy: a vetted request to an application server, and its response back.
//!
//! Bodies stream both ways. What is tried again, and when: a connection that could not be made, once,
//! on the next server; a kept-alive connection that had died before the request was written, on a
//! fresh one; one that died after, before any response byte, only if the request is idempotent and
//! had no body. Never after a response head. What becomes of a request to switch protocols is in `switch`.

pub mod answer;
mod connect;
pub mod headers;
pub mod pool;
mod switch;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming as Answer;

use self::answer::UpstreamBody;
use self::connect::ConnectError;
use self::headers::Said;
use self::pool::{Group, Lease, Pool};
use self::switch::Asking;
use super::authenticate::{Stopped, Vetted, Who};
use super::body::{BodyError, Outgoing, RequestBody, Upload};
use super::decisions::Denied;
use super::forwarding::Forwarding;
use super::http1::body::Broken;
use super::identity::{self, Identities};
use super::incoming::{Incoming, IncomingError};
use super::respond::Refused;
use super::watch::{Grounds, Watched, Watchlist};
use crate::config::limits::Limits;
use crate::config::route::RouteAuth;
use crate::observe::metrics::{EdgeCounters, UpstreamFailure};

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
}

/// A request as the upstream is to get it.
struct Prepared {
    request: Request<RequestBody>,
    grounds: Grounds,
    asking: Option<Asking>,
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
        let Prepared { mut request, grounds, asking } = self.prepare(vetted, request_id)?;
        let watched = Watched::new(self.watchlist, grounds);
        if let Some(asking) = asking {
            return Box::pin(self.switch(group, request, asking, watched)).await;
        }
        let upload = (!request.body().is_end_stream()).then(|| request.body_mut().watched());
        let (response, lease) = self.exchange(group, request, upload.as_ref(), false).await?;
        // Nothing was asked for, so there is nothing to switch to.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.broken("the application answered 101 without being asked").into());
        }
        self.answer(response, lease, watched).map_err(Stopped::from)
    }

    /// A response that has a body, or might have.
    fn answer(
        self,
        response: Response<Answer>,
        lease: Lease,
        watched: Watched,
    ) -> Result<Response<Outgoing>, Refused> {
        let (mut parts, body) = response.into_parts();
        if !headers::is_framed_once(&parts.headers) {
            return Err(self.broken("the application's answer says two things of its length"));
        }
        headers::drop_hop_by_hop(&mut parts.headers);
        let body = UpstreamBody::new(body, lease, self.limits.stall_timeout, watched);
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, Outgoing::upstream(body)))
    }

    fn prepare(self, vetted: Vetted, request_id: &HeaderValue) -> Result<Prepared, Refused> {
        let (routed, who) = vetted.into_parts();
        let (route, mut admitted) = routed.into_parts();
        let offer = admitted.take_offer().and_then(|offer| offer.within(&route.upgrade));
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
        let body = limited(body, route.body_bytes, self.limits.stall_timeout)?;
        let (identity, verified) = match who {
            Who::Authenticated(somebody) => {
                let made = self.identities.of(somebody.claims());
                let made = made.map_err(|refusal| Refused::internal().detail(refusal.to_string()))?;
                (Some(made), Some(somebody.into_verified()))
            }
            Who::Anonymous(_) => (None, None),
        };
        if route.auth != RouteAuth::None {
            parts.headers.remove(http::header::AUTHORIZATION);
        }
        let (forwarding, version) = (self.forwarding, parts.version);
        let identity = identity.as_ref();
        let said = Said { client: &client, host: host.value(), forwarding, version, request_id, identity };
        headers::for_upstream(&mut parts.headers, hop_by_hop, &said);
        headers::frame(&parts.method, &mut parts.headers, &body);
        if let Some(asking) = &asking {
            asking.offer.write(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        // hyper's own notes on an HTTP/2 connection are of no use to the next one.
        parts.extensions.clear();
        let request = Request::from_parts(parts, body);
        let grounds = Grounds::new(verified, &client, self.limits.tunnel_lifetime);
        Ok(Prepared { request, grounds, asking })
    }

    async fn exchange(
        self,
        group: &Group,
        mut request: Request<RequestBody>,
        upload: Option<&Arc<Upload>>,
        switching: bool,
    ) -> Result<(Response<Answer>, Lease), Refused> {
        let of = |lease: Lease| if switching { lease.switching() } else { lease };
        let pool = group.next().ok_or_else(|| self.broken("the upstream has no servers"))?;
        if let Some(lease) = pool.take() {
            self.counters.upstream_reuses.up();
            let replay = Replay::of(&request);
            match self.send(of(lease), request, upload).await {
                Ok(answered) => return Ok(answered),
                Err(Failed::Unsent(back)) => request = *back,
                Err(Failed::Lost(error)) => match replay {
                    Some(replay) if is_disconnect(&error) => request = replay.into_request(),
                    _ => return Err(self.failed(&error)),
                },
                Err(Failed::TimedOut) => return Err(self.timed_out()),
            }
            self.counters.upstream_retries.up();
        }
        // Boxed, as all that is rare: every request would have room for it otherwise.
        let lease = Box::pin(self.connect(group, pool)).await?;
        self.send(of(lease), request, upload).await.map_err(|failed| match failed {
            Failed::Lost(error) => self.failed(&error),
            Failed::Unsent(_) => self.broken("the application closed the connection"),
            Failed::TimedOut => self.timed_out(),
        })
    }

    /// Connects to `first`, or, once, to the server after it.
    async fn connect(self, group: &Group, first: &Rc<Pool>) -> Result<Lease, Refused> {
        let error = match self.try_connect(first).await {
            Ok(lease) => return Ok(lease),
            // Another server would find no room either.
            Err(ConnectError::Full) => return Err(self.full()),
            Err(error) => error,
        };
        match group.next() {
            Some(second) if !Rc::ptr_eq(first, second) => {
                self.counters.upstream_retries.up();
                self.try_connect(second).await.map_err(|error| self.unreachable(&error))
            }
            _ => Err(self.unreachable(&error)),
        }
    }

    async fn try_connect(self, pool: &Rc<Pool>) -> Result<Lease, ConnectError> {
        // An idle connection, whosever it is, makes room for one that is needed.
        let make_room = || self.groups.iter().any(Group::close_idle);
        let place = pool.place(false).or_else(|| make_room().then(|| pool.place(true)).flatten());
        let place = place.ok_or(ConnectError::Full)?;
        self.counters.upstream_connects.up();
        let made = connect::connect(pool, place, self.limits.connect_timeout).await;
        if let Err(error) = &made {
            tracing::warn!(server = ?pool.server(), %error, "an application server cannot be connected to");
        }
        made
    }

    async fn send(
        self,
        mut lease: Lease,
        request: Request<RequestBody>,
        upload: Option<&Arc<Upload>>,
    ) -> Result<(Response<Answer>, Lease), Failed> {
        let limit = self.limits.response_timeout;
        let mut sent = std::pin::pin!(lease.sender().try_send_request(request));
        let mut patience = std::pin::pin!(tokio::time::sleep(limit));
        loop {
            tokio::select! {
                biased;
                answer = &mut sent => return match answer {
                    Ok(response) => Ok((response, lease)),
                    Err(mut error) => Err(match error.take_message() {
                        Some(request) => Failed::Unsent(Box::new(request)),
                        None => Failed::Lost(error.into_error()),
                    }),
                },
                () = &mut patience => {
                    // While an upload moves, the response is not late.
                    let due = upload.map(|upload| upload.last_moved() + limit);
                    match due.filter(|due| *due > Instant::now()) {
                        Some(due) => patience.as_mut().reset(due.into()),
                        None => return Err(Failed::TimedOut),
                    }
                }
            }
        }
    }

    fn unreachable(self, error: &ConnectError) -> Refused {
        let status = match error {
            ConnectError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            ConnectError::Full => return self.full(),
            ConnectError::Io(_) | ConnectError::Handshake(_) => StatusCode::BAD_GATEWAY,
        };
        self.counters.upstream_failures.up(UpstreamFailure::Unreachable);
        Refused::new(status, "upstream-unreachable", "Application unreachable")
            .detail("no server of the application could be connected to; try again later")
    }

    fn full(self) -> Refused {
        self.counters.upstream_failures.up(UpstreamFailure::Full);
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "upstream-full", "Too many open requests")
            .detail("as many requests are under way to applications as there is room for; try again later")
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
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
    fn failed(self, error: &hyper::Error) -> Refused {
        match cause::<BodyError>(error) {
            Some(BodyError::TooLarge { limit }) => Refused::too_large(*limit),
            Some(BodyError::Stalled) => {
                Refused::new(StatusCode::REQUEST_TIMEOUT, "body-stalled", "Request body stalled")
                    .detail("the request body made no progress")
                    .closing()
            }
            Some(BodyError::Broken(IncomingError::Http1(Broken::Misframed(breach)))) => {
                Refused::bad_request(breach.to_string()).closing()
            }
            Some(BodyError::Broken(_) | BodyError::Cut(_)) => {
                Refused::bad_request("the request body broke off").closing()
            }
            None => self.broken(&error.to_string()),
        }
    }
}

/// Why an exchange did not happen.
enum Failed {
    /// Not a byte of it was written: here it is back.
    Unsent(Box<Request<RequestBody>>),
    /// It was written, perhaps in part, and no response came.
    Lost(hyper::Error),
    /// No response in time.
    TimedOut,
}

/// A request that may be sent twice: idempotent (RFC 9110 §9.2.2) and without a body.
struct Replay(Parts);

impl Replay {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
        if !idempotent || !request.body().is_end_stream() {
            return None;
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = Uri::clone(request.uri());
        parts.headers = HeaderMap::clone(request.headers());
        Some(Self(parts))
    }

    fn into_request(self) -> Request<RequestBody> {
        Request::from_parts(self.0, RequestBody::empty())
    }
}

/// Whether the connection went away, as opposed to answering nonsense.
fn is_disconnect(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || cause::<std::io::Error>(error).is_some_and(|error| {
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            )
        })
}

fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
