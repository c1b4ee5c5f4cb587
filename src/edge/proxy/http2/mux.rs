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

/// What tiny pieces that nobody takes yet may cost beside their bytes, as h2 counts (256 for each): past it the
/// connection ends for all who are on it. Its own measure is so small that a few slow clients would come to it.
const OVERHEAD_BYTES: usize = 64 * 1024 * 1024;

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
        .data_frame_budget(OVERHEAD_BYTES)
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

/// Looks after a connection from time to time.
struct Watch {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    silence: Silence,
}

impl Watch {
    fn new(pings: Option<PingPong>) -> Self {
        Self { pings, timer: Box::pin(sleep(LOOK)), silence: Silence::since(tokio::time::Instant::now()) }
    }

    /// Ready once the server is gone.
    fn poll(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.silence.waits = false;
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = tokio::time::Instant::now();
            self.timer.as_mut().reset(now + LOOK);
            match self.silence.look(now, link.heard.get(), link.streams.get()) {
                Verdict::Fine => {}
                Verdict::Gone => return Poll::Ready(()),
                Verdict::Ask => {
                    let asked = self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
                    self.silence.waits = asked.is_some_and(|sent| sent.is_ok());
                }
            }
        }
    }
}

/// Whether the server is still there while requests wait for it.
#[derive(Debug)]
struct Silence {
    heard: u64,
    quiet_since: tokio::time::Instant,
    asked: Option<tokio::time::Instant>,
    /// For the answer to a ping.
    waits: bool,
}

/// What a look at a connection says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Ask,
    Gone,
}

impl Silence {
    const fn since(now: tokio::time::Instant) -> Self {
        Self { heard: 0, quiet_since: now, asked: None, waits: false }
    }

    fn look(&mut self, now: tokio::time::Instant, heard: u64, streams: usize) -> Verdict {
        if heard != self.heard || streams == 0 {
            (self.heard, self.quiet_since, self.waits) = (heard, now, false);
            return Verdict::Fine;
        }
        let asked = self.asked.map(|asked| now - asked);
        if self.waits && asked.is_some_and(|ago| ago >= QUIET) {
            return Verdict::Gone;
        }
        if now - self.quiet_since < QUIET || asked.is_some_and(|ago| ago < BETWEEN_PINGS) {
            return Verdict::Fine;
        }
        (self.asked, self.waits) = (Some(now), true);
        Verdict::Ask
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every ten seconds for so long, and tells at which of them what was not fine. `pong`: a ping is answered.
    fn over(seconds: u64, streams: usize, heard: impl Fn(u64) -> u64, pong: bool) -> Vec<(u64, Verdict)> {
        let start = tokio::time::Instant::now();
        let mut silence = Silence::since(start);
        let mut pongs = 0;
        let mut told = Vec::new();
        for at in (10..=seconds).step_by(10) {
            match silence.look(start + Duration::from_secs(at), heard(at) + pongs, streams) {
                Verdict::Fine => {}
                verdict => {
                    pongs += if pong { 17 } else { 0 };
                    told.push((at, verdict));
                }
            }
        }
        told
    }

    #[test]
    fn a_server_is_asked_whether_it_is_there_only_in_silence_and_rarely() {
        assert_eq!(over(1000, 0, |_| 0, false), [], "nobody waits");
        assert_eq!(over(1000, 1, |at| at, false), [], "it says something all the time");
        let asked = over(700, 1, |_| 0, true);
        assert_eq!(asked, [(20, Verdict::Ask), (330, Verdict::Ask), (640, Verdict::Ask)]);
    }

    #[test]
    fn one_that_does_not_answer_is_gone() {
        assert_eq!(over(40, 1, |_| 0, false), [(20, Verdict::Ask), (40, Verdict::Gone)]);
        let late = over(60, 1, |at| u64::from(at >= 30), false);
        assert_eq!(late, [(20, Verdict::Ask)], "whatever it says is an answer");
    }
}
