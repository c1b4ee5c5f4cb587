//! One check: a connection of its own, a request, the first line of the answer.
//!
//! Plain HTTP/1.1 by hand: whatever serves requests must not be what finds out whether they can be
//! served, and a check reads nothing but a status.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::config::upstream::{Active, Server};

/// Longest first line that is read, bytes.
const LINE: usize = 512;

/// Asks the server, within the check's time.
pub(super) async fn check(server: &Server, rule: &Active) -> Result<(), String> {
    match tokio::time::timeout(rule.timeout, ask(server, rule)).await {
        Ok(Ok(status)) if rule.status.contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("{} answered {status}", rule.path)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{} was not answered within {:?}", rule.path, rule.timeout)),
    }
}

async fn ask(server: &Server, rule: &Active) -> io::Result<u16> {
    match server {
        Server::Tcp(address) => {
            let host = address.to_string();
            converse(TcpStream::connect(address).await?, rule, &host).await
        }
        Server::Unix(path) => converse(UnixStream::connect(path).await?, rule, "localhost").await,
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    rule: &Active,
    host: &str,
) -> io::Result<u16> {
    let host = rule.host.as_deref().unwrap_or(host);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: keepgate-health\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        rule.path
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(LINE);
    let mut answer = stream.take(LINE as u64);
    while !line.contains(&b'\n') {
        if answer.read_buf(&mut line).await? == 0 {
            break;
        }
    }
    status(&line).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

/// The status of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    let (digits, after) =
        rest.strip_prefix(b"1 ").or_else(|| rest.strip_prefix(b"0 "))?.split_at_checked(3)?;
    let plain = digits.iter().all(u8::is_ascii_digit) && after.first().is_some_and(u8::is_ascii_whitespace);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_what_the_first_line_says_or_nothing() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 \r\n"), Some(503));
        assert_eq!(status(b"HTTP/1.1 204\r\n"), Some(204));
        let bad: [&[u8]; 8] = [
            b"",
            b"HTTP/1.1",
            b"HTTP/1.1 20",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 -20 OK\r\n",
            b"HTTP/2 200\r\n",
            b"200 OK\r\n",
            b"HTTP/1.1 200",
        ];
        for line in bad {
            assert_eq!(status(line), None, "{line:?}");
        }
    }
}
