//! What one connection is doing, as its requests and its bytes tell it. The deadlines that follow are
//! kept by [`Serve`](super::connection::Serve); nothing here waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use super::guard::framing::{Cut, Framing, FramingRefused, HeadLimits};
use super::upgrade::tunnel::Tunnel;
use crate::config::limits::Limits;

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    requests: Cell<usize>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    /// HTTP/1 only: HTTP/2 has its own framing, and the h2 crate is strict about it.
    framing: Option<RefCell<Framing>>,
    /// HTTP/2 only: one for each request under way. In HTTP/1 a client that takes no bytes stops the
    /// socket, which [`ClientIo`](super::connection::ClientIo) sees; in HTTP/2 it need only close a stream's window and go on
    /// answering pings.
    streams: RefCell<Vec<Stream>>,
    /// HTTP/1 only: requests begun so far, so that one that asks to switch is told from one before it.
    begun: Cell<u64>,
    asked_to_switch: Cell<bool>,
    tunnel: RefCell<Option<Box<Tunnel>>>,
}

/// What the body of a stream's response is doing.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// No stream has this place.
    Free,
    /// It waits for more from its source, or has not begun.
    Fetching,
    /// A frame was handed out then, and the next has not been asked for since.
    HandedOut(Instant),
}

impl Activity {
    /// A connection that just opened. `http1`, for HTTP/1: bytes while no request is under way are the
    /// beginning of a head, and the framing is to be followed.
    pub fn new(http1: Option<HeadLimits>) -> Rc<Self> {
        Rc::new(Self {
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            framing: http1.map(|limits| RefCell::new(Framing::new(limits))),
            streams: RefCell::default(),
            begun: Cell::new(0),
            asked_to_switch: Cell::new(false),
            tunnel: RefCell::default(),
        })
    }

    /// Bytes were read. A head that breaks in them is to be cut.
    pub fn bytes_arrived(&self, bytes: &[u8]) -> Option<Cut> {
        let framing = self.framing.as_ref()?;
        let cut = framing.borrow_mut().feed(bytes);
        if self.requests.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
        cut
    }

    /// Until when something must happen; `None` while a request is under way.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if self.requests.get() > 0 {
            return None;
        }
        let idle = self.idle_since.get() + limits.idle_timeout;
        Some(self.head_since.get().map_or(idle, |since| since + limits.head_timeout))
    }

    /// Whether a head has begun and is not complete.
    pub const fn is_head_begun(&self) -> bool {
        self.head_since.get().is_some()
    }

    /// Whether a request on this connection asked to switch protocols, whatever came of it.
    pub const fn has_asked_to_switch(&self) -> bool {
        self.asked_to_switch.get()
    }

    /// What the connection becomes after its last response.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    fn add_stream(&self) -> Option<usize> {
        if self.framing.is_some() {
            return None;
        }
        let mut streams = self.streams.borrow_mut();
        let free = streams.iter().position(|stream| matches!(stream, Stream::Free));
        let place = free.unwrap_or_else(|| {
            streams.push(Stream::Free);
            streams.len() - 1
        });
        drop(streams);
        self.set_stream(place, Stream::Fetching);
        Some(place)
    }

    fn set_stream(&self, place: usize, now: Stream) {
        if let Some(stream) = self.streams.borrow_mut().get_mut(place) {
            *stream = now;
        }
    }

    /// Since when the stream that has stood longest has stood.
    pub fn handed_out_since(&self) -> Option<Instant> {
        let since = |stream: &Stream| match stream {
            Stream::HandedOut(since) => Some(*since),
            Stream::Free | Stream::Fetching => None,
        };
        self.streams.borrow().iter().filter_map(since).min()
    }
}

/// A request is under way on this connection, until this is dropped.
#[derive(Debug)]
pub struct Busy {
    activity: Rc<Activity>,
    stream: Option<usize>,
}

impl Busy {
    /// A request's head has arrived.
    pub fn start(activity: &Rc<Activity>) -> Rc<Self> {
        activity.requests.set(activity.requests.get() + 1);
        activity.head_since.set(None);
        activity.begun.set(activity.begun.get() + 1);
        Rc::new(Self { activity: Rc::clone(activity), stream: activity.add_stream() })
    }

    /// The response's body was asked for a frame, and gave one or did not.
    pub fn handed_out(&self, frame: bool) {
        if let Some(place) = self.stream {
            let now = if frame { Stream::HandedOut(Instant::now()) } else { Stream::Fetching };
            self.activity.set_stream(place, now);
        }
    }

    /// Whether this request asks to switch protocols, and what follows it waits for the answer.
    pub fn may_switch(&self) -> bool {
        let Activity { framing, begun, asked_to_switch, .. } = &*self.activity;
        let may = framing.as_ref().is_some_and(|framing| framing.borrow().is_held(begun.get()));
        if may {
            asked_to_switch.set(true);
        }
        may
    }

    /// It does switch, once its 101 is written.
    pub fn switch(&self, tunnel: Tunnel) {
        let framing = self.activity.framing.as_ref().filter(|_| self.may_switch());
        if framing.is_some_and(|framing| framing.borrow_mut().switch()) {
            self.activity.tunnel.replace(Some(Box::new(tunnel)));
        }
    }

    /// It does not: what follows it is the next request.
    pub fn stay(&self) {
        if self.may_switch()
            && let Some(framing) = &self.activity.framing
        {
            framing.borrow_mut().stay();
        }
    }

    /// What is wrong with the connection's bytes so far. With several requests on the way at once the
    /// first answers for a later one's breach; nobody honest is hit.
    pub fn framing(&self) -> Option<FramingRefused> {
        self.activity.framing.as_ref().and_then(|framing| framing.borrow().breach())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(place) = self.stream {
            self.activity.set_stream(place, Stream::Free);
        }
        let left = self.activity.requests.get().saturating_sub(1);
        self.activity.requests.set(left);
        if left == 0 {
            self.activity.idle_since.set(Instant::now());
        }
    }
}
