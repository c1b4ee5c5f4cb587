//! The lines of a head, and those between chunks, one at a time: what each may say, and what a head means
//! for the bytes that follow it. What came before a line, and where it ends, is [`Framing`](super::Framing)'s.

use memchr::memchr;

use super::{FramingRefused, State, TARGET_BYTES};

/// A head so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Head {
    pub(super) fn of(line: &[u8]) -> Result<Self, FramingRefused> {
        let refused = FramingRefused::RequestLine;
        let at = memchr(b' ', line).ok_or(refused)?;
        let (method, rest) = line.split_at(at);
        let (target, version) = rest.split_at_checked(rest.len().saturating_sub(9)).ok_or(refused)?;
        let http10 = version == b" HTTP/1.0";
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(refused);
        }
        if !http10 && version != b" HTTP/1.1" {
            return Err(refused);
        }
        let target = target.get(1..).ok_or(refused)?;
        if target.len() > TARGET_BYTES {
            return Err(FramingRefused::TargetTooLong);
        }
        if !is_target(target) {
            return Err(refused);
        }
        Ok(Self { bytes: line.len() + 2, http10, ..Self::default() })
    }

    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), FramingRefused> {
        (self.lines, self.bytes) = (self.lines + 1, self.bytes + line.len() + 2);
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
                self.upgrade = !self.http10;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn body(&self) -> Result<State, FramingRefused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingRefused::Both),
            (true, None) => Ok(State::ChunkSize),
            (false, None | Some(0)) if self.upgrade => Ok(State::Held),
            (false, None | Some(0)) => Ok(State::Start),
            (false, Some(length)) => Ok(State::Body(length)),
        }
    }
}

/// Whether a byte may stand in a header's name (RFC 9110 §5.6.2).
#[expect(clippy::indexing_slicing, reason = "every byte has its place in the table")]
pub(super) const fn is_token(byte: u8) -> bool {
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

/// Whether this is a request target, and one that hyper takes. Plain paths, which nearly all are, need one
/// look at each byte; the rest is asked of the parser that hyper uses, which drops a fragment unread: no
/// target has one (RFC 9112 §3.2).
fn is_target(target: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?' | b'@'..=b'_' | b'a'..=b'z' | b'|' | b'~');
    if target.first() == Some(&b'/') && target.iter().all(plain) {
        return true;
    }
    !target.contains(&b'#') && http::Uri::try_from(target).is_ok()
}

/// A header line's name and value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), FramingRefused> {
    let colon = memchr(b':', line).ok_or(FramingRefused::Header)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || has_control(value) {
        return Err(FramingRefused::Header);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// Without a way out in between, so that it runs over many bytes at once.
fn has_control(value: &[u8]) -> bool {
    let control = |byte: u8| ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f);
    value.iter().fold(false, |found, byte| found | control(*byte))
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
pub(super) fn chunk_size(line: &[u8]) -> Result<Option<State>, FramingRefused> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    match number(size, 16).ok_or(FramingRefused::Chunk)? {
        0 => Ok(Some(State::Trailers)),
        // The CR LF that ends the data is counted with it: hyper checks that it is one.
        size => Ok(Some(State::ChunkData(size + 2))),
    }
}
