//! HTTP/2 in raw frames (RFC 9113 §4), so that a test can say what no library lets it say. Header blocks
//! are literals without compression (RFC 7541 §6.2.2).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::recorder::bytes;
use super::strict::latin1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What became of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing, before the connection closed.
    #[default]
    Nothing,
    /// A status and a body.
    Answered(u16, String),
    /// RST_STREAM, or the connection's end by GOAWAY.
    Reset,
}

/// A request: its fields, its body in one DATA frame if it has one, its trailers if it has some.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub fields: &'a [(String, String)],
    pub body: &'a [u8],
    pub trailers: &'a [(String, String)],
}

/// Sends requests on streams 1, 3, … of a connection and reads until all have ended.
pub async fn converse(mut stream: TlsStream<TcpStream>, asks: &[Ask<'_>]) -> Vec<Outcome> {
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut said, SETTINGS, 0, 0, &[]);
    for (id, ask) in (1..).step_by(2).zip(asks) {
        let (plain, more) = (ask.body.is_empty(), !ask.trailers.is_empty());
        let end = |last: bool| if last { END_STREAM } else { 0 };
        frame(&mut said, HEADERS, END_HEADERS | end(plain && !more), id, &block(ask.fields));
        if !plain {
            frame(&mut said, DATA, end(!more), id, ask.body);
        }
        if more {
            frame(&mut said, HEADERS, END_HEADERS | END_STREAM, id, &block(ask.trailers));
        }
    }
    // A connection that is cut in the middle still says what became of its streams.
    let _ = stream.write_all(&said).await;
    let _ = stream.flush().await;
    let mut streams = vec![(Outcome::Nothing, false); asks.len()];
    while streams.iter().any(|(_, ended)| !ended) {
        let Some((kind, flags, id, payload)) = read(&mut stream).await else { break };
        if kind == GOAWAY {
            streams
                .iter_mut()
                .filter(|(_, ended)| !ended)
                .for_each(|stream| *stream = (Outcome::Reset, true));
        }
        let at = usize::try_from(id / 2).expect("small");
        let Some((outcome, ended)) = streams.get_mut(at).filter(|_| id % 2 == 1) else { continue };
        match (kind, &mut *outcome) {
            (HEADERS, Outcome::Nothing) => *outcome = Outcome::Answered(status(&payload), String::new()),
            (DATA, Outcome::Answered(_, body)) => body.push_str(&latin1(&payload)),
            // After a whole answer it is only asked to stop sending.
            (RST_STREAM, outcome) if !*ended => (*outcome, *ended) = (Outcome::Reset, true),
            _ => {}
        }
        *ended |= matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
    }
    streams.into_iter().map(|(outcome, _)| outcome).collect()
}

/// Writes a frame.
pub fn frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    to.extend_from_slice(&length[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}

/// A header block.
pub fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let text = bytes(text);
            string_length(&mut block, text.len());
            block.extend_from_slice(&text);
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn string_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("small"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}

/// The next frame: kind, flags, stream and payload; none at the connection's end.
pub async fn read(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
}

/// The status, which is the first field of a block (RFC 9113 §8.3): one of the static table, or a literal
/// under its name, in Huffman's code or not. No answer here is large enough to use what went before.
pub fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut block = block;
    // A change of the table's size may come before.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
    }
    match block {
        [known @ 0x88..=0x8e, ..] => KNOWN[usize::from(known - 0x88)],
        [0x08 | 0x18 | 0x48, length, rest @ ..] if length & 0x80 == 0 => {
            latin1(&rest[..usize::from(*length)]).parse().expect("a status")
        }
        [0x08 | 0x18 | 0x48, _, rest @ ..] => huffman_digits(rest),
        _ => panic!("no status first: {block:?}"),
    }
}

/// Three digits in Huffman's code (RFC 7541, appendix B): 0 to 2 in five bits, 3 to 9 in six.
fn huffman_digits(coded: &[u8]) -> u16 {
    let bit = |at: usize| u16::from(coded[at / 8] >> (7 - at % 8) & 1);
    let mut at = 0;
    let mut digit = || {
        let five = (0..5).fold(0, |code, step| code * 2 + bit(at + step));
        let (digit, bits) = if five < 3 { (five, 5) } else { (five * 2 + bit(at + 5) - 0x19 + 3, 6) };
        at += bits;
        digit
    };
    digit() * 100 + digit() * 10 + digit()
}
