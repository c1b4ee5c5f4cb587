//! The two connections of an accepted upgrade, joined: bytes go both ways unread.
//!
//! Each direction has one small buffer and waits for its reader, so that a slow one slows the other
//! side down and fills nothing here. One side's end is passed on, the other direction goes on. It ends
//! for good when both are done, when nothing has moved for `limits.tunnel_idle_timeout` or one side has
//! taken none of what waits for it for as long, when its grounds fall away ([`watch`](crate::edge::watch)), or with the drain. Nothing is
//! said in the tunnel's own protocol then: nobody here knows where in it the stream stands.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::edge::access::Entry;
use crate::edge::proxy::pool::Place;
use crate::edge::stall::Stall;
use crate::edge::upstream::local::Flight;
use crate::edge::watch::Watched;
use crate::observe::metrics::tunnels::{TunnelCounters, TunnelEnd};
use crate::observe::metrics::{Count, EdgeCounters};

/// The buffer of one direction, bytes. Two of them and two sockets are what a tunnel costs.
const BUFFER: usize = 8 * 1024;

/// A byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// An upstream connection that has switched: it is no longer HTTP, and never again a pool's.
pub struct Switched {
    /// The connection.
    pub io: Box<dyn Stream>,
    /// What came after the 101.
    pub early: Bytes,
    /// Its place among the connections to upstreams.
    pub place: Place,
}

/// A switch that the upstream has agreed to.
#[derive(Debug)]
pub struct Opening {
    /// The upstream's side.
    pub upstream: Switched,
    /// Why it may stay open.
    pub watched: Watched,
    /// A tunnel is a request under way at its server for as long as it is open.
    pub flight: Flight,
}

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switched").finish_non_exhaustive()
    }
}

/// A tunnel to be, while its 101 is on the way to the client.
#[derive(Debug)]
pub struct Tunnel {
    /// The upstream's side.
    pub opening: Box<Opening>,
    /// The request it came of, for the log.
    pub entry: Entry,
}

impl Tunnel {
    /// Runs it with the client's side, of which `early` was read already, to its end.
    pub async fn run(self, client: impl Stream, early: Bytes, idle: Duration, counters: &Arc<EdgeCounters>) {
        let Self { opening, entry } = self;
        let Opening { upstream, mut watched, flight } = *opening;
        let Switched { io, early: early_answer, place } = upstream;
        let began = Instant::now();
        let open = OpenTunnel::count(&counters.tunnels);
        let moved = Cell::new(began);
        let mut client = End::new(client, &early, idle, (&moved, &open.0.from_clients));
        let mut upstream = End::new(io, &early_answer, idle, (&moved, &open.0.from_upstreams));
        // A few bytes, or none, would keep the whole of HTTP's buffers as long as the tunnel is open.
        drop((early, early_answer));
        let end = tokio::select! {
            biased;
            _ = std::future::poll_fn(|cx| watched.poll_cut(cx)) => TunnelEnd::Cut,
            end = join(&mut client, &mut upstream) => end,
            () = nothing_moves(&moved, idle) => TunnelEnd::Idle,
        };
        open.0.ended.up(end);
        entry.write_tunnel(end.word(), (client.received, upstream.received), began.elapsed());
        drop((place, flight));
    }
}

/// Copies both ways until both sides are done, or one fails.
async fn join(client: &mut End<'_, impl Stream>, upstream: &mut End<'_, impl Stream>) -> TunnelEnd {
    match copy_bidirectional_with_sizes(client, upstream, BUFFER, BUFFER).await {
        Ok(_) => TunnelEnd::Finished,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => TunnelEnd::Idle,
        // A client that leaves after the upstream, without TLS's goodbye, as many do. Before it, that is a
        // break and is passed on as one: it may be a truncation (RFC 8446 §6.1).
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && upstream.over => TunnelEnd::Finished,
        Err(_) => TunnelEnd::Broken,
    }
}

/// A tunnel counted as open, until dropped.
struct OpenTunnel<'a>(&'a TunnelCounters);

impl<'a> OpenTunnel<'a> {
    fn count(counters: &'a TunnelCounters) -> Self {
        counters.opened.up();
        Self(counters)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.closed.up();
    }
}

/// Resolves when nothing has moved for `idle`. One timer, looked at when it fires.
async fn nothing_moves(moved: &Cell<Instant>, idle: Duration) {
    loop {
        let due = moved.get() + idle;
        if due <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(due.into()).await;
    }
}

/// One side: what was read of it too early comes first; what comes is counted and marks movement.
struct End<'a, T> {
    io: T,
    early: Bytes,
    stall: Stall,
    moved: &'a Cell<Instant>,
    count: &'a Count,
    received: u64,
    /// Nothing more comes.
    over: bool,
}

impl<'a, T> End<'a, T> {
    fn new(io: T, early: &[u8], idle: Duration, marks: (&'a Cell<Instant>, &'a Count)) -> Self {
        let (moved, count) = marks;
        let early = Bytes::copy_from_slice(early);
        Self { io, early, stall: Stall::new(idle), moved, count, received: 0, over: false }
    }

    fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
        self.count.add(bytes as u64);
        self.moved.set(Instant::now());
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for End<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.early.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let taken = self.early.len().min(buf.remaining());
            buf.put_slice(self.early.get(..taken).unwrap_or_default());
            self.early.advance(taken);
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
        }
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.received(bytes);
        }
        self.over = bytes == 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for End<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.io).poll_write(cx, buf) {
            self.stall.progress(1);
            self.moved.set(Instant::now());
            return Poll::Ready(result);
        }
        self.stall.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
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
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// What a pipe between two ends holds.
    const PIPE: usize = 1024;
    const HOUR: Duration = Duration::from_secs(3600);

    /// Joins two ends with this patience while `work` goes on at the far ones, the client's and the
    /// upstream's. How the tunnel ended.
    async fn through(idle: Duration, work: impl AsyncFnOnce(DuplexStream, DuplexStream)) -> TunnelEnd {
        let ((client, near), (upstream, far)) = (duplex(PIPE), duplex(PIPE));
        let (moved, count) = (Cell::new(Instant::now()), Count::default());
        let marks = (&moved, &count);
        let mut near = End::new(near, b"early ", idle, marks);
        let mut far = End::new(far, b"", idle, marks);
        // The near ends are gone with the tunnel, whatever is still at work on the far ones.
        let joined = async move { join(&mut near, &mut far).await };
        tokio::join!(joined, work(client, upstream)).0
    }

    #[tokio::test]
    async fn one_sides_end_is_passed_on_and_the_other_goes_on() {
        let end = through(HOUR, async |mut client, mut upstream| {
            client.write_all(b"asked").await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = String::new();
            upstream.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "early asked");
            upstream.write_all(b"answered").await.unwrap();
            drop(upstream);
            let mut got = String::new();
            client.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "answered");
        });
        assert_eq!(end.await, TunnelEnd::Finished);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_stops_the_writer_and_loses_nothing() {
        let end = through(HOUR, async |mut client, mut upstream| {
            let (mut sent, mut refused) = (0, 0);
            while refused < 100 {
                match upstream.write(&[7; 300]).now_or_never() {
                    Some(written) => (sent, refused) = (sent + written.unwrap(), 0),
                    None => refused += 1,
                }
                tokio::task::yield_now().await;
            }
            assert!(sent <= BUFFER + 2 * PIPE, "one buffer and the pipes around it: {sent}");
            client.write_all(b"x").await.unwrap();
            upstream.read_exact(&mut [0; 7]).await.unwrap();
            upstream.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, vec![7; sent]);
        });
        assert_eq!(end.await, TunnelEnd::Finished);
    }

    #[tokio::test]
    async fn a_side_that_takes_nothing_for_too_long_ends_it_though_the_other_way_moves() {
        let end = through(Duration::from_millis(50), async |mut client, mut upstream| {
            let mut both = async || {
                upstream.write(&[7; 300]).now_or_never();
                let alive = client.write_all(b"x").await.is_ok();
                let _ = upstream.read(&mut [0; 9]).now_or_never();
                tokio::task::yield_now().await;
                alive
            };
            while both().await {}
        });
        assert_eq!(end.await, TunnelEnd::Idle);
    }
}
