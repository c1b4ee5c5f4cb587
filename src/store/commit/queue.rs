//! A bounded queue between threads, counted in items and bytes.
//!
//! Two ways in: `offer` never waits (tasks of the runtime use it, and are told when it is full),
//! `push` waits for room (backpressure between threads). One way out: everything that waits, up to
//! a budget, because both who commit and who apply work in groups. `std`'s and tokio's channels
//! bound neither bytes nor hand out groups under one lock.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// How much a queue holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub items: usize,
    pub bytes: usize,
}

/// What a take waits for: an item.
const SOMETHING: Bounds = Bounds { items: 1, bytes: usize::MAX };

/// Why an offer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What a take came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Items of that many bytes.
    Items { bytes: usize },
    /// Nothing until the deadline.
    Nothing,
    /// Nothing, and nothing will come.
    Closed,
}

/// The queue. Closing it lets out what is in it and nothing more in.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    bounds: Bounds,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// How much whoever takes is waiting for; less wakes nobody.
    awaited: Bounds,
    /// Whether who rests is to go on before that.
    hurried: bool,
    /// How many wait for room.
    outside: usize,
    closed: bool,
}

impl<T> State<T> {
    /// One item always fits, however large, or it could never pass.
    fn has_room(&self, bytes: usize, bounds: Bounds) -> bool {
        self.items.is_empty() || (self.items.len() < bounds.items && self.bytes + bytes <= bounds.bytes)
    }

    fn add(&mut self, item: T, bytes: usize) {
        self.items.push_back((item, bytes));
        self.bytes += bytes;
    }

    /// Whether who rests is to go on.
    fn is_awaited(&self) -> bool {
        let Bounds { items, bytes } = self.awaited;
        self.hurried || self.items.len() >= items || self.bytes >= bytes || self.outside > 0
    }
}

impl<T> Queue<T> {
    pub fn new(bounds: Bounds) -> Self {
        let items = VecDeque::new();
        let state = State { items, bytes: 0, awaited: SOMETHING, hurried: false, outside: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new(), bounds }
    }

    /// Adds an item if there is room now.
    pub fn offer(&self, item: T, bytes: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if !state.has_room(bytes, self.bounds) {
            return Err(Refused::Full);
        }
        state.add(item, bytes);
        let awaited = state.is_awaited();
        drop(state);
        if awaited {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Adds items in order, waiting for room. A closed queue drops them.
    pub fn push(&self, items: impl IntoIterator<Item = (T, usize)>) {
        let mut state = self.state.lock();
        for (item, bytes) in items {
            while !state.closed && !state.has_room(bytes, self.bounds) {
                self.filled.notify_one();
                state.outside += 1;
                self.emptied.wait(&mut state);
                state.outside -= 1;
            }
            if state.closed {
                return;
            }
            state.add(item, bytes);
        }
        let awaited = state.is_awaited();
        drop(state);
        if awaited {
            self.filled.notify_one();
        }
    }

    /// Ends a rest, or keeps the next one from being taken: somebody waits for what is in the queue.
    pub fn hurry(&self) {
        self.state.lock().hurried = true;
        self.filled.notify_one();
    }

    /// Waits until there is `enough` of items or of bytes, somebody is in a hurry or waits for room, the queue
    /// is closed, or the deadline has come.
    pub fn rest(&self, enough: Bounds, deadline: Instant) {
        let mut state = self.state.lock();
        state.awaited = enough;
        while !state.closed && !state.is_awaited() {
            if self.filled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.awaited = SOMETHING;
    }

    /// Moves what waits, up to about `budget` bytes and at least one item, to the end of `into`.
    /// Waits for something until the deadline, or for as long as it takes.
    pub fn take(&self, into: &mut Vec<T>, budget: usize, deadline: Option<Instant>) -> Taken {
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            match deadline {
                Some(deadline) if self.filled.wait_until(&mut state, deadline).timed_out() => {
                    if state.items.is_empty() && !state.closed {
                        return Taken::Nothing;
                    }
                }
                Some(_) => {}
                None => self.filled.wait(&mut state),
            }
        }
        state.hurried = false;
        let mut taken = 0;
        while let Some((item, bytes)) = state.items.pop_front() {
            into.push(item);
            taken += bytes;
            let next = state.items.front().map_or(0, |(_, bytes)| *bytes);
            if taken + next > budget {
                break;
            }
        }
        state.bytes -= taken;
        drop(state);
        self.emptied.notify_all();
        Taken::Items { bytes: taken }
    }

    /// Lets nothing more in.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;

    const FAR: Duration = Duration::from_secs(600);

    fn queue() -> Arc<Queue<u32>> {
        Arc::new(Queue::new(Bounds { items: 4, bytes: 100 }))
    }

    /// Rests until there are three, on a thread of its own; says when the rest is over.
    fn resting(queue: &Arc<Queue<u32>>, patience: Duration) -> mpsc::Receiver<()> {
        let (tell, rested) = mpsc::channel();
        let queue = Arc::clone(queue);
        std::thread::spawn(move || {
            queue.rest(Bounds { items: 3, bytes: 51 }, Instant::now() + patience);
            tell.send(()).unwrap();
        });
        rested
    }

    /// Far less than any rest here is meant to last.
    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn a_rest_lasts_until_enough_waits() {
        let queue = queue();
        queue.push([(1, 1), (2, 1)]);
        let rested = resting(&queue, FAR);
        let early = rested.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        queue.offer(3, 1).unwrap();
        rested.recv_timeout(SOON).unwrap();
    }

    #[test]
    fn a_rest_ends_at_its_deadline_and_what_waits_is_taken_at_once() {
        let queue = queue();
        queue.push([(1, 1)]);
        resting(&queue, Duration::from_millis(1)).recv_timeout(SOON).unwrap();
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, 100, None), Taken::Items { bytes: 1 });
    }

    #[test]
    fn a_hurry_ends_a_rest_or_the_next_one_and_is_over_when_something_was_taken() {
        let queue = queue();
        queue.push([(1, 1)]);
        let rested = resting(&queue, FAR);
        queue.hurry();
        rested.recv_timeout(SOON).unwrap();
        resting(&queue, FAR).recv_timeout(SOON).unwrap();
        queue.take(&mut Vec::new(), 100, None);
        let early = resting(&queue, FAR).recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
    }

    #[test]
    fn a_rest_ends_at_its_bytes_when_somebody_waits_for_room_and_when_the_queue_is_closed() {
        let queue = queue();
        let rested = resting(&queue, FAR);
        queue.push([(1, 51)]);
        rested.recv_timeout(SOON).unwrap();
        let pushing = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.push([(2, 60)])
        });
        resting(&queue, FAR).recv_timeout(SOON).unwrap();
        queue.take(&mut Vec::new(), 100, None);
        pushing.join().unwrap();
        queue.take(&mut Vec::new(), 100, None);
        let rested = resting(&queue, FAR);
        queue.close();
        rested.recv_timeout(SOON).unwrap();
    }
}
