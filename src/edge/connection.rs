//! One connection's life beneath its requests: how long it may be silent, how long a request's
//! head may take, how long a write or a stream may stand still, and how it ends at shutdown.
//!
//! One timer for each connection, armed for the nearest deadline and looked at only when it fires
//! or a nearer one appears, so that a request costs no timer.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::futures::Notified;
use tokio::time::Sleep;

use super::activity::Activity;
use super::drain::Drain;
use super::plan::Plan;
use super::stall::Stall;
use crate::config::limits::Limits;

/// The far end of a connection, as every request on it sees it.
#[derive(Debug)]
pub struct Peer {
    /// Its address, IPv4-mapped ones as IPv4.
    pub address: IpAddr,
    /// The same as a header's value, made once.
    pub header: HeaderValue,
    /// Whether it is a trusted proxy, by the plan of that number.
    trusted: Cell<(bool, Option<u64>)>,
    /// The blacklist's version at which it was last found free.
    pub cleared_at: Cell<u64>,
}

impl Peer {
    /// The far end of a connection.
    pub fn new(address: IpAddr) -> Self {
        let header = HeaderValue::try_from(address.to_string());
        let header = header.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        // The blacklist's version before the look-up at accept is not known any more; zero makes the
        // first request look again.
        Self { address, header, trusted: Cell::new((false, None)), cleared_at: Cell::new(0) }
    }

    /// A request begins that follows this plan: a proxy that is no longer trusted is not believed
    /// again because its connection is old.
    pub fn under(&self, plan: &Plan) {
        if self.trusted.get().1 != Some(plan.number()) {
            self.trusted.set((plan.trusts(self.address), Some(plan.number())));
        }
    }

    /// Whether it is a trusted proxy, by the plan of the request that began last.
    pub const fn is_trusted(&self) -> bool {
        self.trusted.get().0
    }
}

/// How long, and for how many bytes, a connection is still read after its last answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// The client's byte stream, watched: writes that stand still fail.
///
/// Closing lingers: a client that is still sending (a body that was refused, say) would have the
/// answer taken from it by a reset, were the stream closed with bytes unread (RFC 9112 §9.6).
#[derive(Debug)]
pub struct ClientIo<T> {
    inner: T,
    stall: Stall,
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<T> ClientIo<T> {
    /// Watches a stream.
    pub const fn new(inner: T, stall: Duration) -> Self {
        Self { inner, stall: Stall::new(stall), closing: None }
    }

    /// The stream itself, for what is no longer HTTP: it closes at once.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.stall.progress(1);
            return result;
        }
        self.stall.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let result = Pin::new(&mut self.inner).poll_shutdown(cx);
            std::task::ready!(self.watch(cx, result))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}

impl<T: AsyncRead + Unpin> ClientIo<T> {
    /// Reads and forgets until the client closes too, or has had its chance.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || Closing { until: Box::pin(tokio::time::sleep(LINGER)), bytes_left: LINGER_BYTES };
        let closing = self.closing.get_or_insert_with(begin);
        let mut waste = [0; 4096];
        while closing.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut waste);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.bytes_left = closing.bytes_left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return closing.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

/// How long a connection that was asked to finish may take when it has nothing to do.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a connection is asked to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Its thread ends, and nobody comes after it.
    Drain,
    /// Another process serves in its place: who is here may ask once more, and is told to come again by
    /// another connection. To close one that is idle would meet those who are just asking.
    HandOver,
    /// It had nothing to do for too long.
    Silence,
}

/// How a connection is asked to finish.
pub type Finish<C> = fn(Pin<&mut C>, Farewell);

/// Runs a connection to its end, or to its deadline.
pub struct Serve<'a, C> {
    connection: Option<Pin<Box<C>>>,
    finish: Finish<C>,
    activity: Rc<Activity>,
    limits: &'a Limits,
    timer: Pin<Box<Sleep>>,
    drain: &'a Drain,
    shutdown: Pin<Box<Notified<'a>>>,
    started: bool,
    finishing: bool,
}

impl<'a, E, C: Future<Output = Result<(), E>>> Serve<'a, C> {
    /// Runs `connection` until it ends, falls silent, or is told to finish by `drain`. `finish` makes
    /// it take no more requests: `Connection: close` in HTTP/1, GOAWAY in HTTP/2.
    pub fn new(
        (connection, finish): (Pin<Box<C>>, Finish<C>),
        activity: Rc<Activity>,
        limits: &'a Limits,
        drain: &'a Drain,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.idle_timeout.min(limits.stall_timeout)));
        Self {
            connection: Some(connection),
            finish,
            activity,
            limits,
            timer,
            drain,
            shutdown: Box::pin(drain.begun()),
            started: false,
            finishing: false,
        }
    }

    /// Registers for what wakes this task. Once is enough: the task's waker never changes.
    fn start(&mut self, cx: &mut Context<'_>) {
        self.started = true;
        let _ = self.shutdown.as_mut().poll(cx);
        let _ = self.timer.as_mut().poll(cx);
    }

    fn finish(&mut self, why: Farewell) {
        self.finishing = true;
        if let Some(connection) = &mut self.connection {
            (self.finish)(connection.as_mut(), why);
        }
    }

    fn arm(&mut self, at: Instant, cx: &mut Context<'_>) {
        self.timer.as_mut().reset(at.into());
        let _ = self.timer.as_mut().poll(cx);
    }

    /// What the connection's deadlines ask for now.
    fn verdict(&mut self, cx: &mut Context<'_>) -> Verdict {
        let deadline = self.activity.deadline(self.limits);
        if !self.timer.is_elapsed() {
            let armed = self.timer.deadline();
            let nearer = deadline.filter(|at| tokio::time::Instant::from(*at) < armed);
            if let Some(nearer) = nearer.filter(|_| !self.finishing) {
                self.arm(nearer, cx);
            }
            return Verdict::GoOn;
        }
        let now = Instant::now();
        // Looked at only here: a stream that stops later than now is not due before this much later.
        let patience = self.limits.stall_timeout;
        let due = self.activity.handed_out_since().map_or(now + patience, |since| since + patience);
        match deadline {
            _ if due <= now => {
                self.activity.stalls();
                return Verdict::Cut;
            }
            Some(at) if at > now => self.arm(at.min(due), cx),
            None => self.arm(due, cx),
            Some(_) if self.finishing || self.activity.is_head_begun() => return Verdict::Cut,
            Some(_) => {
                self.arm(now + FAREWELL, cx);
                return Verdict::Finish;
            }
        }
        Verdict::GoOn
    }
}

/// What becomes of a connection.
enum Verdict {
    GoOn,
    Finish,
    Cut,
}

impl<E, C: Future<Output = Result<(), E>>> Future for Serve<'_, C> {
    /// The connection, if it came to an end of its own.
    type Output = Option<Pin<Box<C>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.started {
            self.start(cx);
        }
        if let Some(why) = self.drain.farewell().filter(|_| !self.finishing) {
            self.finish(why);
        }
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            // How a connection ended is its peer's business; failures worth knowing are counted where
            // they happen.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                let connection = self.connection.take();
                return Poll::Ready(connection.filter(|_| ended.is_ok()));
            }
            match self.verdict(cx) {
                Verdict::GoOn => return Poll::Pending,
                // The connection must be polled again to act on it.
                Verdict::Finish => self.finish(Farewell::Silence),
                Verdict::Cut => return Poll::Ready(None),
            }
        }
    }
}
