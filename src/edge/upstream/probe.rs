//! One check: a connection of its own, a request, the status of the answer, in the protocol that requests go in.
//!
//! HTTP/1.1 by hand, HTTP/2 by a client of its own: whatever serves requests must not be what finds out whether they
//! can be served, and a check reads nothing but a status.

use std::io;

use bytes::Bytes;
use http::Request;
use http::header::USER_AGENT;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::way::Way;
use crate::config::upstream::{Active, Server};
use crate::edge::proxy::connect;

/// Longest first line that is read, bytes.
const LINE: usize = 512;
/// Largest head of an answer over HTTP/2.
const HEAD: u32 = 64 * 1024;
/// Who asks.
const AGENT: &str = "keepgate-health";

/// Asks the server, within the check's time.
pub(super) async fn check(server: &Server, way: &Way, rule: &Active) -> Result<(), String> {
    match tokio::time::timeout(rule.timeout, ask(server, way, rule)).await {
        Ok(Ok(status)) if rule.status.contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("{} answered {status}", rule.path)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{} was not answered within {:?}", rule.path, rule.timeout)),
    }
}

async fn ask(server: &Server, way: &Way, rule: &Active) -> io::Result<u16> {
    let socket = connect::open(server, way).await?;
    let host = rule.host.clone().unwrap_or_else(|| match server {
        Server::Tcp(address) => address.to_string(),
        Server::Unix(_) => "localhost".to_owned(),
    });
    match way.http2 {
        true => converse_http2(socket, rule, (way.tls.is_some(), &host)).await,
        false => converse(socket, rule, &host).await,
    }
}

async fn converse_http2(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    rule: &Active,
    (secure, host): (bool, &str),
) -> io::Result<u16> {
    let scheme = if secure { "https" } else { "http" };
    let request = Request::get(format!("{scheme}://{host}{}", rule.path)).header(USER_AGENT, AGENT);
    let request = request.body(()).map_err(io::Error::other)?;
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD);
    let (mut sender, connection) = builder.handshake::<_, Bytes>(socket).await.map_err(io::Error::other)?;
    let asking = async move {
        let (answer, _) = sender.send_request(request, true)?;
        answer.await
    };
    tokio::select! {
        biased;
        answer = asking => answer.map(|answer| answer.status().as_u16()).map_err(io::Error::other),
        ended = connection => {
            let why = ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string());
            Err(io::Error::other(why))
        }
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    rule: &Active,
    host: &str,
) -> io::Result<u16> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
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
