//! The lines of heads and those between chunks, one at a time: what each may say. Where a line ends, and
//! what came before it, is its caller's.

use http::StatusCode;
use memchr::memchr;

use super::refused::{FramingRefused, TARGET_BYTES};

/// Where a request line's parts are in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    /// The method ends here, and one space later the target begins.
    pub(super) method: usize,
    /// The target ends here.
    pub(super) target: usize,
    /// HTTP/1.0.
    pub(super) http10: bool,
}

/// ` HTTP/1.1`, or with the space behind it.
const VERSION_BYTES: usize = 9;

impl RequestLine {
    /// Reads a request line without its end.
    pub(super) fn read(line: &[u8]) -> Result<Self, FramingRefused> {
        let refused = FramingRefused::RequestLine;
        let method = memchr(b' ', line).ok_or(refused)?;
        let target = line.len().checked_sub(VERSION_BYTES).ok_or(refused)?;
        let (rest, version) = line.split_at(target);
        let http10 = version == b" HTTP/1.0";
        let name =
            line.get(..method).filter(|name| !name.is_empty() && name.iter().all(|byte| is_token(*byte)));
        if name.is_none() || (!http10 && version != b" HTTP/1.1") {
            return Err(refused);
        }
        let written = rest.get(method + 1..).ok_or(refused)?;
        if written.len() > TARGET_BYTES {
            return Err(FramingRefused::TargetTooLong);
        }
        if !is_target(written) {
            return Err(refused);
        }
        Ok(Self { method, target, http10 })
    }
}

/// What a status line says (RFC 9112 §4). The reason is nobody's to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    /// The status.
    pub(super) status: StatusCode,
    /// HTTP/1.0.
    pub(super) http10: bool,
}

impl StatusLine {
    /// Reads a status line without its end.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (version, rest) = line.split_at_checked(VERSION_BYTES)?;
        let http10 = version == b"HTTP/1.0 ";
        let (status, reason) = rest.split_at_checked(3)?;
        // Applications that give no reason often leave out the space before it too.
        let reason = reason.is_empty() || (reason.first() == Some(&b' ') && !has_control(reason));
        if !reason || (!http10 && version != b"HTTP/1.1 ") {
            return None;
        }
        StatusCode::from_bytes(status).ok().map(|status| Self { status, http10 })
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

/// Whether this is a request target. Plain paths, which nearly all are, need one look at each byte; the rest
/// is asked of the parser that makes the request's `Uri`, which drops a fragment unread: no target has one
/// (RFC 9112 §3.2).
fn is_target(target: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?' | b'@'..=b'_' | b'a'..=b'z' | b'|' | b'~');
    if target.first() == Some(&b'/') && target.iter().all(plain) {
        return true;
    }
    !target.contains(&b'#') && http::Uri::try_from(target).is_ok()
}

/// A header line's name and value: where the name ends, and from where to where the value is, without the
/// white space around it.
pub(super) fn split(line: &[u8]) -> Result<(usize, usize, usize), FramingRefused> {
    let colon = memchr(b':', line).ok_or(FramingRefused::Header)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || has_control(value) {
        return Err(FramingRefused::Header);
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii_start();
    let start = line.len() - value.len();
    Ok((colon, start, start + value.trim_ascii_end().len()))
}

/// Without a way out in between, so that it runs over many bytes at once.
pub(super) fn has_control(value: &[u8]) -> bool {
    let control = |byte: u8| ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f);
    value.iter().fold(false, |found, byte| found | control(*byte))
}

/// Digits of that radix and nothing else, of a size that no counter overflows.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = |byte: &u8| char::from(*byte).is_digit(radix);
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(plain) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok().filter(|size| *size < 1 << 62)
}

/// A line with its end, without it; both halves of the end, and neither inside.
pub(super) fn without_end(line: &[u8]) -> Result<&[u8], FramingRefused> {
    let line = line.strip_suffix(b"\r\n").ok_or(FramingRefused::Line)?;
    match memchr(b'\r', line) {
        Some(_) => Err(FramingRefused::Line),
        None => Ok(line),
    }
}
