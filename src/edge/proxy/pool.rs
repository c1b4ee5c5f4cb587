//! Kept-alive connections to one server, of one edge thread: last in, first out, so that the ones
//! used are warm and the rest grow old and go. Never shared between threads; no lock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::line::Line;
use crate::config::upstream::{Server, Upstream};
use crate::edge::upgrade::tunnel::Switched;

/// The servers of one upstream group, as one edge thread sees them.
#[derive(Debug)]
pub struct Group {
    servers: Vec<Rc<Pool>>,
    next: Cell<usize>,
}

impl Group {
    /// The group's pools: those of servers that it had `before`, empty ones of the others. `start`
    /// staggers where the threads begin to go round; all groups of all threads share `open`.
    pub fn new(config: &Upstream, start: usize, open: &Arc<Connections>, before: Option<&Self>) -> Self {
        let pool = |server: &Server| {
            let known = before.and_then(|group| group.servers.iter().find(|pool| pool.server == *server));
            let pool = known.cloned().unwrap_or_else(|| Rc::new(Pool::new(server.clone(), Arc::clone(open))));
            pool.keep.set(config.idle_connections);
            pool.idle_timeout.set(config.idle_timeout);
            pool
        };
        let next = before.map_or(start, |group| group.next.get());
        Self { servers: config.servers.iter().map(pool).collect(), next: Cell::new(next) }
    }

    /// The next server in turn; `None` for a group without any.
    pub fn next(&self) -> Option<&Rc<Pool>> {
        let at = self.next.get();
        self.next.set(at.wrapping_add(1));
        self.servers.get(at.checked_rem(self.servers.len())?)
    }

    /// Closes the connection that has been idle longest at one of the servers. Returns whether there was
    /// one.
    pub fn close_idle(&self) -> bool {
        self.servers.iter().any(|pool| pool.idle.borrow_mut().pop_front().is_some())
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, now: Instant) {
        self.servers.iter().for_each(|pool| pool.sweep(now));
    }
}

/// The connections to application servers that are open, over all edge threads: with HTTP/2 one client
/// connection asks for many at once, and each is a file descriptor. Only making one costs a count.
#[derive(Debug)]
pub struct Connections {
    limit: AtomicUsize,
    open: AtomicUsize,
}

impl Connections {
    /// At most `limit`.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), open: AtomicUsize::new(0) })
    }

    /// Another bound from now on. What is open stays.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

/// A connection that is counted, until dropped.
#[derive(Debug)]
pub struct Place(Arc<Connections>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One server's idle connections.
#[derive(Debug)]
pub struct Pool {
    server: Server,
    open: Arc<Connections>,
    keep: Cell<usize>,
    idle_timeout: Cell<Duration>,
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    since: Instant,
}

impl Pool {
    fn new(server: Server, open: Arc<Connections>) -> Self {
        let (keep, idle_timeout) = (Cell::default(), Cell::default());
        Self { server, open, keep, idle_timeout, idle: RefCell::default() }
    }

    /// The server.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// A place for one more connection; `None` if all are taken. With `instead` of one that was closed
    /// just now, whose place another thread may have taken since, there is always one.
    pub fn place(&self, instead: bool) -> Option<Place> {
        let before = self.open.open.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.open));
        (instead || before < self.open.limit.load(Ordering::Relaxed)).then_some(place)
    }

    /// An idle connection that is as it was left.
    pub fn take(self: &Rc<Self>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { line, since }) = idle.pop_back() {
            if since.elapsed() >= self.idle_timeout.get() {
                // The rest are older still.
                idle.clear();
                return None;
            }
            if line.is_quiet() {
                return Some(self.lease(line));
            }
        }
        None
    }

    /// A connection that nobody else uses.
    pub fn lease(self: &Rc<Self>, line: Line) -> Lease {
        Lease { line, pool: Rc::clone(self) }
    }

    fn put(&self, line: Line) {
        if self.keep.get() == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        while idle.len() >= self.keep.get() {
            idle.pop_front();
        }
        idle.push_back(Idle { line, since: Instant::now() });
    }

    fn sweep(&self, now: Instant) {
        let stale = |idle: &Idle| {
            now.saturating_duration_since(idle.since) >= self.idle_timeout.get() || !idle.line.is_quiet()
        };
        self.idle.borrow_mut().retain(|idle| !stale(idle));
    }
}

/// A connection in use. Dropping it closes it; [`Lease::give_back`] keeps it for the next.
#[derive(Debug)]
pub struct Lease {
    line: Line,
    pool: Rc<Pool>,
}

impl Lease {
    /// The connection.
    pub const fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// What becomes of the connection after a 101, of which `early` was read already.
    pub fn into_switched(self, early: BytesMut) -> Switched {
        self.line.into_switched(early)
    }

    /// The exchange is complete, and nothing is left unread: the connection may serve the next.
    pub fn give_back(self) {
        let Self { line, pool } = self;
        pool.put(line);
    }
}
