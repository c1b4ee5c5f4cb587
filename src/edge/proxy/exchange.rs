//! One request and its response's head, over as many servers as it takes and is safe.
//!
//! What is tried again, and when:
//!
//! | what happened | was anything sent? | then |
//! |---|---|---|
//! | no connection | no | another server |
//! | over HTTP/2 the server says that it has not looked at the request (`REFUSED_STREAM`, or beyond a `GOAWAY`) | perhaps | another server (after a `GOAWAY` the same, if there is no other), unless some of its body is gone |
//! | a kept-alive connection turned out to be closed | no | a fresh one to the same server |
//! | the connection went away before any byte of a response | yes, or in part | another server (or a fresh connection, if there is none and this one was kept alive), if the method is idempotent and there is no body |
//! | no response in time, a response that is none | yes | never |
//!
//! The second costs the server nothing and is free; the others are in the group's retry budget. Nothing
//! is tried again after a response's head.

use std::rc::Rc;
use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use super::Proxy;
use super::connect::{self, ConnectError};
use super::http2::mux::Mux;
use super::pool::{Lease, Place};
use super::send::{Failed, Outbound, Tail};
use crate::edge::body::Upload;
use crate::edge::respond::Refused;
use crate::edge::upstream::local::{Flight, Group, NoServer};
use crate::observe::metrics::UpstreamFailure;

/// What a request needs to get its answer.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The group to ask.
    pub group: &'a Group,
    /// What the group tells requests apart by.
    pub key: u64,
    /// The progress of its body, if it has one.
    pub upload: Option<&'a Arc<Upload>>,
}

/// An answer, and the server's account of it.
pub(super) type Exchanged = (Response<Tail>, Flight);

/// One server did not answer.
struct Miss {
    why: Why,
    /// Whether the request may be sent again, and is ready for it.
    again: bool,
    /// Whether the server may be asked again: only a connection that had been idle went away.
    stale: bool,
}

/// Why not. The client is told of the last one, and that one is counted.
enum Why {
    Unreachable(ConnectError),
    Failed(Failed),
}

impl Proxy<'_> {
    /// Sends a request to one of the group's servers; to others if that is needed and safe.
    pub(super) async fn exchange(
        self,
        asked: Asked<'_>,
        outbound: &mut Outbound,
    ) -> Result<Exchanged, Refused> {
        let flight = asked.group.begin(asked.key).await.map_err(|none| self.no_server(none))?;
        match self.attempt(asked, &flight, outbound, false).await {
            Ok(response) => Ok((response, flight)),
            // Boxed, as all that is rare: every request would have room for it otherwise.
            Err(miss) => Box::pin(self.elsewhere(asked, flight, (outbound, miss))).await,
        }
    }

    /// Tries again what may be, as often as it may.
    async fn elsewhere(
        self,
        asked: Asked<'_>,
        mut flight: Flight,
        (outbound, mut miss): (&mut Outbound, Miss),
    ) -> Result<Exchanged, Refused> {
        let Asked { group, key, .. } = asked;
        let mut tried = Vec::new();
        for _ in 0..group.retries() {
            if !miss.again {
                break;
            }
            tried.push(flight.place());
            let another = group.another(key, &tried);
            let fresh = another.is_none();
            flight = match another {
                Some(another) => another,
                None if miss.stale => flight,
                None => break,
            };
            if !group.may_retry() {
                break;
            }
            self.counters.upstream_retries.up();
            miss = match self.attempt(asked, &flight, outbound, fresh).await {
                Ok(response) => return Ok((response, flight)),
                Err(miss) => miss,
            };
        }
        Err(self.refuse(&miss.why))
    }

    /// Asks one server: over a connection that was kept, unless it must be a fresh one.
    async fn attempt(
        self,
        asked: Asked<'_>,
        flight: &Flight,
        outbound: &mut Outbound,
        fresh: bool,
    ) -> Result<Response<Tail>, Miss> {
        if flight.pool().way().http2 {
            return Box::pin(self.attempt_http2(asked, flight, outbound)).await;
        }
        let Asked { upload, .. } = asked;
        if let Some(lease) = (!fresh).then(|| flight.pool().take()).flatten() {
            self.counters.upstream_reuses.up();
            match self.send(lease, outbound, upload).await {
                Ok(answered) => {
                    flight.answered();
                    return Ok(answered);
                }
                // Nothing was asked of the server: it had closed what was idle, as it may.
                Err(Failed::Unsent(_)) => self.counters.upstream_retries.up(),
                Err(failed) => return Err(missed(flight, failed, (outbound, upload), true)),
            }
        }
        let lease = Box::pin(self.connect(flight)).await.map_err(|error| unreached(flight, error))?;
        match self.send(lease, outbound, upload).await {
            Ok(answered) => {
                flight.answered();
                Ok(answered)
            }
            Err(failed) => Err(missed(flight, failed, (outbound, upload), false)),
        }
    }

    /// The same over HTTP/2, where one connection serves many requests.
    async fn attempt_http2(
        self,
        Asked { upload, .. }: Asked<'_>,
        flight: &Flight,
        outbound: &mut Outbound,
    ) -> Result<Response<Tail>, Miss> {
        let (muxes, secure) = (flight.pool().muxes(), flight.pool().way().tls.is_some());
        if let Some(ticket) = muxes.find() {
            self.counters.upstream_reuses.up();
            match self.send_http2((ticket, secure), outbound, upload).await {
                Ok(answered) => {
                    flight.answered();
                    return Ok(answered);
                }
                // Nothing was asked of the server: it has closed the connection, as it may.
                Err(Failed::Unsent(_)) => self.counters.upstream_retries.up(),
                Err(failed) => return Err(missed(flight, failed, (outbound, upload), true)),
            }
        }
        let ticket = muxes.make(async || self.open_http2(flight).await).await;
        let ticket = ticket.map_err(|error| unreached(flight, error))?;
        match self.send_http2((ticket, secure), outbound, upload).await {
            Ok(answered) => {
                flight.answered();
                Ok(answered)
            }
            Err(failed) => Err(missed(flight, failed, (outbound, upload), false)),
        }
    }

    async fn open_http2(self, flight: &Flight) -> Result<Rc<Mux>, ConnectError> {
        let (pool, patience) = (flight.pool(), self.limits.connect_timeout);
        let place = self.place(flight)?;
        let opening = async {
            let socket = connect::open(pool.server(), pool.way()).await?;
            Mux::open(socket, place).await
        };
        let opened = tokio::time::timeout(patience, opening).await;
        let opened = opened.map_err(|_| ConnectError::Timeout(patience)).and_then(|opened| Ok(opened?));
        if let Err(error) = &opened {
            tracing::warn!(server = %pool.server(), %error, "an application server cannot be connected to");
        }
        opened
    }

    async fn connect(self, flight: &Flight) -> Result<Lease, ConnectError> {
        let (pool, place) = (flight.pool(), self.place(flight)?);
        let made = connect::connect(pool, place, self.limits.connect_timeout).await;
        if let Err(error) = &made {
            tracing::warn!(server = %pool.server(), %error, "an application server cannot be connected to");
        }
        made
    }

    /// Room for one more connection.
    fn place(self, flight: &Flight) -> Result<Place, ConnectError> {
        let pool = flight.pool();
        // An idle connection, whosever it is, makes room for one that is needed.
        let make_room = || self.groups.iter().any(Group::close_idle);
        let place = pool.place(false).or_else(|| make_room().then(|| pool.place(true)).flatten());
        let place = place.ok_or(ConnectError::Full)?;
        self.counters.upstream_connects.up();
        Ok(place)
    }

    fn refuse(self, why: &Why) -> Refused {
        match why {
            Why::Unreachable(error) => self.unreachable(error),
            Why::Failed(failed) => self.failed(failed),
        }
    }

    fn unreachable(self, error: &ConnectError) -> Refused {
        let status = match error {
            ConnectError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            ConnectError::Full => return self.full(),
            ConnectError::Io(_) => StatusCode::BAD_GATEWAY,
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

/// There is no connection.
fn unreached(flight: &Flight, error: ConnectError) -> Miss {
    // Another server would find no room either.
    let again = !matches!(error, ConnectError::Full);
    if again {
        flight.failed(&error.to_string());
    }
    Miss { why: Why::Unreachable(error), again, stale: false }
}

/// It did not come to an answer; `kept` says whether over a connection that had been idle.
fn missed(
    flight: &Flight,
    failed: Failed,
    (outbound, upload): (&mut Outbound, Option<&Arc<Upload>>),
    kept: bool,
) -> Miss {
    let again = outbound.may_go_again(&failed);
    // A server that is leaving may be back: another process of it, on a connection of its own.
    let leaving = matches!(failed, Failed::Unprocessed { leaving: true, .. });
    let stale = leaving || (kept && matches!(failed, Failed::Gone(_)));
    match &failed {
        // What the client did is not the server's fault, nor that what had been idle was closed.
        Failed::Body(_) | Failed::Length | Failed::Unsayable => {}
        Failed::Gone(_) | Failed::Unprocessed { .. } if stale => {}
        Failed::Unprocessed { error, .. } => flight.failed(&format!("it refuses requests: {error}")),
        // Over a fresh connection: the server closes whatever is opened.
        Failed::Unsent(error) | Failed::Gone(error) => {
            flight.failed(&format!("the application closed the connection: {error}"));
        }
        Failed::Broken(why) => flight.failed(&why.to_string()),
        // It may be at work on it. While the client has not sent all, the delay may be the client's: nobody
        // may put a server out of service by being slow.
        Failed::TimedOut if upload.is_none_or(|upload| upload.is_over()) => {
            flight.failed("no answer in time");
        }
        Failed::TimedOut => {}
    }
    Miss { why: Why::Failed(failed), again, stale }
}
