//! One request and its response's head, over as many servers as it takes and is safe.
//!
//! What is tried again, and when:
//!
//! | what happened | was anything sent? | then |
//! |---|---|---|
//! | no connection | no | another server |
//! | a kept-alive connection turned out to be closed | no | a fresh one to the same server |
//! | the connection went away before any byte of a response | yes, or in part | another server (or a fresh connection, if there is none and this one was kept alive), if the method is idempotent and there is no body |
//! | no response in time, a response that is none | yes | never |
//!
//! The second costs the server nothing and is free; the others are in the group's retry budget. Nothing
//! is tried again after a response's head.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming as Answer;

use super::connect::{self, ConnectError};
use super::pool::Lease;
use super::{Failed, Proxy, Replay, cause, is_disconnect};
use crate::edge::body::{BodyError, RequestBody, Upload};
use crate::edge::respond::Refused;
use crate::edge::upstream::local::{Flight, Group, NoServer};
use crate::observe::metrics::UpstreamFailure;

const CLOSED: &str = "the application closed the connection";

/// What a request needs to get its answer.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The group to ask.
    pub group: &'a Group,
    /// What the group tells requests apart by.
    pub key: u64,
    /// The progress of its body, if it has one.
    pub upload: Option<&'a Arc<Upload>>,
    /// Whether it asks to switch protocols.
    pub switching: bool,
}

/// An answer, the connection it comes over, and the server's account of it.
pub(super) type Exchanged = (Response<Answer>, Lease, Flight);

/// One server did not answer.
struct Miss {
    why: Why,
    /// The request, if it may be sent again.
    again: Option<Request<RequestBody>>,
    /// Whether the server may be asked again: only a connection that had been idle went away.
    stale: bool,
}

/// Why not. The client is told of the last one, and that one is counted.
enum Why {
    Unreachable(ConnectError),
    Lost(hyper::Error),
    Closed,
    TimedOut,
}

impl Miss {
    const fn last(why: Why) -> Self {
        Self { why, again: None, stale: false }
    }
}

impl Proxy<'_> {
    /// Sends a request to one of the group's servers; to others if that is needed and safe.
    pub(super) async fn exchange(
        self,
        asked: Asked<'_>,
        request: Request<RequestBody>,
    ) -> Result<Exchanged, Refused> {
        let flight = asked.group.begin(asked.key).await.map_err(|none| self.no_server(none))?;
        match self.attempt(asked, &flight, request).await {
            Ok((response, lease)) => Ok((response, lease, flight)),
            // Boxed, as all that is rare: every request would have room for it otherwise.
            Err(miss) => Box::pin(self.elsewhere(asked, flight, miss)).await,
        }
    }

    /// Tries again what may be, as often as it may.
    async fn elsewhere(
        self,
        asked: Asked<'_>,
        mut flight: Flight,
        mut miss: Miss,
    ) -> Result<Exchanged, Refused> {
        let Asked { group, key, .. } = asked;
        let mut tried = Vec::new();
        for _ in 0..group.retries() {
            let Some(request) = miss.again.take() else { break };
            tried.push(flight.place());
            flight = match group.another(key, &tried) {
                Some(another) => another,
                None if miss.stale => flight,
                None => break,
            };
            if !group.may_retry() {
                break;
            }
            self.counters.upstream_retries.up();
            miss = match self.attempt(asked, &flight, request).await {
                Ok((response, lease)) => return Ok((response, lease, flight)),
                Err(miss) => miss,
            };
        }
        Err(self.refuse(&miss.why))
    }

    /// Asks one server: over a connection that was kept, else over a fresh one.
    async fn attempt(
        self,
        Asked { upload, switching, .. }: Asked<'_>,
        flight: &Flight,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Answer>, Lease), Miss> {
        let of = |lease: Lease| if switching { lease.switching() } else { lease };
        let replay = Replay::of(&request);
        if let Some(lease) = flight.pool().take() {
            self.counters.upstream_reuses.up();
            match self.send(of(lease), request, upload).await {
                Ok(answered) => {
                    flight.answered();
                    return Ok(answered);
                }
                // Nothing was asked of the server: it had closed what was idle, as it may.
                Err(Failed::Unsent(back)) => request = *back,
                Err(failed) => return Err(missed(flight, failed, (replay, upload), true)),
            }
            self.counters.upstream_retries.up();
        }
        let lease = match Box::pin(self.connect(flight)).await {
            Ok(lease) => lease,
            // Another server would find no room either.
            Err(error @ ConnectError::Full) => return Err(Miss::last(Why::Unreachable(error))),
            Err(error) => {
                flight.failed(&error.to_string());
                return Err(Miss { why: Why::Unreachable(error), again: Some(request), stale: false });
            }
        };
        match self.send(of(lease), request, upload).await {
            Ok(answered) => {
                flight.answered();
                Ok(answered)
            }
            Err(failed) => Err(missed(flight, failed, (replay, upload), false)),
        }
    }

    async fn connect(self, flight: &Flight) -> Result<Lease, ConnectError> {
        let pool = flight.pool();
        // An idle connection, whosever it is, makes room for one that is needed.
        let make_room = || self.groups.iter().any(Group::close_idle);
        let place = pool.place(false).or_else(|| make_room().then(|| pool.place(true)).flatten());
        let place = place.ok_or(ConnectError::Full)?;
        self.counters.upstream_connects.up();
        let made = connect::connect(pool, place, self.limits.connect_timeout).await;
        if let Err(error) = &made {
            tracing::warn!(server = %pool.server(), %error, "an application server cannot be connected to");
        }
        made
    }

    fn refuse(self, why: &Why) -> Refused {
        match why {
            Why::Unreachable(error) => self.unreachable(error),
            Why::Lost(error) => self.failed(error),
            Why::Closed => self.broken(CLOSED),
            Why::TimedOut => self.timed_out(),
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

    fn no_server(self, none: NoServer) -> Refused {
        let (failure, word, title, detail) = match none {
            NoServer::Busy => (
                UpstreamFailure::Busy,
                "upstream-busy",
                "Application busy",
                "every server of the application has as many requests as it may; try again later",
            ),
            NoServer::Nowhere => (
                UpstreamFailure::Unresolved,
                "upstream-unresolved",
                "Application not found",
                "no name of the application's servers leads to an address yet; try again later",
            ),
            NoServer::Nobody => (
                UpstreamFailure::Drained,
                "upstream-drained",
                "Application out of service",
                "every server of the application was taken out of service; try again later",
            ),
        };
        self.counters.upstream_failures.up(failure);
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, word, title)
            .detail(detail)
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

/// It was sent, at least in part, and there is no answer.
fn missed(
    flight: &Flight,
    failed: Failed,
    (replay, upload): (Option<Replay>, Option<&Arc<Upload>>),
    kept: bool,
) -> Miss {
    match failed {
        // What the client did is not the server's fault.
        Failed::Lost(error) if cause::<BodyError>(&error).is_some() => Miss::last(Why::Lost(error)),
        Failed::Lost(error) => {
            let gone = is_disconnect(&error);
            let stale = kept && gone;
            if !stale {
                flight.failed(&error.to_string());
            }
            let again = replay.filter(|_| gone).map(Replay::into_request);
            Miss { why: Why::Lost(error), again, stale }
        }
        // Over a fresh connection: the server closes whatever is opened.
        Failed::Unsent(back) => {
            flight.failed(CLOSED);
            Miss { why: Why::Closed, again: Some(*back), stale: false }
        }
        // It may be at work on it. While the client has not sent all, the delay may be the client's: nobody
        // may put a server out of service by being slow.
        Failed::TimedOut => {
            if upload.is_none_or(|upload| upload.is_over()) {
                flight.failed("no answer in time");
            }
            Miss::last(Why::TimedOut)
        }
    }
}
