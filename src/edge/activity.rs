//! What one connection is doing, as its requests and its bytes tell it. The deadlines that follow are
//! kept by [`Serve`](super::connection::Serve); nothing here waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use super::incoming::Unread;
use super::upgrade::tunnel::Tunnel;
use crate::config::limits::Limits;

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    requests: Cell<usize>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    /// HTTP/2 only: one for each request under way. In HTTP/1 a client that takes no bytes stops the
    /// socket, which [`ClientIo`](super::connection::ClientIo) sees; in HTTP/2 it need only close a stream's window and go on
    /// answering pings.
    streams: Option<RefCell<Vec<Stream>>>,
    stalled: Cell<bool>,
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
    /// An HTTP/1 connection that just opened.
    pub fn of_http1() -> Rc<Self> {
        Self::new(None)
    }

    /// An HTTP/2 connection that just opened.
    pub fn of_http2() -> Rc<Self> {
        Self::new(Some(RefCell::default()))
    }

    fn new(streams: Option<RefCell<Vec<Stream>>>) -> Rc<Self> {
        Rc::new(Self {
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            streams,
            stalled: Cell::new(false),
            tunnel: RefCell::default(),
        })
    }

    /// The beginning of a head was read, but not its end.
    pub fn head_begins(&self) {
        if self.requests.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// No head is under way any more, whatever became of it.
    pub fn head_ends(&self) {
        self.head_since.set(None);
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

    /// It is cut because a response stands still.
    pub fn stalls(&self) {
        self.stalled.set(true);
    }

    /// Whether it was cut for that.
    pub const fn has_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// What the connection becomes after its last response.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    fn add_stream(&self) -> Option<usize> {
        let mut streams = self.streams.as_ref()?.borrow_mut();
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
        if let Some(streams) = &self.streams
            && let Some(stream) = streams.borrow_mut().get_mut(place)
        {
            *stream = now;
        }
    }

    /// Since when the stream that has stood longest has stood.
    pub fn handed_out_since(&self) -> Option<Instant> {
        let since = |stream: &Stream| match stream {
            Stream::HandedOut(since) => Some(*since),
            Stream::Free | Stream::Fetching => None,
        };
        self.streams.as_ref()?.borrow().iter().filter_map(since).min()
    }
}

/// A request is under way on this connection, until this is dropped.
#[derive(Debug)]
pub struct Busy {
    activity: Rc<Activity>,
    stream: Option<usize>,
    /// What is unread of the request's body once nobody reads it.
    _unread: Option<Unread>,
}

impl Busy {
    /// A request's head has arrived.
    pub fn start(activity: &Rc<Activity>) -> Rc<Self> {
        Self::holding(activity, None)
    }

    /// The same over HTTP/2: what is unread of its body is held for as long.
    pub fn start_http2(activity: &Rc<Activity>, unread: Unread) -> Rc<Self> {
        Self::holding(activity, Some(unread))
    }

    fn holding(activity: &Rc<Activity>, unread: Option<Unread>) -> Rc<Self> {
        activity.requests.set(activity.requests.get() + 1);
        activity.head_since.set(None);
        Rc::new(Self { activity: Rc::clone(activity), stream: activity.add_stream(), _unread: unread })
    }

    /// The response's body was asked for a frame, and gave one or did not.
    pub fn handed_out(&self, frame: bool) {
        if let Some(place) = self.stream {
            let now = if frame { Stream::HandedOut(Instant::now()) } else { Stream::Fetching };
            self.activity.set_stream(place, now);
        }
    }

    /// The connection is to be this, once the 101 is written.
    pub fn switch(&self, tunnel: Tunnel) {
        self.activity.tunnel.replace(Some(Box::new(tunnel)));
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
