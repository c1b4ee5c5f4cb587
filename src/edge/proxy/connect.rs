//! Connections to application servers: plain HTTP/1.1 over TCP (by address; names are not resolved
//! here) or over a Unix socket.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::pool::{Lease, Place, Pool};
use crate::config::upstream::Server;
use crate::edge::body::RequestBody;
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

/// Connects to a pool's server. The connection keeps its place as long as it is open. `switching`: for a
/// request that asks to switch protocols.
pub async fn connect(
    pool: &Rc<Pool>,
    place: Place,
    patience: Duration,
    switching: bool,
) -> Result<Lease, ConnectError> {
    let (tell, switched) = if switching { Some(oneshot::channel()) } else { None }.unzip();
    let opening = open(pool.server(), place, tell);
    let sender =
        tokio::time::timeout(patience, opening).await.map_err(|_| ConnectError::Timeout(patience))??;
    Ok(pool.lease(sender, switched))
}

async fn open(
    server: &Server,
    place: Place,
    switched: Option<oneshot::Sender<Switched>>,
) -> Result<SendRequest<RequestBody>, ConnectError> {
    match server {
        Server::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            start(stream, place, switched).await
        }
        Server::Unix(path) => start(UnixStream::connect(path).await?, place, switched).await,
    }
}

async fn start<S>(
    stream: S,
    place: Place,
    switched: Option<oneshot::Sender<Switched>>,
) -> Result<SendRequest<RequestBody>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = Builder::new()
        .max_header_size(RESPONSE_HEAD_BYTES)
        .max_buf_size(CHUNK_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    // How it ends is seen by whoever uses the sender.
    tokio::task::spawn_local(async move {
        let Some(switched) = switched else {
            drop(connection.await);
            drop(place);
            return;
        };
        // Its end is the 101, and somebody waits for what is left; or an ordinary one, and nobody does.
        if let Ok(parts) = connection.without_shutdown().await {
            let io = Box::new(parts.io.into_inner());
            drop(switched.send(Switched { io, early: parts.read_buf, place }));
        }
    });
    Ok(sender)
}
