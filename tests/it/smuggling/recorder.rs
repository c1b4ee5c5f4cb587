//! An upstream that records every byte it gets, reads requests out of them as strictly as can be, and
//! answers each with what it was; or with whatever bytes the test wants said.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::strict::{self, Message};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Which connection it came over, counted from 1.
    pub connection: usize,
    pub message: Message,
}

/// One connection's way to the gate.
type Line = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

#[derive(Default)]
struct Seen {
    connections: Vec<Line>,
    requests: Vec<Arrived>,
    /// What broke the strictest reading.
    faults: Vec<String>,
    /// Bytes of requests that never came to their end.
    unfinished: Vec<Vec<u8>>,
    /// What the next request under `/answers` is answered with, and whether the connection is closed after it.
    script: Option<(Vec<u8>, bool)>,
}

/// What has arrived since it was last asked.
#[derive(Debug, Default)]
pub struct Record {
    pub requests: Vec<Arrived>,
    pub faults: Vec<String>,
    pub unfinished: Vec<String>,
}

/// The upstream, gone when dropped.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What is said is to be there when it has been said.
                stream.set_nodelay(true).expect("an open socket");
                let (read, write) = stream.into_split();
                let line = Line::new(write.into());
                let number = with(&shared, |seen| {
                    seen.connections.push(Arc::clone(&line));
                    seen.connections.len()
                });
                tokio::spawn(converse((read, line), number, Arc::clone(&shared)));
            }
        });
        Self { address, seen, accepting }
    }

    /// What has arrived since this was last asked.
    pub fn take(&self) -> Record {
        with(&self.seen, |seen| Record {
            requests: std::mem::take(&mut seen.requests),
            faults: std::mem::take(&mut seen.faults),
            unfinished: std::mem::take(&mut seen.unfinished)
                .iter()
                .map(|bytes| strict::latin1(bytes))
                .collect(),
        })
    }

    /// Says something on a connection, asked or not.
    pub async fn say(&self, connection: usize, bytes: &[u8]) {
        let line = with(&self.seen, |seen| Arc::clone(&seen.connections[connection - 1]));
        line.lock().await.write_all(bytes).await.expect("the gate keeps it");
    }

    /// Has the next request under `/answers` answered with these bytes.
    pub fn script(&self, bytes: Vec<u8>, close: bool) {
        with(&self.seen, |seen| seen.script = Some((bytes, close)));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn with<T>(seen: &Mutex<Seen>, act: impl FnOnce(&mut Seen) -> T) -> T {
    act(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn converse((mut read, line): (OwnedReadHalf, Line), connection: usize, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    loop {
        match strict::request(&bytes) {
            Ok(Some((message, used))) => {
                bytes.drain(..used);
                let scripted = message.start[1].starts_with("/answers");
                let script = with(&seen, |seen| if scripted { seen.script.take() } else { None });
                let (answer, close) = script.unwrap_or_else(|| (echo(&message), false));
                // Before it is answered: who has the answer finds it recorded.
                with(&seen, |seen| seen.requests.push(Arrived { connection, message }));
                let mut line = line.lock().await;
                if line.write_all(&answer).await.is_err() {
                    return;
                }
                if close {
                    // The list of connections keeps this half: say that nothing more comes.
                    let _ = line.shutdown().await;
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(fault) => {
                let fault = format!("{fault} in {:?}", strict::latin1(&bytes));
                with(&seen, |seen| seen.faults.push(fault));
                let _ = line.lock().await.shutdown().await;
                return;
            }
        }
        if !matches!(read.read_buf(&mut bytes).await, Ok(1..)) {
            break;
        }
    }
    let _ = line.lock().await.shutdown().await;
    if !bytes.is_empty() {
        with(&seen, |seen| seen.unfinished.push(bytes));
    }
}

fn echo(message: &Message) -> Vec<u8> {
    let body = message.told();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.chars().count());
    let body = if message.start[0] == "HEAD" { Vec::new() } else { bytes(&body) };
    [head.as_bytes(), &body].concat()
}

/// The bytes whose numbers these characters have.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or_else(|_| panic!("{c:?} is no byte"))).collect()
}
