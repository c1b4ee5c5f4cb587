//! Starting and stopping the edge: sockets bound, threads started, and drained at the end.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use super::authenticate::TokenCheck;
use super::connection::Farewell;
use super::decisions::{AuditSink, Decisions};
use super::filter::measures::Measures;
use super::guard::address::TrustedProxies;
use super::guard::blacklist::Blacklist;
use super::listen::Listener;
use super::local::LocalApi;
use super::plan::{Plans, Prepared, Settings};
use super::rates::limiter::{Limiters, Ticks};
use super::rates::measures::Crowd;
use super::statics::body::Rooms;
use super::upstream::checker::Checker;
use super::upstream::measures::Groups;
use super::upstream::names::{self, Names};
use super::upstream::standing::Upstreams;
use super::watch::Stir;
use super::worker::{self, Setup};
use super::{EdgeError, Site, listen};
use crate::audit::folded::GivenUp;
use crate::config::listen::Listen;
use crate::config::upstream::Upstream;
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;
use crate::observe::gathered;
use crate::observe::metrics::{EdgeCounters, Metrics};

/// Threads beside each edge thread that wait for the disk, where routes serve files. They come and go as they are
/// needed; what is past them waits, one job for each request.
const DISK_THREADS: usize = 4;

/// What the edge is made of.
pub struct Parts {
    /// Addresses and threads.
    pub listen: Listen,
    /// Sockets that are open already; those of other addresses are closed.
    pub given: Given,
    /// Connections are accepted once this is true: another process may do so until then.
    pub begins: watch::Receiver<bool>,
    /// What its first plan is made of.
    pub settings: Settings,
    /// Where the rates get the time.
    pub ticks: Ticks,
    /// Verifies tokens.
    pub verifier: Arc<dyn TokenCheck>,
    /// Keepgate's own API.
    pub api: LocalApi,
    /// Where denials are recorded.
    pub audit: Arc<dyn AuditSink>,
    /// Banned addresses; whoever follows the journal feeds it.
    pub blacklist: Arc<Blacklist>,
    /// Where the threads count.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
}

/// Listening sockets.
#[derive(Debug, Default)]
pub struct Given {
    /// For HTTPS.
    pub https: Vec<TcpListener>,
    /// For plain HTTP.
    pub http: Vec<TcpListener>,
}

/// The edge.
pub struct Edge;

/// A running edge. Dropping it stops it at once.
pub struct Running {
    site: Arc<Site>,
    counters: Arc<EdgeCounters>,
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    /// Copies of the listening sockets, for the process that comes after.
    sockets: Given,
    workers: Vec<Thread>,
}

/// Tells a thread to drain; says how many it cut; the thread.
type Thread = (oneshot::Sender<(Farewell, Duration)>, oneshot::Receiver<usize>, JoinHandle<()>);

/// What was bound: the addresses, a copy of each socket, and each thread's listeners.
type Bound = (Vec<SocketAddr>, Vec<TcpListener>, Vec<Vec<Listener>>);

impl Edge {
    /// Binds every address and starts the threads. When this returns, connections are accepted as soon as that
    /// may begin.
    pub fn start(mut parts: Parts) -> Result<Running, EdgeError> {
        let count = match parts.listen.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let every: Vec<SocketAddr> = parts.listen.https.iter().chain(&parts.listen.http).copied().collect();
        let proxied = parts.listen.proxy_protocol.as_slice();
        let Given { https, http } = std::mem::take(&mut parts.given);
        let (https, https_sockets, mut https_listeners) =
            bind_all(&parts.listen.https, https, count, (&every, proxied))?;
        let (http, http_sockets, mut http_listeners) =
            bind_all(&parts.listen.http, http, count, (&every, proxied))?;
        let sockets = Given { https: https_sockets, http: http_sockets };
        let (metrics, begins) = (Arc::clone(&parts.metrics), parts.begins.clone());
        let site = Arc::new(Site::new(parts, https.first().map_or(443, SocketAddr::port))?);
        let crowd = Crowd(Arc::clone(site.plans.limiters()));
        let groups = Groups(Arc::clone(&site.plans));
        let measures = Measures {
            tallies: Arc::clone(site.plans.tallies()),
            blacklist: Arc::clone(&site.blacklist),
            clock: Arc::clone(&site.clock),
        };
        metrics.register(|registry| {
            registry.register_collector(Box::new(measures));
            registry.register_collector(Box::new(crowd));
            registry.register_collector(Box::new(groups));
        });
        // What belongs to no thread is counted with the first one's.
        let first = metrics.edge_worker();
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let (tell, drain) = oneshot::channel();
            let setup = Setup {
                site: Arc::clone(&site),
                number,
                counters: if number == 0 { Arc::clone(&first) } else { metrics.edge_worker() },
                https: https_listeners.pop().unwrap_or_default(),
                http: http_listeners.pop().unwrap_or_default(),
                begins: begins.clone(),
                drain,
            };
            let (done, finished) = oneshot::channel();
            workers.push((tell, finished, spawn(setup, done)?));
        }
        Ok(Running { site, counters: first, https, http, sockets, workers })
    }
}

impl Site {
    fn new(parts: Parts, https_port: u16) -> Result<Self, EdgeError> {
        let limiters = Arc::new(Limiters::new(parts.settings.rates.keys, parts.ticks.clone()));
        let plans = Plans::start(parts.settings, limiters, parts.ticks)?;
        Ok(Self {
            stir: Stir::new(&*parts.verifier),
            plans: Arc::new(plans),
            https_port,
            check: parts.verifier,
            api: parts.api,
            decisions: Decisions::new(parts.audit),
            blacklist: parts.blacklist,
            open_files: Rooms::default(),
            proxies: TrustedProxies::new(parts.listen.proxy_protocol_from),
            clock: parts.clock,
            rng: parts.rng,
        })
    }
}

/// Changes the plan of a running edge.
#[derive(Clone)]
pub struct Changer(Arc<Site>);

impl Changer {
    /// Makes and checks a plan. Nothing changes yet.
    pub fn prepare(&self, settings: Settings) -> Result<Prepared, EdgeError> {
        self.0.plans.prepare(settings)
    }

    /// Looks up names of application servers that are not known yet, for so long at most.
    pub async fn look_ahead(&self, upstreams: &BTreeMap<String, Upstream>, patience: Duration) {
        names::look_ahead(&self.0.plans, upstreams, &names::system(), patience).await;
    }

    /// Puts it in place: for every request that begins from now on. Nobody is cut.
    pub fn put(&self, prepared: Prepared) {
        self.0.plans.put(prepared);
    }
}

/// What is to be done from time to time for all edge threads, and on none of them: it takes as long as there
/// are clients, bans and refusals. Cheap to clone.
#[derive(Clone)]
pub struct Housekeeping {
    site: Arc<Site>,
    counters: Arc<EdgeCounters>,
}

impl Housekeeping {
    /// Records the counts of refusals whose windows have closed by `now` ([`None`]: of all).
    pub async fn close_windows(&self, now: Option<Instant>) {
        let failures = self.site.decisions.close_windows(now).await;
        self.counters.audit_failures.add(failures);
    }

    /// Records the `most` largest of those counts and gives up the others, at a stop without room.
    pub async fn close_largest(&self, most: usize) -> GivenUp {
        let lost = self.site.decisions.close_largest(most).await;
        self.counters.audit_failures.add(lost.counts);
        lost
    }

    /// Forgets clients that have all their rates again. Blocking, for as long as looking at each takes.
    pub fn sweep(&self) {
        self.site.plans.limiters().sweep();
    }
}

/// Every address for each thread, from sockets that are open already where there are any.
fn bind_all(
    addresses: &[SocketAddr],
    mut given: Vec<TcpListener>,
    count: usize,
    (beside, proxied): (&[SocketAddr], &[SocketAddr]),
) -> Result<Bound, EdgeError> {
    let (mut bound, mut copies) = (Vec::new(), Vec::new());
    let mut by_thread: Vec<Vec<Listener>> = (0..count).map(|_| Vec::new()).collect();
    for address in addresses {
        let taken = listen::take(&mut given, *address, beside);
        let (chosen, sockets) = match taken.is_empty() {
            true => listen::bind(*address, count, beside)?,
            false => listen::spread(taken, count)?,
        };
        bound.push(chosen);
        let proxied = proxied.contains(address);
        for (number, socket) in sockets.into_iter().enumerate() {
            let refused = |source| EdgeError::Bind { address: chosen, source };
            copies.push(socket.try_clone().map_err(refused)?);
            if let Some(thread) = by_thread.get_mut(number % count.max(1)) {
                thread.push(Listener { socket, proxied });
            }
        }
    }
    for left in &given {
        let address = left.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tracing::warn!(
            address,
            "a socket was handed over that the configuration does not name: it is closed"
        );
    }
    Ok((bound, copies, by_thread))
}

fn spawn(setup: Setup, done: oneshot::Sender<usize>) -> Result<JoinHandle<()>, EdgeError> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(DISK_THREADS).on_thread_park(gathered::hand_over);
    let runtime = builder.build().map_err(EdgeError::Thread)?;
    let thread = std::thread::Builder::new().name(format!("edge-{}", setup.number));
    let body = move || {
        let gathering = gathered::gather();
        let cut = LocalSet::new().block_on(&runtime, worker::run(setup));
        drop(gathering);
        // A disk that hangs is waited for by nobody.
        runtime.shutdown_background();
        // Whoever waits may have gone.
        let _ = done.send(cut);
    };
    thread.spawn(body).map_err(EdgeError::Thread)
}

impl Running {
    /// Where HTTPS is served, ports as chosen.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where plain HTTP is redirected, ports as chosen.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Copies of its listening sockets, for the process that comes after.
    ///
    /// # Errors
    /// When the system has no descriptors for them.
    pub fn sockets(&self) -> std::io::Result<Given> {
        let copy = |sockets: &[TcpListener]| {
            sockets.iter().map(TcpListener::try_clone).collect::<std::io::Result<Vec<_>>>()
        };
        let Given { https, http } = &self.sockets;
        Ok(Given { https: copy(https)?, http: copy(http)? })
    }

    /// For changing the plan while it runs.
    pub fn changer(&self) -> Changer {
        Changer(Arc::clone(&self.site))
    }

    /// Checks the application servers, for whoever has time for it.
    pub fn checker(&self) -> Checker {
        Checker::new(Arc::clone(&self.site.plans), Arc::clone(&self.site.rng))
    }

    /// Looks up the names of application servers.
    pub fn names(&self) -> Names {
        Names::new(Arc::clone(&self.site.plans), names::system())
    }

    /// How the application servers stand.
    pub fn upstreams(&self) -> Upstreams {
        Upstreams::new(Arc::clone(&self.site.plans), Arc::clone(&self.site.clock))
    }

    /// What its names and checks go by.
    #[cfg(test)]
    pub fn plans(&self) -> Arc<Plans> {
        Arc::clone(&self.site.plans)
    }

    /// For keeping house while it runs.
    pub fn housekeeping(&self) -> Housekeeping {
        Housekeeping { site: Arc::clone(&self.site), counters: Arc::clone(&self.counters) }
    }

    /// Stops accepting, lets open requests finish for at most `patience`, closes the rest. Returns how
    /// many connections had to be cut. The audit sink must still take events while this runs.
    pub async fn drain(self, why: Farewell, patience: Duration) -> usize {
        let housekeeping = self.housekeeping();
        // Nobody is let in any more, unless another process holds them too.
        drop(self.sockets);
        let mut waiting = Vec::new();
        for (tell, finished, thread) in self.workers {
            // A thread that is gone already needs no telling.
            let _ = tell.send((why, patience));
            waiting.push((finished, thread));
        }
        let mut cut = 0;
        for (finished, thread) in waiting {
            cut += finished.await.unwrap_or(0);
            if thread.join().is_err() {
                tracing::error!("an edge thread panicked");
            }
        }
        // Only now: any of the threads may have folded a denial until its end.
        housekeeping.close_windows(None).await;
        cut
    }
}
