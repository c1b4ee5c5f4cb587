//! One connection of raw frames: what is said, step by step, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::smuggling::http2::{block, frame, status};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// How long anything may take before it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is said; between the steps a stream's end is waited for.
#[derive(Default)]
pub struct Wire {
    done: Vec<(Vec<u8>, u32)>,
    pub bytes: Vec<u8>,
}

pub type Fields<'a> = &'a [(&'a str, &'a str)];

impl Wire {
    /// A connection that begins as it should.
    pub fn begun() -> Self {
        Self::default().raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").frame(SETTINGS, 0, 0, &[])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        frame(&mut self.bytes, kind, flags, stream, payload);
        self
    }

    /// A request with these fields after the usual ones.
    pub fn ask(self, stream: u32, flags: u8, method: &str, path: &str, more: Fields<'_>) -> Self {
        let usual = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "h")];
        let fields: Vec<_> = usual.iter().chain(more).copied().collect();
        self.frame(HEADERS, flags | END_HEADERS, stream, &coded(&fields))
    }

    /// A good request without a body.
    pub fn get(self, stream: u32) -> Self {
        self.ask(stream, END_STREAM, "GET", "/a", &[])
    }

    /// A good request whose body follows.
    pub fn post(self, stream: u32) -> Self {
        self.ask(stream, 0, "POST", "/a", &[])
    }

    pub fn settings(self, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.frame(SETTINGS, 0, 0, &payload)
    }

    pub fn window(self, stream: u32, by: u32) -> Self {
        self.frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    /// What follows is said once this stream has ended.
    pub fn until(mut self, stream: u32) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        self.done.push((bytes, stream));
        self
    }

    /// Says it all and reads until `last` has ended, or the connection has.
    pub async fn converse(self, stream: TlsStream<TcpStream>, last: u32) -> Seen {
        self.converse_until(stream, &[last]).await
    }

    /// Says it all and reads until all these streams have ended, in any order, or the connection has.
    pub async fn converse_until(self, stream: TlsStream<TcpStream>, last: &[u32]) -> Seen {
        let (mut read, mut write) = tokio::io::split(stream);
        let (mut seen, mut buffer) = (Seen::default(), Vec::new());
        let done = self.done.into_iter().map(|(bytes, until)| (bytes, vec![until]));
        for (bytes, until) in done.chain([(self.bytes, last.to_vec())]) {
            // A connection that was ended in the middle still says what for.
            let writing = async {
                let _ = write.write_all(&bytes).await;
                let _ = write.flush().await;
                std::future::pending::<()>().await;
            };
            let reading = async {
                while !until.iter().all(|stream| seen.has_ended(*stream)) && !seen.closed {
                    let mut piece = [0; 16384];
                    match read.read(&mut piece).await {
                        Ok(size @ 1..) => buffer.extend_from_slice(&piece[..size]),
                        _ => seen.closed = true,
                    }
                    seen.take(&mut buffer);
                }
            };
            tokio::select! {
                () = writing => {}
                () = reading => {}
                () = tokio::time::sleep(PATIENCE) => panic!("nothing for {PATIENCE:?}: {seen:?}"),
            }
        }
        seen
    }
}

/// Fields as literals.
pub fn coded(fields: Fields<'_>) -> Vec<u8> {
    let owned: Vec<_> = fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    block(&owned)
}

/// What the gate said.
#[derive(Debug, Default)]
pub struct Seen {
    /// The first GOAWAY's code.
    pub goaway: Option<u32>,
    pub resets: BTreeMap<u32, u32>,
    pub answers: BTreeMap<u32, u16>,
    pub ended: BTreeMap<u32, ()>,
    pub pongs: Vec<Vec<u8>>,
    pub acknowledged: usize,
    pub data: usize,
    pub closed: bool,
}

impl Seen {
    pub fn has_ended(&self, stream: u32) -> bool {
        self.ended.contains_key(&stream) || self.resets.contains_key(&stream)
    }

    /// Takes the whole frames out of what was read.
    pub fn take(&mut self, bytes: &mut Vec<u8>) {
        let mut at = 0;
        while let Some([a, b, c, kind, flags, id @ ..]) = bytes.get(at..at + 9) {
            let end = at + 9 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let id = u32::from_be_bytes(id.try_into().expect("four bytes")) & 0x7fff_ffff;
            let Some(payload) = bytes.get(at + 9..end) else { break };
            self.see(*kind, *flags, id, payload);
            at = end;
        }
        bytes.drain(..at);
    }

    fn see(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        match kind {
            HEADERS => _ = self.answers.entry(stream).or_insert_with(|| status(payload)),
            RST_STREAM => _ = self.resets.entry(stream).or_insert(code(0)),
            GOAWAY => _ = self.goaway.get_or_insert(code(4)),
            PING if flags & ACK != 0 => self.pongs.push(payload.to_vec()),
            SETTINGS if flags & ACK != 0 => self.acknowledged += 1,
            DATA => self.data += payload.len(),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.ended.insert(stream, ());
        }
    }
}
