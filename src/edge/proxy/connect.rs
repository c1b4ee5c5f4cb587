//! Connections to application servers: plain HTTP/1.1 over TCP (by address; names are not resolved
//! here) or over a Unix socket.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::line::{Line, Socket};
use super::pool::{Lease, Place, Pool};
use crate::config::upstream::Server;

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

/// Connects to a pool's server. The connection keeps its place as long as it is open.
pub async fn connect(pool: &Rc<Pool>, place: Place, patience: Duration) -> Result<Lease, ConnectError> {
    let opening = tokio::time::timeout(patience, open(pool.server()));
    let socket = opening.await.map_err(|_| ConnectError::Timeout(patience))??;
    Ok(pool.lease(Line::new(socket, place)))
}

async fn open(server: &Server) -> io::Result<Socket> {
    match server {
        Server::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
        Server::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    }
}
