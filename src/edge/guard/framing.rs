//! Where one HTTP/1 request ends and the next begins: checked on the bytes, before hyper reads them.
//!
//! hyper repairs what a gateway must refuse (RFC 9112 §6.3 and §11.2): it drops a `Content-Length`
//! beside `Transfer-Encoding`, merges equal `Content-Length`s, takes bare line feeds for line ends.
//! Whoever stands before or behind may repair differently, and that is how requests are smuggled
//! (hyper#4123; CVE-2026-2833 in Pingora). So the bytes pass by [`Framing`], which follows the
//! framing with the strictest rules and notes the first breach; the guard then refuses the request
//! with 400 and ends the connection. It decides nothing else and changes no byte.

use memchr::memchr;

/// Longest head that is followed, bytes; hyper refuses far shorter ones.
const HEAD_BYTES: usize = 1024 * 1024;

/// How the framing is broken. The text goes to the client; the connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingRefused {
    /// RFC 9112 §6.1: the classic of request smuggling.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Both,
    /// More than one, other than exactly `chunked`, or in HTTP/1.0.
    #[error("the only transfer coding accepted is one 'chunked', in HTTP/1.1")]
    Coding,
    /// Lists, signs, several lines.
    #[error("Content-Length must be one plain number")]
    Length,
    /// RFC 9112 §2.2 allows to take a bare line feed for a line end; others need not.
    #[error("lines must end in CR LF, and contain neither alone")]
    Line,
    /// RFC 9112 §5: obs-fold, space before the colon, no colon, no name, NUL.
    #[error("a header line is malformed")]
    Header,
    /// RFC 9112 §7.1
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// `Upgrade: h2c`, which RFC 9113 §3.1 withdrew; it tunnels past proxies.
    #[error("upgrading to h2c is not supported")]
    H2c,
}

/// Follows the framing of one connection's bytes.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    /// A head or chunk line whose end is still to come.
    pending: Vec<u8>,
    breach: Option<FramingRefused>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Head(Head),
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    http10: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// The first breach so far.
    pub const fn breach(&self) -> Option<FramingRefused> {
        self.breach
    }

    /// More bytes have arrived.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.breach.is_none() && !bytes.is_empty() {
            match &mut self.state {
                State::Body(left) | State::ChunkData(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if *left == 0 {
                        let chunked = matches!(self.state, State::ChunkData(_));
                        self.state = if chunked { State::ChunkSize } else { State::Start };
                    }
                }
                _ => bytes = self.feed_line(bytes),
            }
        }
    }

    /// Takes bytes up to a line's end; returns the rest.
    fn feed_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.pending.len() + bytes.len() > HEAD_BYTES {
                self.breach = Some(FramingRefused::Line);
            } else {
                self.pending.extend_from_slice(bytes);
            }
            return &[];
        };
        let (line, rest) = bytes.split_at(end + 1);
        // Most heads come whole; only a line that was cut in two is copied.
        let result = if self.pending.is_empty() {
            self.line(line)
        } else {
            let mut whole = std::mem::take(&mut self.pending);
            whole.extend_from_slice(line);
            self.line(&whole)
        };
        if let Err(breach) = result {
            self.breach = Some(breach);
        }
        rest
    }

    fn line(&mut self, line: &[u8]) -> Result<(), FramingRefused> {
        let line = line.strip_suffix(b"\r\n").ok_or(FramingRefused::Line)?;
        if memchr(b'\r', line).is_some() {
            return Err(FramingRefused::Line);
        }
        match &mut self.state {
            // Empty lines before a request are passed over (RFC 9112 §2.2).
            State::Start if line.is_empty() => {}
            State::Start => self.state = State::Head(Head::of(line)),
            State::Head(head) if line.is_empty() => self.state = head.body()?,
            State::Head(head) => head.line(line)?,
            State::ChunkSize => {
                if let Some(state) = chunk_size(line)? {
                    self.state = state;
                }
            }
            State::Trailers if line.is_empty() => self.state = State::Start,
            State::Trailers => drop(split(line)?),
            State::Body(_) | State::ChunkData(_) => {}
        }
        Ok(())
    }
}

impl Head {
    fn of(request_line: &[u8]) -> Self {
        Self { http10: request_line.ends_with(b" HTTP/1.0"), ..Self::default() }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), FramingRefused> {
        let (name, value) = split(line)?;
        // By length first: one header in ten is worth a comparison.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value, 10).ok_or(FramingRefused::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(FramingRefused::Length);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let twice = std::mem::replace(&mut self.chunked, true);
                if twice || self.http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingRefused::Coding);
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let mut offers = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if offers.any(|offer| offer.eq_ignore_ascii_case(b"h2c")) {
                    return Err(FramingRefused::H2c);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn body(&self) -> Result<State, FramingRefused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingRefused::Both),
            (true, None) => Ok(State::ChunkSize),
            (false, None | Some(0)) => Ok(State::Start),
            (false, Some(length)) => Ok(State::Body(length)),
        }
    }
}

/// Whether a byte may stand in a header's name (RFC 9110 §5.6.2).
#[expect(clippy::indexing_slicing, reason = "every byte has its place in the table")]
const fn is_token(byte: u8) -> bool {
    // A table, because searching the delimiters for each byte was 3 % of a proxied request.
    const TOKEN: [bool; 256] = {
        let (mut table, delimiters, mut byte) = ([false; 256], b"\"(),/:;<=>?@[\\]{}", 0);
        while byte < table.len() {
            table[byte] = (byte as u8).is_ascii_graphic();
            byte += 1;
        }
        let mut at = 0;
        while at < delimiters.len() {
            table[delimiters[at] as usize] = false;
            at += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

/// A header line's name and value.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), FramingRefused> {
    let colon = memchr(b':', line).ok_or(FramingRefused::Header)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || memchr(0, value).is_some() {
        return Err(FramingRefused::Header);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// Digits of that radix and nothing else, of a size that no counter overflows.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = |byte: &u8| char::from(*byte).is_digit(radix);
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(plain) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok().filter(|size| *size < 1 << 62)
}

/// What a line between chunks means. After a chunk's data there is an empty one.
fn chunk_size(line: &[u8]) -> Result<Option<State>, FramingRefused> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    match number(size, 16).ok_or(FramingRefused::Chunk)? {
        0 => Ok(Some(State::Trailers)),
        // The CR LF that ends the data is counted with it: hyper checks that it is one.
        size => Ok(Some(State::ChunkData(size + 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn breach(bytes: &str) -> Option<FramingRefused> {
        let mut framing = Framing::default();
        framing.feed(bytes.as_bytes());
        framing.breach()
    }

    const GOOD: &str = "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\rc\
        POST / HTTP/1.1\r\nTransfer-Encoding:\tChunked \r\n\r\n3;x=y\r\n\r\n\n\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n\
        GET / HTTP/1.0\r\nA:\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n";

    #[test]
    fn requests_in_a_row_are_followed_through_their_bodies() {
        assert_eq!(breach(GOOD), None);
        let mut framing = Framing::default();
        framing.feed(GOOD.as_bytes());
        assert_eq!(framing.state, State::Start);
        assert_eq!(breach(&format!("{GOOD}GET / HTTP/1.1\nHost: x\r\n\r\n")), Some(FramingRefused::Line));
    }

    #[test]
    fn contradictions_are_breaches_in_either_order() {
        let with = |headers: &str| breach(&format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n"));
        use FramingRefused::{Both, Coding, H2c, Header, Length, Line};
        for (headers, want) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked", Both),
            ("transfer-encoding: chunked\r\ncontent-length: 3", Both),
            ("Content-Length: 3\r\nContent-Length: 3", Length),
            ("Content-Length: 3, 3", Length),
            ("Content-Length: +3", Length),
            ("Content-Length: 0x3", Length),
            ("Content-Length:", Length),
            ("Content-Length: 99999999999999999999", Length),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Coding),
            ("Transfer-Encoding: identity", Coding),
            ("Transfer-Encoding: gzip, chunked", Coding),
            ("Transfer-Encoding: \u{b}chunked", Coding),
            ("Transfer-Encoding : chunked", Header),
            (" Transfer-Encoding: chunked", Header),
            ("X: a\r\n folded", Header),
            ("no colon", Header),
            (": no name", Header),
            ("X: \0", Header),
            ("X: a\rb", Line),
            ("X: a\nTransfer-Encoding: chunked", Line),
            ("Upgrade: websocket, H2C", H2c),
        ] {
            assert_eq!(with(headers), Some(want), "{headers:?}");
        }
        assert_eq!(breach("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Coding));
    }

    #[test]
    fn malformed_chunks_are_breaches() {
        let with =
            |chunks: &str| breach(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        for chunks in ["x\r\n", "-1\r\n", "\r\n", " 3\r\n", "0x3\r\n", "11111111111111111\r\n", "3 ;a\r\n"] {
            assert_eq!(with(chunks), Some(FramingRefused::Chunk), "{chunks:?}");
        }
        assert_eq!(with("3\nabc\r\n"), Some(FramingRefused::Line));
        assert_eq!(with("0\r\nbad trailer\r\n\r\n"), Some(FramingRefused::Header));
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            cuts in proptest::collection::vec(1_usize..40, 0..40),
            damage in proptest::option::of((0_usize..GOOD.len(), any::<u8>())),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            if let Some((at, byte)) = damage {
                bytes[at] = byte;
            }
            let mut whole = Framing::default();
            whole.feed(&bytes);
            let mut cut = Framing::default();
            let mut rest = &bytes[..];
            for size in cuts {
                let (now, later) = rest.split_at(size.min(rest.len()));
                cut.feed(now);
                rest = later;
            }
            cut.feed(rest);
            prop_assert_eq!(whole.breach(), cut.breach());
        }
    }
}
