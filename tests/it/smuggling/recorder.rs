//! An upstream that records every byte it gets, reads requests out of them as strictly as can be, and
//! answers each with what it was; or with whatever bytes the test wants said.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::strict::{self, Message};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Which connection it came over, counted from 1.
    pub connection: usize,
    pub message: Message,
}

#[derive(Default)]
struct Seen {
    connections: usize,
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
                let number = with(&shared, |seen| {
                    seen.connections += 1;
                    seen.connections
                });
                tokio::spawn(converse(stream, number, Arc::clone(&shared)));
            }
        });
        Self { address, seen, accepting }
    }

    /// What has arrived since this was last asked.
    pub fn take(&self) -> Record {
        with(&self.seen, |seen| Record {
            requests: std::mem::take(&mut seen.requests),
            faults: std::mem::take(&mut seen.faults),
            unfinished: std::mem::take(&mut seen.unfinished).iter().map(|bytes| strict::latin1(bytes)).collect(),
        })
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

async fn converse(mut stream: TcpStream, connection: usize, seen: Arc<Mutex<Seen>>) {
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
                if stream.write_all(&answer).await.is_err() || close {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(fault) => {
                let fault = format!("{fault} in {:?}", strict::latin1(&bytes));
                return with(&seen, |seen| seen.faults.push(fault));
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            break;
        }
    }
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
