//! One server's connections of HTTP/2, of one edge thread: the first that has room, so that as few are open as will
//! do. One is opened at a time: those who come meanwhile wait for it, and share its fate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::mux::{Mux, Ticket};
use crate::edge::proxy::connect::ConnectError;

/// The connections.
#[derive(Debug, Default)]
pub struct Muxes {
    open: RefCell<Vec<Rc<Mux>>>,
    opening: Mutex<()>,
    /// Attempts that have ended.
    tried: Cell<u64>,
    /// How the last one did, if badly.
    failed: RefCell<Option<ConnectError>>,
}

impl Muxes {
    /// A place on a connection that is there.
    pub fn find(&self) -> Option<Ticket> {
        let mut open = self.open.borrow_mut();
        open.retain(|mux| !mux.is_over());
        open.iter().find(|mux| mux.has_room()).map(Mux::board)
    }

    /// A place on one that is made, unless another request had one made meanwhile.
    pub async fn make(
        &self,
        connect: impl AsyncFnOnce() -> Result<Rc<Mux>, ConnectError>,
    ) -> Result<Ticket, ConnectError> {
        let before = self.tried.get();
        let _turn = self.opening.lock().await;
        if let Some(ticket) = self.find() {
            return Ok(ticket);
        }
        // Not as long again for each of those who waited.
        if self.tried.get() > before
            && let Some(error) = &*self.failed.borrow()
        {
            return Err(error.again());
        }
        let made = connect().await;
        self.tried.set(self.tried.get() + 1);
        self.failed.replace(made.as_ref().err().map(ConnectError::again));
        let mux = made?;
        let ticket = mux.board();
        self.open.borrow_mut().push(mux);
        Ok(ticket)
    }

    /// Closes one that no request is on, if there is one.
    pub fn close_idle(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let idle = open.iter().position(|mux| mux.idle_since().is_some());
        idle.map(|at| open.swap_remove(at)).is_some()
    }

    /// Closes those that no request has been on for too long.
    pub fn sweep(&self, now: Instant, idle_timeout: Duration) {
        let stale = |since: Instant| now.saturating_duration_since(since) >= idle_timeout;
        self.open.borrow_mut().retain(|mux| !mux.is_over() && !mux.idle_since().is_some_and(stale));
    }
}
