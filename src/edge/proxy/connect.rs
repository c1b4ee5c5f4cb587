//! Connections to application servers: plain HTTP/1.1 over TCP (by address; names are not resolved
//! here) or over a Unix socket.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::pool::{Lease, Line, Place, Pool, Waiting};
use crate::config::upstream::Server;
use crate::edge::upgrade::tunnel::Switched;

/// Largest response head taken from a server, bytes.
const RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// Most bytes of a response read at once. It is also what an HTTP/2 client must take in each
/// `stall_timeout` (see `connection`): hyper's 400 KiB would ask too much of a slow line.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server refused, or is not there.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// As many connections to application servers are open as may be.
    #[error("too many connections to application servers are open")]
    Full,
    /// It did not answer in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// HTTP could not start.
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// Connects to a pool's server. The connection keeps its place as long as it is open.
pub async fn connect(pool: &Rc<Pool>, place: Place, patience: Duration) -> Result<Lease, ConnectError> {
    let opening = open(pool.server(), place);
    let line =
        tokio::time::timeout(patience, opening).await.map_err(|_| ConnectError::Timeout(patience))??;
    Ok(pool.lease(line))
}

async fn open(server: &Server, place: Place) -> Result<Line, ConnectError> {
    match server {
        Server::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            start(stream, place).await
        }
        Server::Unix(path) => start(UnixStream::connect(path).await?, place).await,
    }
}

async fn start<S>(stream: S, place: Place) -> Result<Line, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = Builder::new()
        .max_header_size(RESPONSE_HEAD_BYTES)
        .max_buf_size(CHUNK_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let waiting = Waiting::default();
    let told = Rc::clone(&waiting);
    tokio::task::spawn_local(async move {
        // Its end is a 101, and somebody waits for what is left; or an ordinary one, and nobody does. How
        // that came about is seen by whoever uses the sender.
        let ended = connection.without_shutdown().await;
        if let (Ok(parts), Some(tell)) = (ended, told.take()) {
            let io = Box::new(parts.io.into_inner());
            drop(tell.send(Switched { io, early: parts.read_buf, place }));
        }
    });
    Ok(Line { sender, waiting })
}
