//! PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): what a proxy that passes on bytes says of
//! a connection before its first byte. Only on listeners that require it, only from peers named for it: it is
//! believed more than any header, for bans, rates and throttling alike.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod header;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use self::header::{Malformed, Step, Told};

/// Why there is no telling whose the connection is.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// It is no header.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It did not come.
    #[error("the connection ended before its PROXY header did")]
    Ended(#[from] std::io::Error),
    /// It did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
}

/// Reads the header and not one byte more: what follows is TLS's.
pub async fn receive(from: &mut (impl AsyncRead + Unpin), patience: Duration) -> Result<Told, NotTold> {
    let reading = async {
        let mut bytes = Vec::with_capacity(header::SHORTEST);
        loop {
            let (have, more) = match header::read(&bytes)? {
                Step::Done(told) => return Ok(told),
                Step::More(more) => (bytes.len(), more),
            };
            bytes.resize(have + more, 0);
            from.read_exact(bytes.get_mut(have..).unwrap_or_default()).await?;
        }
    };
    tokio::time::timeout(patience, reading).await.unwrap_or(Err(NotTold::Late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_follows_the_header_is_left_where_it_is() {
        let mut bytes: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n\x16\x03\x01";
        let told = receive(&mut bytes, Duration::from_secs(60)).await.unwrap();
        assert_eq!(told, Told::Client("203.0.113.9".parse().unwrap()));
        assert_eq!(bytes, b"\x16\x03\x01");
    }

    #[tokio::test]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (mut here, _there) = tokio::io::duplex(64);
        let told = receive(&mut here, Duration::from_millis(20)).await;
        assert!(matches!(told, Err(NotTold::Late)), "{told:?}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_first_has_told_nothing() {
        let mut bytes: &[u8] = b"PROXY TCP4 203.0.113.9 ";
        let told = receive(&mut bytes, Duration::from_secs(60)).await;
        assert!(matches!(told, Err(NotTold::Ended(_))), "{told:?}");
    }
}
