//! One HTTP/2 connection to an application server: many requests at once. A task drives it, because frames of one
//! request arrive while another is polled; it ends with the last of those who hold the connection.
//!
//! Bounds: [`MOST_STREAMS`] requests, or fewer if the server says so; the windows of all of them together are the
//! connection's, so that a client who takes nothing holds up no other.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::edge::proxy::line::Socket;
use crate::edge::proxy::pool::Place;

/// Most requests at once on one connection.
const MOST_STREAMS: usize = 64;
/// What a server may send of one answer before it is taken.
const STREAM_WINDOW: u32 = 128 * 1024;
/// …and of all of them.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;
/// Largest head of an answer, as HTTP/2 counts it.
const HEAD_BYTES: u32 = 64 * 1024;

/// How often a connection is looked at while requests wait.
const LOOK: Duration = Duration::from_secs(10);
/// Silence after which it is asked whether it is there.
const QUIET: Duration = Duration::from_secs(20);
/// From one such question to the next: gRPC servers take more of them for abuse (GOAWAY `too_many_pings`).
const BETWEEN_PINGS: Duration = Duration::from_secs(310);

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(16 * 1024)
        .max_header_list_size(HEAD_BYTES)
        .header_table_size(4096)
        .max_send_buffer_size(64 * 1024)
        .max_concurrent_reset_streams(MOST_STREAMS)
        .enable_push(false)
        // None until its SETTINGS are there: it may take only one, and an HTTP/1.1 server has none.
        .initial_max_send_streams(0);
    builder
}

/// What the connection's task and its requests both see.
#[derive(Debug, Default)]
struct Link {
    settled: Cell<bool>,
    /// It takes no more requests.
    over: Cell<bool>,
    why: RefCell<Option<String>>,
    news: Notify,
    streams: Cell<usize>,
    /// Bytes that came.
    heard: Cell<u64>,
}

/// A connection.
#[derive(Debug)]
pub struct Mux {
    sender: SendRequest<Bytes>,
    link: Rc<Link>,
    idle_since: Cell<Instant>,
}

impl Mux {
    /// Begins HTTP/2 on a connection, and waits for the server's SETTINGS: nothing is sent to one that speaks
    /// something else.
    pub async fn open(socket: Socket, place: Place) -> io::Result<Rc<Self>> {
        let link = Rc::new(Link::default());
        let io = Heard { io: socket, link: Rc::clone(&link) };
        let (sender, connection) = builder().handshake(io).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(drive(connection, Rc::clone(&link), place));
        let mux = Rc::new(Self { sender, link, idle_since: Cell::new(Instant::now()) });
        while !mux.link.settled.get() {
            if mux.link.over.get() {
                let why = mux.link.why.borrow_mut().take();
                return Err(io::Error::other(format!(
                    "it does not speak HTTP/2: {}",
                    why.unwrap_or_default()
                )));
            }
            mux.link.news.notified().await;
        }
        Ok(mux)
    }

    /// Whether it takes no more requests: it has ended, or the server says that it will (GOAWAY).
    pub fn is_over(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.link.over.get() || !matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// Whether one more request may be under way on it.
    pub fn has_room(&self) -> bool {
        self.link.streams.get() < MOST_STREAMS.min(self.sender.current_max_send_streams())
    }

    /// Since when no request has been under way, if none is.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.link.streams.get() == 0).then(|| self.idle_since.get())
    }

    /// A place for a request.
    pub fn board(self: &Rc<Self>) -> Ticket {
        self.link.streams.set(self.link.streams.get() + 1);
        Ticket(Rc::clone(self))
    }
}

/// A request's place on a connection, until dropped.
#[derive(Debug)]
pub struct Ticket(Rc<Mux>);

impl Ticket {
    /// Sends a request's head. An error says that nothing was sent.
    pub fn send(
        &self,
        request: Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.0.sender.clone().send_request(request, whole)
    }

    /// How many bytes have come on the connection.
    pub fn heard(&self) -> u64 {
        self.0.link.heard.get()
    }

    /// Nothing has come for too long: nobody else is sent over it.
    pub fn retire(&self) {
        self.0.link.over.set(true);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.0.link.streams.get().saturating_sub(1);
        self.0.link.streams.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// Drives a connection to its end.
async fn drive(mut connection: Connection<Heard, Bytes>, link: Rc<Link>, place: Place) {
    let mut watch = Watch::new(connection.ping_pong());
    let ended = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if !link.settled.get() && connection.max_concurrent_send_streams() > 0 {
            link.settled.set(true);
            link.news.notify_one();
        }
        match polled {
            Poll::Ready(ended) => Poll::Ready(ended.err().map(|error| error.to_string())),
            Poll::Pending => watch.poll(&link, cx).map(|()| Some("it does not answer a ping".to_owned())),
        }
    })
    .await;
    if let Some(why) = &ended {
        tracing::debug!(why, "a connection of HTTP/2 to an application server ended");
    }
    link.over.set(true);
    link.why.replace(ended);
    link.news.notify_one();
    drop((connection, place));
}

/// Whether the server is still there while requests wait for it.
struct Watch {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    heard: u64,
    quiet_since: tokio::time::Instant,
    asked: Option<tokio::time::Instant>,
    waits: bool,
}

impl Watch {
    fn new(pings: Option<PingPong>) -> Self {
        let (timer, quiet_since) = (Box::pin(sleep(LOOK)), tokio::time::Instant::now());
        Self { pings, timer, heard: 0, quiet_since, asked: None, waits: false }
    }

    /// Ready once it is gone.
    fn poll(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.waits = false;
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = tokio::time::Instant::now();
            self.timer.as_mut().reset(now + LOOK);
            if link.heard.get() != self.heard || link.streams.get() == 0 {
                (self.heard, self.quiet_since, self.waits) = (link.heard.get(), now, false);
                continue;
            }
            let asked = self.asked.map(|asked| now - asked);
            if self.waits && asked.is_some_and(|ago| ago >= QUIET) {
                return Poll::Ready(());
            }
            let may = asked.is_none_or(|ago| ago >= BETWEEN_PINGS);
            if may && now - self.quiet_since >= QUIET {
                let sent = self.pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
                (self.waits, self.asked) = (sent, Some(now));
            }
        }
    }
}

/// A socket that counts what comes.
struct Heard {
    io: Socket,
    link: Rc<Link>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let came = buffer.filled().len() - before;
        self.link.heard.set(self.link.heard.get() + came as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
