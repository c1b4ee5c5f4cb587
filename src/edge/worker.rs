//! One edge thread: its own runtime, its own listeners, its own upstream connections. It accepts,
//! secures, and runs each connection's requests through the pipeline of [`super`].

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::accept::Accepted;
use super::access::Entry;
use super::activity::{Activity, Busy};
use super::body::Outgoing;
use super::connection::{ClientIo, Peer, Serve};
use super::decisions::Denied;
use super::drain::{Drain, Open};
use super::guard;
use super::guard::framing::HeadLimits;
use super::identity::Identities;
use super::proxy::pool::Group;
use super::redirect;
use super::request_ids::RequestIds;
use super::respond::{self, Refused};
use super::{Pipeline, Site};
use crate::config::limits::Limits;
use crate::model::caller::Origin;
use crate::observe::metrics::{EdgeCounters, Turned};

/// How often a thread looks after its pools, and the first one after what all share.
const TICK: Duration = Duration::from_secs(5);
/// How many ticks until lapsed bans are forgotten: a minute.
const BAN_TICKS: u32 = 12;
/// After `accept` failed (no descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a thread starts with.
pub struct Setup {
    /// What all threads share.
    pub site: Arc<Site>,
    /// Its number, from 0.
    pub number: usize,
    /// Its counters.
    pub counters: Arc<EdgeCounters>,
    /// HTTPS listeners.
    pub https: Vec<std::net::TcpListener>,
    /// Plain HTTP listeners.
    pub http: Vec<std::net::TcpListener>,
    /// Tells it to drain, and how long that may take. Dropped: at once.
    pub drain: tokio::sync::oneshot::Receiver<Duration>,
}

/// One edge thread's state. Nothing in it is shared with another thread but the site.
pub struct Worker {
    pipeline: Pipeline,
    drain: Rc<Drain>,
    request_ids: RequestIds,
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
}

/// Runs a thread until it has drained. Returns how many connections were cut.
pub async fn run(setup: Setup) -> usize {
    let Setup { site, number, counters, https, http, drain } = setup;
    let worker = Rc::new(Worker::new(site, number, counters));
    for listener in https {
        worker.clone().listen(listener, Worker::serve_https);
    }
    for listener in http {
        worker.clone().listen(listener, Worker::serve_http);
    }
    tokio::task::spawn_local(Rc::clone(&worker).look_after(number == 0));
    let patience = drain.await.unwrap_or(Duration::ZERO);
    worker.drain.run(patience).await
}

/// How HTTP/1 is read.
pub fn http1(limits: &Limits) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // The connection's own timer watches heads; see `connection`.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .max_buf_size((64 * 1024).max(limits.head_bytes))
        // Not `pipeline_flush`: with bytes of a next request at hand it closes without having
        // written the last answer.
        .half_close(false);
    if limits.header_count > 100 {
        // hyper parses up to 100 on the stack; fewer are counted by the guard.
        http1.max_headers(limits.header_count);
    }
    http1
}

impl Worker {
    fn new(site: Arc<Site>, number: usize, counters: Arc<EdgeCounters>) -> Self {
        let group = |config| Group::new(config, number, &site.upstream_connections);
        let groups = site.upstreams.iter().map(group).collect();
        let limits = &site.limits;
        let http1 = self::http1(limits);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_frame_size(16 * 1024)
            .header_table_size(4096)
            .max_send_buf_size(64 * 1024)
            // Rapid reset (CVE-2023-44487) and its reverse (CVE-2025-8671): few, then GOAWAY.
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        let request_ids = RequestIds::new(Arc::clone(&site.rng));
        let pipeline = Pipeline { site, groups, identities: Identities::default(), counters };
        Self { pipeline, drain: Rc::default(), request_ids, http1, http2 }
    }

    fn site(&self) -> &Site {
        &self.pipeline.site
    }

    fn counters(&self) -> &Arc<EdgeCounters> {
        &self.pipeline.counters
    }

    fn listen<F>(self: Rc<Self>, listener: std::net::TcpListener, serve: fn(Rc<Self>, Accepted) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => self.accept(&listener, serve).await,
                Err(error) => tracing::error!(%error, "a listener cannot be used"),
            }
        });
    }

    async fn accept<F>(self: &Rc<Self>, listener: &TcpListener, serve: fn(Rc<Self>, Accepted) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let mut over = std::pin::pin!(self.drain.begun());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut over => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    if let Some(accepted) = self.take_in(stream, address.ip()) {
                        let open = Open::new(&self.drain, self.counters());
                        let serving = serve(Rc::clone(self), accepted);
                        tokio::task::spawn_local(async move {
                            serving.await;
                            drop(open);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take_in(self: &Rc<Self>, stream: TcpStream, address: std::net::IpAddr) -> Option<Accepted> {
        let site = self.site();
        let now = site.clock.now();
        let (turned, stream) = match Accepted::admit(stream, address, (&site.budget, &site.blacklist, now)) {
            Ok(accepted) => return Some(accepted),
            Err(turned) => turned,
        };
        // Counted before it is closed: who sees the close finds it counted.
        self.counters().turned_away.up(turned);
        drop(stream);
        if turned == Turned::Blacklist {
            let request = self.request_ids.next(now);
            let address = Some(address.to_canonical());
            let origin = Origin { request, address, user_agent: String::new() };
            let denied = Denied { origin, reason: "blacklisted", target: "accept".into(), caller: None };
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move { worker.pipeline.record(denied).await });
        }
        None
    }

    async fn serve_https(self: Rc<Self>, accepted: Accepted) {
        let (site, counters) = (self.site(), self.counters());
        let Some(secured) = site.terminator.secure(accepted, site.limits.handshake_timeout).await else {
            counters.handshake_failures.up();
            return;
        };
        counters.handshakes.up();
        let http2 = secured.is_http2();
        let peer = Rc::new(self.peer(secured.address()));
        let activity = Activity::new((!http2).then(|| HeadLimits::of(&site.limits)));
        let (stream, _permit) = secured.into_parts();
        let io = TokioIo::new(ClientIo::new(stream, site.limits.stall_timeout, Rc::clone(&activity)));
        let service = {
            let (worker, activity) = (Rc::clone(&self), Rc::clone(&activity));
            service_fn(move |request| {
                let busy = Busy::start(&activity);
                Rc::clone(&worker).request(Rc::clone(&peer), busy, request)
            })
        };
        if http2 {
            let connection = self.http2.serve_connection(io, service);
            let finish = http2::Connection::graceful_shutdown;
            Serve::new((connection, finish), activity, &site.limits, &self.drain).await;
        } else {
            let connection = self.http1.serve_connection(io, service);
            let finish = http1::Connection::graceful_shutdown;
            Serve::new((connection, finish), activity, &site.limits, &self.drain).await;
        }
    }

    async fn serve_http(self: Rc<Self>, accepted: Accepted) {
        let site = self.site();
        let (stream, address, _permit) = accepted.into_parts();
        let peer = Rc::new(self.peer(address));
        let activity = Activity::new(Some(HeadLimits::of(&site.limits)));
        let io = TokioIo::new(ClientIo::new(stream, site.limits.stall_timeout, Rc::clone(&activity)));
        let service = {
            let (worker, activity) = (Rc::clone(&self), Rc::clone(&activity));
            service_fn(move |request| {
                let busy = Busy::start(&activity);
                let answer = worker.redirect(&peer, busy, request);
                std::future::ready(Ok::<_, Infallible>(answer))
            })
        };
        let connection = self.http1.serve_connection(io, service);
        let finish = http1::Connection::graceful_shutdown;
        Serve::new((connection, finish), activity, &site.limits, &self.drain).await;
    }

    fn peer(&self, address: std::net::IpAddr) -> Peer {
        let site = self.site();
        // The version before the look-up at accept is not known any more; zero makes the first
        // request look again.
        Peer::new(address, site.trusted.contains(address), 0)
    }

    /// One request from head to head: whatever happens, there is an answer, a count and a log line.
    async fn request(
        self: Rc<Self>,
        peer: Rc<Peer>,
        busy: Rc<Busy>,
        request: Request<Incoming>,
    ) -> Result<Response<Outgoing>, Infallible> {
        let started = Instant::now();
        let now = self.site().clock.now();
        let id = guard::request_id(request.headers(), &peer, self.request_ids.next(now));
        let id_header = id_header(id);
        let mut entry = Entry::of(&request, peer.address, id);
        let arrival = guard::Arrival { peer: &peer, framing: busy.framing(), now };
        let answering = self.pipeline.answer(arrival, request, &id_header, &mut entry);
        let answered = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(|_| {
            // The panic hook has logged the place and a backtrace.
            self.counters().panics.up();
            tracing::error!(request = %id.0, "a request panicked");
            Err(Refused::internal())
        });
        let mut response = self.settle(answered, &mut entry);
        respond::seal(&mut response, self.site().hsts.as_ref(), id_header);
        let took = started.elapsed();
        self.counters().answered(response.status().as_u16(), took);
        entry.write(response.status().as_u16(), took);
        Ok(response.map(|body| body.holding(busy)))
    }

    fn redirect(&self, peer: &Peer, busy: Rc<Busy>, request: Request<Incoming>) -> Response<Outgoing> {
        let started = Instant::now();
        let id = self.request_ids.next(self.site().clock.now());
        let mut entry = Entry::of(&request, peer.address, id);
        let site = self.site();
        let answered = match busy.framing() {
            Some(breach) => Err(guard::misframed(breach, &site.limits)),
            None => redirect::to_https(request, site.terminator.certificates(), site.https_port),
        };
        let mut response = self.settle(answered, &mut entry);
        // No HSTS: RFC 6797 §7.2 forbids it over plain HTTP.
        respond::seal(&mut response, None, id_header(id));
        let took = started.elapsed();
        self.counters().answered(response.status().as_u16(), took);
        entry.write(response.status().as_u16(), took);
        response.map(|body| body.holding(busy))
    }

    fn settle(&self, answered: Result<Response<Outgoing>, Refused>, entry: &mut Entry) -> Response<Outgoing> {
        answered.unwrap_or_else(|refused| {
            if let Some(denial) = refused.is_denial() {
                self.counters().denials.up(denial);
            }
            entry.refused = Some(refused.word());
            refused.into_response(entry.request, entry.version())
        })
    }

    /// Keeps house. The first thread also does what is to be done once.
    async fn look_after(self: Rc<Self>, first: bool) {
        let mut ticks = 0_u32;
        loop {
            tokio::time::sleep(TICK).await;
            ticks = ticks.wrapping_add(1);
            let now = Instant::now();
            self.pipeline.groups.iter().for_each(|group| group.sweep(now));
            if !first {
                continue;
            }
            let failures = self.site().decisions.close_windows(Some(now)).await;
            self.counters().audit_failures.add(failures);
            if ticks.is_multiple_of(BAN_TICKS) {
                self.site().blacklist.forget_lapsed(self.site().clock.now());
            }
        }
    }
}

fn id_header(id: crate::model::id::RequestId) -> HeaderValue {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.0.as_hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Runs HTTP/2's tasks on this thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}
