//! Who waits for a server to have room: first come, first served, at most so many.
//!
//! Room is handed over: whoever ends takes off again for the first in line, so that nobody who comes
//! later gets ahead. Without anybody in line that costs one atomic load.
//!
//! Nobody waits in vain: whoever gets in line looks for room once more after that, and whoever makes
//! room looks for a line after that (both sequentially consistent), so one of them sees the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::shared::Shared;
use super::state::ServerState;

/// The line.
#[derive(Debug, Default)]
pub struct Line {
    length: AtomicUsize,
    waiting: Mutex<Waiting>,
    refused: AtomicU64,
    waited: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    places: BTreeMap<u64, oneshot::Sender<Slot>>,
}

/// A place in the line, until dropped.
#[derive(Debug)]
pub struct Ticket {
    line: Arc<Line>,
    number: u64,
    first: bool,
    /// Where the room comes.
    pub room: oneshot::Receiver<Slot>,
}

/// Room at a server. Dropped unused, it goes to the next in line.
#[derive(Debug)]
pub struct Slot(Option<Room>);

#[derive(Debug)]
struct Room {
    server: Arc<ServerState>,
    group: Arc<Shared>,
}

impl Line {
    /// Whether anybody waits.
    pub fn is_empty(&self) -> bool {
        self.length.load(Ordering::SeqCst) == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// How many have waited, and how many were sent away.
    pub fn counts(&self) -> (u64, u64) {
        (self.waited.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Somebody was sent away.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A place in line, if fewer than `most` wait.
    pub fn join(self: &Arc<Self>, most: usize) -> Option<Ticket> {
        let (tell, room) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.places.len() >= most {
            return None;
        }
        let first = waiting.places.is_empty();
        let number = waiting.next;
        waiting.next += 1;
        waiting.places.insert(number, tell);
        self.length.store(waiting.places.len(), Ordering::SeqCst);
        self.waited.fetch_add(1, Ordering::Relaxed);
        Some(Ticket { line: Arc::clone(self), number, first, room })
    }

    fn next(&self) -> Option<oneshot::Sender<Slot>> {
        let mut waiting = self.waiting.lock();
        let next = waiting.places.pop_first();
        self.length.store(waiting.places.len(), Ordering::SeqCst);
        next.map(|(_, tell)| tell)
    }
}

/// Gives whatever room there is at a server of the group to those who wait.
pub fn serve(group: &Arc<Shared>, server: &Arc<ServerState>) {
    let line = group.line();
    while !line.is_empty() && group.is_fit(server) && server.take_off(group.config.bounds.max_connections) {
        let Some(tell) = line.next() else {
            server.turn_back();
            continue;
        };
        let room = Room { server: Arc::clone(server), group: Arc::clone(group) };
        // Whoever has left is passed over, here and not by `Slot::drop`, which would come back here.
        if let Err(mut slot) = tell.send(Slot(Some(room))) {
            slot.0 = None;
            server.turn_back();
        }
    }
}

impl Ticket {
    /// Whether nobody was in line before.
    pub const fn is_first(&self) -> bool {
        self.first
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting.lock();
        waiting.places.remove(&self.number);
        self.line.length.store(waiting.places.len(), Ordering::SeqCst);
    }
}

impl Slot {
    /// Whether it is this server that has room.
    pub fn is_at(&self, server: &Arc<ServerState>) -> bool {
        self.0.as_ref().is_some_and(|room| Arc::ptr_eq(&room.server, server))
    }

    /// Takes the room. Whoever does owes the server a landing.
    pub fn claim(mut self) -> Option<(Arc<ServerState>, Arc<Shared>)> {
        let room = self.0.take();
        room.map(|Room { server, group }| (server, group))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(Room { server, group }) = self.0.take() {
            server.turn_back();
            serve(&group, &server);
        }
    }
}
