//! `[audit]`: how the audit log is signed, how long it is kept, who else is told of its heads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where syslog is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogTarget {
    /// A datagram socket such as `/dev/log`.
    Unix(PathBuf),
    /// Datagrams (RFC 5426).
    Udp(SocketAddr),
    /// A stream with counted messages (RFC 6587 §3.4.1).
    Tcp(SocketAddr),
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Longest time an audit record waits for a signed head.
    pub head_every: Duration,
    /// How long records are kept; zero for ever.
    pub keep: Duration,
    /// A file elsewhere that signed heads are appended to as well.
    pub witness_file: Option<PathBuf>,
    /// A syslog receiver that is told of signed heads as well.
    pub syslog: Option<SyslogTarget>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            head_every: Duration::from_secs(10),
            keep: Duration::from_secs(400 * 86_400),
            witness_file: None,
            syslog: None,
        }
    }
}
