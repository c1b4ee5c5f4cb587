//! Connections to application servers: over TCP (by address; names are not resolved here) or over a Unix socket,
//! and over TLS where the group says so. A server whose certificate is not its own is not connected to.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::line::{Line, Socket};
use super::pool::{Lease, Place, Pool};
use crate::config::upstream::Server;
use crate::edge::upstream::way::Way;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server refused, or is not there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// As many connections to application servers are open as may be.
    #[error("too many connections to application servers are open")]
    Full,
    /// It did not answer in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

impl ConnectError {
    /// The same, for another who waited for the same connection.
    pub fn again(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
            Self::Full => Self::Full,
            Self::Timeout(patience) => Self::Timeout(*patience),
        }
    }
}

/// Connects to a pool's server. The connection keeps its place as long as it is open.
pub async fn connect(pool: &Rc<Pool>, place: Place, patience: Duration) -> Result<Lease, ConnectError> {
    let opening = tokio::time::timeout(patience, open(pool.server(), pool.way()));
    let socket = opening.await.map_err(|_| ConnectError::Timeout(patience))??;
    Ok(pool.lease(Box::new(Line::new(socket, place))))
}

/// Opens a connection, with the handshake of its TLS.
pub async fn open(server: &Server, way: &Way) -> io::Result<Socket> {
    let socket = match server {
        Server::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Socket::Tcp(stream)
        }
        Server::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
    };
    let Some(tls) = &way.tls else { return Ok(socket) };
    let nameless = || io::Error::other("its certificate cannot be verified: set tls_server_name");
    let (connector, name) = tls.connector().ok_or_else(nameless)?;
    let stream = Box::pin(connector.connect(name, socket)).await?;
    // RFC 9113 §3.2: HTTP/2 over TLS is agreed on. An HTTP/1.1 server need not know of such agreements.
    if way.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("it does not agree to HTTP/2 (ALPN h2)"));
    }
    Ok(Socket::Tls(Box::new(stream)))
}
