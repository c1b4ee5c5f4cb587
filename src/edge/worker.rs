//! One edge thread: its own runtime, its own listeners, its own upstream connections. It accepts,
//! secures, and runs each connection's requests through the pipeline of [`super`].

mod entrance;
mod plain;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::{Method, Response, Version};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::accept::{Accepted, Permit};
use super::access::{Entry, UnderWay};
use super::activity::{Activity, Busy};
use super::body::Outgoing;
use super::connection::{ClientIo, Farewell, Peer, Serve};
use super::drain::{Drain, Open};
use super::guard;
use super::http1::connection::{Arrived, Connection};
use super::http1::refused::HeadLimits;
use super::http1::scratch::Scratch;
use super::http2::watched::Watched;
use super::identity::Identities;
use super::incoming::{Incoming, Stream, Unread};
use super::listen::Listener;
use super::pages::Intercepted;
use super::plan::{Follow, LocalPlan};
use super::request_ids::RequestIds;
use super::respond::{self, Refused};
use super::shape::headers::Facts;
use super::tls::{Agreed, Secured};
use super::upgrade::tunnel::Tunnel;
use super::watch::Watchlist;
use super::{Pipeline, Site};
use crate::config::limits::Limits;
use crate::observe::gathered;
use crate::observe::metrics::EdgeCounters;
use crate::observe::metrics::http2::Ended;

/// How often a thread looks after its pools.
const TICK: Duration = Duration::from_secs(5);
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
    pub https: Vec<Listener>,
    /// Plain HTTP listeners.
    pub http: Vec<Listener>,
    /// True once it may accept.
    pub begins: tokio::sync::watch::Receiver<bool>,
    /// Tells it to drain, why, and how long that may take. Dropped: at once.
    pub drain: tokio::sync::oneshot::Receiver<(Farewell, Duration)>,
}

/// One edge thread's state. Nothing in it is shared with another thread but the site.
pub struct Worker {
    pipeline: Pipeline,
    drain: Rc<Drain>,
    request_ids: RequestIds,
}

/// Runs a thread until it has drained. Returns how many connections were cut.
pub async fn run(setup: Setup) -> usize {
    let Setup { site, number, counters, https, http, begins, drain } = setup;
    let worker = Rc::new(Worker::new(site, number, counters));
    for listener in https {
        worker.clone().listen(listener, begins.clone(), Worker::serve_https);
    }
    for listener in http {
        worker.clone().listen(listener, begins.clone(), Worker::serve_http);
    }
    tokio::task::spawn_local(Rc::clone(&worker).look_after());
    let watchlist = Rc::clone(&worker.pipeline.watchlist);
    tokio::task::spawn_local(watchlist.keep_watch(worker.site().stir.subscribe()));
    let (why, patience) = drain.await.unwrap_or((Farewell::Drain, Duration::ZERO));
    worker.drain.run(why, patience).await
}

impl Worker {
    fn new(site: Arc<Site>, number: usize, counters: Arc<EdgeCounters>) -> Self {
        let request_ids = RequestIds::new(Arc::clone(&site.rng));
        let scratch = Rc::new(Scratch::new(Arc::clone(&site.clock)));
        let follow = Follow::new(Arc::clone(&site.plans), number);
        let watchlist = Watchlist::new((&site.check, &site.blacklist), &site.clock, &counters);
        let identities = Identities::default();
        let room = Rc::default();
        let pipeline = Pipeline { site, follow, identities, watchlist, scratch, room, counters };
        Self { pipeline, drain: Rc::default(), request_ids }
    }

    fn site(&self) -> &Site {
        &self.pipeline.site
    }

    /// The plan in force.
    fn plan(&self) -> Rc<LocalPlan> {
        self.pipeline.follow.now()
    }

    fn counters(&self) -> &Arc<EdgeCounters> {
        &self.pipeline.counters
    }

    fn listen<F>(
        self: Rc<Self>,
        listener: Listener,
        mut begins: tokio::sync::watch::Receiver<bool>,
        serve: fn(Rc<Self>, Accepted) -> F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(async move {
            if begins.wait_for(|begins| *begins).await.is_err() {
                return;
            }
            match TcpListener::from_std(listener.socket) {
                Ok(socket) => self.accept(&socket, listener.proxied, serve).await,
                Err(error) => tracing::error!(%error, "a listener cannot be used"),
            }
        });
    }

    async fn accept<F>(
        self: &Rc<Self>,
        listener: &TcpListener,
        proxied: bool,
        serve: fn(Rc<Self>, Accepted) -> F,
    ) where
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
                Ok((stream, address)) if proxied => {
                    if let Some(unnamed) = self.take_in_unnamed(stream, address.ip()) {
                        let worker = Rc::clone(self);
                        self.begin(async move {
                            // Boxed: a connection at rest has no room for what it did once.
                            let named = Box::pin(worker.name(unnamed, address.ip())).await;
                            if let Some(accepted) = named {
                                serve(worker, accepted).await;
                            }
                        });
                    }
                }
                Ok((stream, address)) => {
                    if let Some(accepted) = self.take_in(stream, address.ip()) {
                        self.begin(serve(Rc::clone(self), accepted));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection, counted as long as it is open.
    fn begin(&self, serving: impl Future<Output = ()> + 'static) {
        let open = Open::new(&self.drain, self.counters());
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
    }

    async fn serve_https(self: Rc<Self>, accepted: Accepted) {
        let (terminator, patience) = {
            let plan = &self.plan().plan;
            (plan.terminator.clone(), plan.limits.handshake_timeout)
        };
        // Boxed, as what follows is: a connection at rest has no room for what it did once.
        let handshake = Box::pin(async move { terminator.secure(accepted, patience).await });
        let Some(agreed) = handshake.await else {
            self.counters().handshake_failures.up();
            return;
        };
        self.counters().handshakes.up();
        // Whoever only came for a challenge's certificate has seen it.
        let Agreed::Http(secured) = agreed else { return };
        self.converse(secured).await;
    }

    /// Requests and answers over a connection, in the protocol that was agreed on.
    fn converse(self: Rc<Self>, secured: Secured) -> Pin<Box<dyn Future<Output = ()>>> {
        // It keeps the limits that it begins with, and not the plan: idle for long, it would keep the
        // pools of servers that are gone.
        let local = self.plan();
        let limits = Arc::clone(&local.plan.limits);
        let peer = Rc::new(Peer::new(secured.address()));
        let http2 = secured.is_http2();
        let (stream, permit) = secured.into_parts();
        let io = ClientIo::new(stream, limits.stall_timeout);
        let worker = Rc::clone(&self);
        if http2 {
            let activity = Activity::of_http2();
            let service = {
                let activity = Rc::clone(&activity);
                service_fn(move |request: http::Request<_>| {
                    let unread = Unread::default();
                    let busy = Busy::start_http2(&activity, unread.clone());
                    let request = Box::new(request.map(|body| Incoming::Http2(Stream::new(body, unread))));
                    let arrived = Arrived { request, breach: None, switches: false };
                    Rc::clone(&worker).request(Rc::clone(&peer), busy, arrived).map(Ok::<_, Infallible>)
                })
            };
            let io = TokioIo::new(Watched::new(io, Rc::clone(&activity), Arc::clone(self.counters())));
            let connection = Box::pin(local.protocols.http2.serve_connection(io, service));
            let finish = |connection: Pin<&mut http2::Connection<_, _, _>>, _| connection.graceful_shutdown();
            return Box::pin(async move {
                let serving = Serve::new((connection, finish), Rc::clone(&activity), &limits, &self.drain);
                let mut serving = std::pin::pin!(serving);
                serving.as_mut().await;
                // Counted before it is closed: who sees the close finds it counted.
                if activity.has_stalled() {
                    self.counters().http2_ended.up(Ended::Stalled);
                }
                drop(permit);
            });
        }
        let activity = Activity::of_http1();
        let busy = Rc::clone(&activity);
        let answer = move |arrived| Rc::clone(&worker).request(Rc::clone(&peer), Busy::start(&busy), arrived);
        let connection = self.http1(io, answer, &activity, &limits);
        Box::pin(self.serve_http1(connection, activity, limits, permit))
    }

    fn http1<T, S, F>(
        &self,
        io: ClientIo<T>,
        answer: S,
        activity: &Rc<Activity>,
        limits: &Limits,
    ) -> Pin<Box<Connection<ClientIo<T>, S, F>>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
        S: FnMut(Arrived) -> F + Unpin,
        F: Future<Output = Response<Outgoing>>,
    {
        let shared = (Rc::clone(activity), Rc::clone(&self.pipeline.scratch));
        Box::pin(Connection::new(io, answer, HeadLimits::of(limits), shared))
    }

    /// HTTP/1, and what it may switch to.
    async fn serve_http1<T, S, F>(
        self: Rc<Self>,
        connection: Pin<Box<Connection<ClientIo<T>, S, F>>>,
        activity: Rc<Activity>,
        limits: Arc<Limits>,
        _permit: Permit,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
        S: FnMut(Arrived) -> F + Unpin,
        F: Future<Output = Response<Outgoing>>,
    {
        let finish = Connection::finish;
        let serving = Serve::new((connection, finish), Rc::clone(&activity), &limits, &self.drain);
        let Some(connection) = serving.await else { return };
        if let Some(tunnel) = activity.take_tunnel() {
            let (io, early) = Pin::into_inner(connection).into_parts();
            let idle = limits.tunnel_idle_timeout;
            Box::pin(tunnel.run(io.into_inner(), early, idle, self.counters())).await;
        }
    }

    /// One request from head to head: whatever happens, there is an answer, a count and a log line.
    async fn request(
        self: Rc<Self>,
        peer: Rc<Peer>,
        busy: Rc<Busy>,
        Arrived { request, breach, switches }: Arrived,
    ) -> Response<Outgoing> {
        let started = Instant::now();
        let now = self.site().clock.now();
        // One plan from here to the end of the request, whatever is put in place meanwhile.
        let local = self.plan();
        peer.under(&local.plan);
        let id = guard::request_id(request.headers(), &peer, self.request_ids.next(now));
        let id_header = respond::id_header(id);
        let mut entry = Entry::of(&request, peer.address, id);
        // HTTP/1's encoder sees to it itself.
        let bodiless = request.method() == Method::HEAD && request.version() == Version::HTTP_2;
        entry.rules.clone_from(&local.plan.response_headers);
        let reader = local.plan.pages.reader(request.headers());
        // Whoever waits for a stop does not wait for what is only beginning.
        let may_switch = switches && self.drain.farewell() != Some(Farewell::Drain);
        let arrival = guard::Arrival { peer: &peer, framing: breach, may_switch, now };
        let under_way = UnderWay::new(&mut entry, self.counters(), started);
        let answered = {
            // Pinned where it is: wrapped by value, it is moved whole, kilobytes of it.
            let answering =
                std::pin::pin!(self.pipeline.answer(&local, arrival, request, &id_header, under_way.entry));
            AssertUnwindSafe(answering).catch_unwind().await
        };
        let answered = answered.unwrap_or_else(|_| {
            // The panic hook has logged the place and a backtrace.
            self.counters().panics.up();
            tracing::error!(request = %id.0, "a request panicked");
            Err(Refused::internal())
        });
        under_way.is_over();
        let ours = answered.is_err();
        let mut response = self.settle(answered, &mut entry);
        if let Some(reader) = reader
            && (ours || response.extensions().get::<Intercepted>().is_some())
        {
            reader.dress(&mut response, id);
        }
        if bodiless {
            respond::without_body(&mut response);
        }
        let rules = entry.rules.take().map(|rules| (rules, id_header.clone()));
        respond::seal(&mut response, local.plan.hsts.as_ref(), id_header);
        if let Some((rules, id)) = rules {
            // Requests that name no host are answered too.
            let facts = Facts { host: "", client: entry.client, request_id: &id };
            rules.apply(response.headers_mut(), facts);
        }
        let took = started.elapsed();
        self.counters().answered(entry.route.as_ref(), response.status().as_u16(), took);
        entry.write(response.status().as_u16(), took);
        if let Some(opening) = response.body_mut().take_opening() {
            busy.switch(Tunnel { opening, entry });
        }
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

    /// Keeps the thread's own house; what all threads share is kept elsewhere.
    async fn look_after(self: Rc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            // A thread that is never idle hands over its lines here.
            gathered::hand_over();
            let now = Instant::now();
            // A thread without requests hears of a new plan here.
            self.plan().groups.iter().for_each(|group| group.sweep(now));
            self.pipeline.watchlist.look();
            self.pipeline.identities.prune(self.site().clock.now());
        }
    }
}
