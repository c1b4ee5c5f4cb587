//! Kept-alive connections to one server, of one edge thread: last in, first out, so that the ones
//! used are warm and the rest grow old and go. Never shared between threads; no lock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::http2::muxes::Muxes;
use super::line::Line;
use crate::config::upstream::Server;
use crate::edge::upgrade::tunnel::Switched;
use crate::edge::upstream::way::Way;

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
    way: Way,
    muxes: Muxes,
    open: Arc<Connections>,
    keep: Cell<usize>,
    idle_timeout: Cell<Duration>,
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    line: Box<Line>,
    since: Instant,
}

impl Pool {
    /// An empty one, that keeps nothing until it is configured.
    pub fn new(server: Server, way: Way, open: Arc<Connections>) -> Self {
        let (keep, idle_timeout) = (Cell::default(), Cell::default());
        Self { server, way, muxes: Muxes::default(), open, keep, idle_timeout, idle: RefCell::default() }
    }

    /// The server.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// How it is spoken to.
    pub const fn way(&self) -> &Way {
        &self.way
    }

    /// Connections of HTTP/2, which serve many requests at once.
    pub const fn muxes(&self) -> &Muxes {
        &self.muxes
    }

    /// How many idle connections it keeps from now on, and for how long.
    pub fn configure(&self, keep: usize, idle_timeout: Duration) {
        self.keep.set(keep);
        self.idle_timeout.set(idle_timeout);
    }

    /// Closes the connection that has been idle longest, if there is one.
    pub fn close_oldest(&self) -> bool {
        self.idle.borrow_mut().pop_front().is_some() || self.muxes.close_idle()
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
        while let Some(Idle { mut line, since }) = idle.pop_back() {
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
    pub fn lease(self: &Rc<Self>, line: Box<Line>) -> Lease {
        Lease { line, pool: Rc::clone(self) }
    }

    fn put(&self, line: Box<Line>) {
        if self.keep.get() == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        while idle.len() >= self.keep.get() {
            idle.pop_front();
        }
        idle.push_back(Idle { line, since: Instant::now() });
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, now: Instant) {
        let stale = |idle: &mut Idle| {
            now.saturating_duration_since(idle.since) >= self.idle_timeout.get() || !idle.line.is_quiet()
        };
        self.idle.borrow_mut().retain_mut(|idle| !stale(idle));
        self.muxes.sweep(now, self.idle_timeout.get());
    }
}

/// A connection in use. Dropping it closes it; [`Lease::give_back`] keeps it for the next.
#[derive(Debug)]
pub struct Lease {
    /// Boxed once, as every request takes it and hands it on.
    line: Box<Line>,
    pool: Rc<Pool>,
}

impl Lease {
    /// The connection.
    pub fn line(&mut self) -> &mut Line {
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
