//! `[upstreams.NAME]`: the application servers, how requests are spread over them, and when one of
//! them is left out.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::tls::CertificateFiles;

/// Most servers of one group: each choice looks at all of them.
pub const MOST_SERVERS: usize = 256;
/// Most that a server can weigh.
pub const HEAVIEST: u32 = 1000;

/// One application server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// `"127.0.0.1:3000"`
    Tcp(SocketAddr),
    /// `"unix:/run/app.sock"`
    Unix(PathBuf),
}

/// As the configuration writes it.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A server as a member of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub server: Server,
    /// Its part of the requests, beside those of the others: 1 to [`HEAVIEST`].
    pub weight: u32,
    /// Asked only when too few of the others are in service.
    pub backup: bool,
    /// The name that led to it.
    pub name: Option<Arc<str>>,
    /// Where it stands: servers of the node's own zone are preferred.
    pub zone: Option<Arc<str>>,
}

/// Servers by their name, as many as it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In its lower-case ASCII (IDNA) form.
    pub host: String,
    /// Their port.
    pub port: u16,
    /// The weight of each of them.
    pub weight: u32,
    /// Likewise.
    pub backup: bool,
    /// Likewise.
    pub zone: Option<Arc<str>>,
}

impl From<Server> for Member {
    fn from(server: Server) -> Self {
        Self { server, weight: 1, backup: false, name: None, zone: None }
    }
}

/// How a server is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way for its weight.
    LeastConnections,
    /// Of two drawn by weight, the one with fewer requests under way.
    RandomTwo,
    /// The same one for the same key.
    Hash(HashBy),
}

/// What a request is told apart by where the same server is wanted for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address (IPv6: its /64).
    Address,
    /// The account; without one, the address.
    User,
    /// A header's value; without one, the address.
    Header(HeaderName),
}

/// What is learnt from the requests themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passive {
    /// Failures in a row, each within `fail_timeout` of the one before, that put a server out; 0 for never.
    pub max_fails: u32,
    /// How long it is out at first. Longer each time that it fails again at once.
    pub fail_timeout: Duration,
    /// How long its share grows to the whole once it is back.
    pub slow_start: Duration,
    /// Percent of the servers below which health is not looked at any more.
    pub panic: u32,
}

/// Checks that are made whether there are requests or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What is asked for.
    pub path: String,
    /// `Host`; the group's, or else the server's address, if `None`.
    pub host: Option<String>,
    /// From one check to the next, give or take a tenth.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Good ones in a row that take a server in.
    pub up: u32,
    /// Bad ones in a row that put it out.
    pub down: u32,
    /// What a good one answers.
    pub status: RangeInclusive<u16>,
}

/// How often a request may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Each at most so many times.
    pub most: u32,
    /// All together at most so many percent of the requests…
    pub percent: u32,
    /// …and so many a second beside that.
    pub floor: u32,
}

/// How much a group takes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests under way at each server, over all edge threads; 0 for no bound.
    pub max_connections: u32,
    /// Requests that wait for one of them to end.
    pub queue: usize,
    /// How long one waits.
    pub queue_timeout: Duration,
}

/// How a group's servers prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may vouch for them; the public CAs if `None`.
    pub ca: Option<PathBuf>,
    /// The name in their certificates; each server's own name or address if `None`.
    pub server_name: Option<String>,
    /// What the gate proves by who it is, if servers ask (`tls_certificate`, `tls_key`).
    pub identity: Option<CertificateFiles>,
}

/// A group of servers that answer alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// At least one, here or in `names`, that is no backup.
    pub servers: Vec<Member>,
    /// Those of `servers` that are written by name.
    pub names: Vec<Named>,
    /// Spoken to in HTTP/2 (`protocol`), else HTTP/1.1.
    pub http2: bool,
    /// Whether trailers of requests go on (`request_trailers`); over HTTP/2 alone if `None`.
    pub request_trailers: Option<bool>,
    /// `tls`, `tls_ca`, `tls_server_name`; `None` in the clear.
    pub tls: Option<Tls>,
    /// `Host` of what they are sent (`host`), with a port if it is not the usual one; the client's if `None`.
    pub host: Option<String>,
    /// The node's own zone (`zone`), if any of the servers has one.
    pub home: Option<String>,
    /// `balance`, `hash_by`
    pub balance: Balance,
    /// `max_fails`, `fail_timeout`, `slow_start`, `panic`
    pub passive: Passive,
    /// `health_…`; `None` without `health_path`.
    pub active: Option<Active>,
    /// `retries`, `retry_percent`, `retry_floor`
    pub retries: Retries,
    /// `max_connections`, `queue`, `queue_timeout`
    pub bounds: Bounds,
    /// Idle connections kept per server and edge thread.
    pub idle_connections: usize,
    /// How long an idle connection is kept: shorter than the server's own limit.
    pub idle_timeout: Duration,
}

impl Upstream {
    /// A group with defaults for everything but its servers.
    pub fn of(servers: Vec<Server>) -> Self {
        Self::with(servers.into_iter().map(Member::from).collect())
    }

    /// Whether trailers of requests go on.
    pub fn takes_trailers(&self) -> bool {
        self.request_trailers.unwrap_or(self.http2)
    }

    /// The same, with weights and backups.
    pub fn with(servers: Vec<Member>) -> Self {
        Self {
            servers,
            names: Vec::new(),
            http2: false,
            request_trailers: None,
            tls: None,
            host: None,
            home: None,
            balance: Balance::default(),
            passive: Passive {
                max_fails: 3,
                fail_timeout: Duration::from_secs(10),
                slow_start: Duration::from_secs(10),
                panic: 30,
            },
            active: None,
            retries: Retries { most: 2, percent: 20, floor: 10 },
            bounds: Bounds { max_connections: 0, queue: 100, queue_timeout: Duration::from_secs(5) },
            idle_connections: 64,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Active {
    /// A check of this path with defaults for everything else.
    pub const fn of(path: String) -> Self {
        Self {
            path,
            host: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            up: 2,
            down: 3,
            status: 200..=399,
        }
    }
}
