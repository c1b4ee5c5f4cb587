//! One open connection to an application server. It is nobody's task: whoever holds it reads and writes it, from
//! the request that it carries (see [`send`](super::send)) to the end of the answer (see [`answer`](super::answer)),
//! and between two of them nobody does. So it has no buffer of its own; what an idle one has been told meanwhile is
//! looked for when it is taken.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

use super::pool::Place;
use crate::edge::http1::scratch::{READ_BYTES, Scratch};
use crate::edge::upgrade::tunnel::Switched;

/// The socket.
#[derive(Debug)]
pub enum Socket {
    /// To an address.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// Either of them, over TLS.
    Tls(Box<TlsStream<Self>>),
}

/// Calls the same method of whichever socket it is.
macro_rules! either {
    ($socket:expr, $io:ident => $call:expr) => {
        match $socket {
            Self::Tcp($io) => $call,
            Self::Unix($io) => $call,
            Self::Tls($io) => $call,
        }
    };
}

impl Socket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(io) => io.poll_read_ready(cx),
            Self::Unix(io) => io.poll_read_ready(cx),
            // It may have decrypted more than it was asked for.
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Nothing was said, nor is it at its end.
    fn is_silent(&mut self) -> bool {
        let said = match self {
            Self::Tcp(io) => io.try_read(&mut [0]),
            Self::Unix(io) => io.try_read(&mut [0]),
            // What TLS says for itself, tickets above all, is nothing said.
            Self::Tls(io) => {
                let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
                return Pin::new(io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending();
            }
        };
        matches!(said, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}

/// An open connection, counted.
#[derive(Debug)]
pub struct Line {
    socket: Socket,
    place: Place,
    /// Bytes that the server was told of the request that it carries.
    told: u64,
    /// Kept from one request to the next, and armed anew only where it would fire too late: most requests are
    /// answered long before it does, and arming a timer costs more than looking at one.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Line {
    /// Over this socket.
    pub const fn new(socket: Socket, place: Place) -> Self {
        Self { socket, place, told: 0, timer: None }
    }

    /// Whether an idle connection is as it was left: open, and with nothing said on it. Whatever a server says
    /// unasked would be taken for the answer to the next request (response-queue poisoning).
    ///
    /// The kernel is asked only if it has reported something, so that looking costs no system call.
    pub fn is_quiet(&mut self) -> bool {
        self.socket.is_silent()
    }

    /// Begins a request.
    pub const fn begin(&mut self) {
        self.told = 0;
    }

    /// Whether the server was told anything since [`Self::begin`].
    pub const fn was_told(&self) -> bool {
        self.told > 0
    }

    /// How much.
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// Reads once, at most so many bytes. Zero at the end. Little is read by way of the thread's shared buffer,
    /// so that what waits for an answer has none; much is read to where it stays.
    pub fn poll_fill(
        &mut self,
        inbox: &mut BytesMut,
        most: usize,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if most <= READ_BYTES {
            return scratch.poll_read(&mut self.socket, inbox, cx);
        }
        // Room is made once there is something for it.
        ready!(self.socket.poll_read_ready(cx))?;
        inbox.reserve(most);
        let mut room = inbox.limit(most);
        pin!(self.socket.read_buf(&mut room)).poll(cx)
    }

    /// Ready once this moment has come.
    pub fn poll_until(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let due = tokio::time::Instant::from_std(moment);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            // It was armed for a request before this one.
            timer.as_mut().reset(due);
        }
    }

    /// Nothing of HTTP any more. `early`: what was read after the 101.
    pub fn into_switched(self, early: BytesMut) -> Switched {
        Switched { io: Box::new(self.socket), early: early.freeze(), place: self.place }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.told += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        self.told += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
