//! What an application answers: the client gets it whole and framed anew, or is told that it is broken, and
//! the next request gets its own answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::recorder::Recorder;
use super::runner::{self, Way};
use super::strict::{self, Message, latin1};
use super::table::Case;
use crate::harness::client::Client;

const AFTER: &str =
    "GET /after HTTP/1.1\r\nHost: h\r\n\r\nGET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Asks for the scripted answer, and at once, on a connection of its own, for others.
pub async fn run(client: &Client, upstream: &Recorder, case: &Case) -> Result<(), String> {
    let method = if case.method.is_empty() { "GET" } else { &case.method };
    upstream.take();
    upstream.script(case.bytes(), case.close);
    let ask = format!("{method} /answers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = runner::say(client, ask.as_bytes(), Way::Whole).await?;
    let after = runner::say(client, AFTER.as_bytes(), Way::Whole).await?;
    let whole = strict::response(&answer, method);
    let shown = || format!("wanted {:?}, answered {:?}", case.want, latin1(&answer));
    let want = case.want.first().map(String::as_str).unwrap_or_default();
    match whole {
        Err(_) if want == "cut" => {}
        Ok((message, used)) if used == answer.len() && is(&message, want) => {}
        Ok(_) => return Err(shown()),
        Err(error) => return Err(format!("{error}: {}", shown())),
    }
    let mut rest = after.as_slice();
    for told in ["GET /after", "GET /end"] {
        let (message, used) = strict::response(rest, "GET")?;
        rest = &rest[used..];
        if latin1(&message.body) != told {
            return Err(format!("{told} was answered with what is not its own: {:?}", latin1(&after)));
        }
    }
    let record = upstream.take();
    let over: Vec<usize> = record.requests.iter().map(|one| one.connection).collect();
    let [first, second, _] = over.as_slice() else {
        let told: Vec<_> = record.requests.iter().map(|one| (one.connection, one.message.told())).collect();
        return Err(format!("arrived: {told:?}, answered {:?}", latin1(&answer)));
    };
    match case.want.get(1).map(String::as_str) {
        Some("kept") if first != second => Err("its connection was not kept".into()),
        Some("left") if first == second => Err("its connection was used again".into()),
        _ => Ok(()),
    }
}

/// `502` is the gate's own; any other status is the application's, with that body and the gate's headers.
fn is(message: &Message, want: &str) -> bool {
    let (status, body) = want.split_once(' ').unwrap_or((want, ""));
    let ends_here = ["keep-alive", "proxy-authenticate", "upgrade", "trailer", "te", "x-hop"];
    let id = message.all("x-request-id");
    let ours = latin1(&message.body).contains("urn:keepgate:problem:upstream-broken");
    message.start[1] == status
        && (ours || latin1(&message.body) == body)
        && ours == (status == "502")
        && !ends_here.iter().any(|name| message.headers.iter().any(|(known, _)| known == name))
        && id.len() == 1
        && id != ["theirs"]
        && message.all("strict-transport-security").first().is_some_and(|value| *value != "max-age=0")
}

/// Asks over a connection that is kept, and takes the answer's body.
pub async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) {
    send(stream, path).await;
    assert_eq!(receive(stream).await, format!("GET {path}"));
}

/// Asks.
pub async fn send(stream: &mut TlsStream<TcpStream>, path: &str) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("open");
    stream.flush().await.expect("open");
}

/// The body of the next answer.
pub async fn receive(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.expect("open"), 0, "closed: {:?}", latin1(&bytes));
        // What breaks off so far goes on.
        if let Ok((message, _)) = strict::response(&bytes, "GET") {
            return latin1(&message.body);
        }
    }
}
