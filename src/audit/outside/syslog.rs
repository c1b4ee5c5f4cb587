//! Syslog: one RFC 5424 message for each text, over a Unix datagram socket, UDP (RFC 5426) or TCP
//! with counted messages (RFC 6587 §3.4.1).
//!
//! Nothing is received; a datagram that the network loses is lost without a word, which is why a
//! receiver on this machine, or TCP, is the better choice.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::config::audit::SyslogTarget;
use crate::model::time::Timestamp;

/// Facility authpriv (10), severity notice (5).
const PRIORITY: u8 = 10 * 8 + 5;
/// For connecting, and for the receiver to take a message whole, however slowly it reads.
const PATIENCE: Duration = Duration::from_secs(2);

/// A receiver.
pub(super) struct Syslog {
    target: SyslogTarget,
    host: String,
    /// A stream is kept open.
    stream: Option<TcpStream>,
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            SyslogTarget::Unix(path) => write!(f, "unix:{}", path.display()),
            SyslogTarget::Udp(address) => write!(f, "udp:{address}"),
            SyslogTarget::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Syslog {
    pub fn new(target: SyslogTarget) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { target, host: printable(host.trim()), stream: None }
    }

    /// Sends a text as one message.
    pub fn send(&mut self, at: Timestamp, text: &str) -> io::Result<()> {
        let message = message(&self.host, at, text);
        match &self.target {
            SyslogTarget::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket.send_to(message.as_bytes(), path).map(|_| ())
            }
            SyslogTarget::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                UdpSocket::bind(any)?.send_to(message.as_bytes(), address).map(|_| ())
            }
            SyslogTarget::Tcp(address) => {
                let mut stream = match self.stream.take() {
                    Some(stream) => stream,
                    None => TcpStream::connect_timeout(address, PATIENCE)?,
                };
                let counted = format!("{} {message}", message.len());
                write_until(&mut stream, counted.as_bytes(), Instant::now() + PATIENCE)?;
                // After a failure the receiver may have half a message: only a new stream is clean.
                self.stream = Some(stream);
                Ok(())
            }
        }
    }
}

/// Writes all of it by `until`: a receiver that takes a byte at a time gets no more time than another.
pub(super) fn write_until(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver does not take the message"));
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID - MSG`
fn message(host: &str, at: Timestamp, text: &str) -> String {
    let (at, process) = (at.rfc3339(), std::process::id());
    format!("<{PRIORITY}>1 {at} {host} keepgate {process} audit-head - {text}")
}

/// A host name as the format takes it: printable ASCII without spaces, at most 255, or `-`.
fn printable(host: &str) -> String {
    let name: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_parts_of_rfc_5424() {
        let at = Timestamp::from_millis(1_795_000_000_123);
        let message = message("gate1", at, "{\"count\":1}");
        let parts: Vec<_> = message.splitn(8, ' ').collect();
        let process = std::process::id().to_string();
        assert_eq!(
            parts,
            [
                "<85>1",
                "2026-11-18T11:06:40.123Z",
                "gate1",
                "keepgate",
                &process,
                "audit-head",
                "-",
                "{\"count\":1}"
            ]
        );
    }

    #[test]
    fn a_host_name_cannot_add_a_field() {
        assert_eq!(printable("a b\nc\u{e9}"), "abc");
        assert_eq!(printable("\n"), "-");
        assert_eq!(printable(&"x".repeat(999)).len(), 255);
    }
}
