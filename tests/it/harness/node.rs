//! An application server that misbehaves as the test says, and remembers every request that reached it
//! whole: who is asked what, and how often.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// What a server does with requests from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// Answers 200 with its name.
    Answer,
    /// Answers 503.
    Unwell,
    /// Reads a request and never answers.
    Hang,
    /// Reads a request and closes.
    Break,
    /// Answers with half a body and closes.
    Half,
    /// Waits for the test before it answers.
    Wait,
    /// Answers and says that it will say no more, but goes on reading.
    Mute,
}

const WAYS: [Way; 7] = [Way::Answer, Way::Unwell, Way::Hang, Way::Break, Way::Half, Way::Wait, Way::Mute];

/// A server, killed with all its connections when dropped.
pub struct Node {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    arrived: mpsc::UnboundedReceiver<String>,
    accepting: JoinHandle<()>,
}

struct Shared {
    name: String,
    way: AtomicU8,
    seen: Mutex<Vec<String>>,
    arrive: mpsc::UnboundedSender<String>,
    release: Semaphore,
}

impl Node {
    pub async fn start(name: &str, way: Way) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), name, way).await
    }

    /// A server at an address that one had before.
    pub async fn at(address: SocketAddr, name: &str, way: Way) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (arrive, arrived) = mpsc::unbounded_channel();
        let way = AtomicU8::new(way as u8);
        let (seen, release) = (Mutex::default(), Semaphore::new(0));
        let shared = Arc::new(Shared { name: name.to_owned(), way, seen, arrive, release });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, arrived, accepting }
    }

    /// Does something else from now on.
    pub fn turn(&self, way: Way) {
        self.shared.way.store(way as u8, Ordering::SeqCst);
    }

    /// Lets one request that waits be answered.
    pub fn release(&self) {
        self.shared.release.add_permits(1);
    }

    /// Every request that it has read so far, as `GET /path`; checks are left out.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().iter().filter(|request| !request.ends_with(" /health")).cloned().collect()
    }

    /// Waits for the next request, and says which.
    pub async fn next(&mut self) -> String {
        self.arrived.recv().await.expect("the server lives")
    }

    /// Kills it: its port is closed and so are its connections. Says what it had seen.
    pub async fn kill(self) -> Vec<String> {
        self.accepting.abort();
        while !self.accepting.is_finished() {
            tokio::task::yield_now().await;
        }
        self.seen()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        shared.seen.lock().push(request.clone());
        let _ = shared.arrive.send(request);
        let name = &shared.name;
        let way = WAYS[usize::from(shared.way.load(Ordering::SeqCst))];
        let (status, body) = match way {
            Way::Answer | Way::Mute => ("200 OK", name.as_str()),
            Way::Unwell => ("503 Service Unavailable", "unwell"),
            Way::Hang => std::future::pending().await,
            Way::Break => return,
            Way::Half => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
                return;
            }
            Way::Wait => {
                shared.release.acquire().await.expect("open").forget();
                ("200 OK", name.as_str())
            }
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        if way == Way::Mute && stream.shutdown().await.is_err() {
            return;
        }
    }
}

/// One request whole, or `None` if it breaks off.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    Some(format!("{} {path}", method.to_ascii_uppercase()))
}
