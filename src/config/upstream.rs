//! `[upstreams.NAME]`: the application servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One application server, spoken to in plain HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// `"127.0.0.1:3000"`
    Tcp(SocketAddr),
    /// `"unix:/run/app.sock"`
    Unix(PathBuf),
}

/// A group of servers that answer alike; requests go round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// At least one.
    pub servers: Vec<Server>,
    /// Idle connections kept per server and edge thread.
    pub idle_connections: usize,
    /// How long an idle connection is kept: shorter than the server's own limit.
    pub idle_timeout: Duration,
}

impl Upstream {
    /// A group with the default pool.
    pub fn of(servers: Vec<Server>) -> Self {
        Self { servers, idle_connections: 64, idle_timeout: Duration::from_secs(30) }
    }
}
