//! The header's bytes. Strict: one spelling of each, nothing guessed, nothing read past its end; what cannot be
//! read ends the connection, as the specification asks. Of the addresses only the client's is of use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// No header is shorter: `PROXY UNKNOWN` and its line's end.
pub const SHORTEST: usize = 15;
/// No header of version 1 is longer.
const LONGEST_LINE: usize = 107;
/// No header of version 2 is longer here. The specification's own extensions take a few hundred bytes; a TLS
/// client's whole certificate belongs elsewhere.
const LONGEST_BLOCK: usize = 4096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const CHECKSUM: u8 = 0x03;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// This client's.
    Client(IpAddr),
    /// The proxy's own (a health check), or one of which it knows no address.
    Proxy,
}

/// How far the header is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// At least so many more bytes belong to it.
    More(usize),
    /// All of it.
    Done(Told),
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not how one begins.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// Version 1: not one of its three forms.
    #[error("the PROXY line is malformed")]
    Line,
    /// Version 2: a version, command, family or protocol there is not.
    #[error("the PROXY header is of a version, command or family that is not known")]
    Unknown,
    /// Version 2: shorter than its addresses, longer than any is, or extensions that do not fill it.
    #[error("the PROXY header's length is wrong")]
    Length,
    /// Version 2: not what was sent.
    #[error("the PROXY header's checksum is wrong")]
    Checksum,
}

/// Reads a header from its beginning; `bytes` must hold nothing that does not belong to it.
pub fn read(bytes: &[u8]) -> Result<Step, Malformed> {
    if bytes.len() < SHORTEST {
        return Ok(Step::More(SHORTEST - bytes.len()));
    }
    if bytes.starts_with(&SIGNATURE) {
        return block(bytes);
    }
    if bytes.starts_with(b"PROXY ") {
        return line(bytes);
    }
    Err(Malformed::Absent)
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Step, Malformed> {
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        let more = if bytes.ends_with(b"\r") { 1 } else { 2 };
        return if bytes.len() + more > LONGEST_LINE { Err(Malformed::Line) } else { Ok(Step::More(more)) };
    };
    // A line's end in the middle would have ended it.
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Line)?;
    if text.contains(['\r', '\n']) {
        return Err(Malformed::Line);
    }
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Step::Done(Told::Proxy));
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed::Line);
    };
    let address = |text: &str| match family {
        Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    if !is_port(from) || !is_port(to) || address(destination).is_none() {
        return Err(Malformed::Line);
    }
    address(source).map(client).map(Step::Done).ok_or(Malformed::Line)
}

fn is_port(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain && text.parse::<u16>().is_ok()
}

const fn client(address: IpAddr) -> Told {
    Told::Client(address.to_canonical())
}

/// Version 2.
fn block(bytes: &[u8]) -> Result<Step, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(Step::More(16 - bytes.len()));
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BLOCK {
        return Err(Malformed::Length);
    }
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Unknown),
    };
    // By the high half the family, by the low one that it is a stream. UNSPEC has no addresses.
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // Of a connection of its own a proxy may say anything.
        _ if local => 0,
        _ => return Err(Malformed::Unknown),
    };
    let wanting = length.saturating_sub(rest.len());
    if wanting > 0 {
        return Ok(Step::More(wanting));
    }
    if rest.len() > length {
        return Err(Malformed::Length);
    }
    if local {
        return Ok(Step::Done(Told::Proxy));
    }
    let (addresses, extensions) = rest.split_at_checked(addresses).ok_or(Malformed::Length)?;
    verify(bytes, bytes.len() - extensions.len(), extensions)?;
    Ok(Step::Done(match family {
        0x11 => addresses.first_chunk::<4>().map_or(Told::Proxy, |octets| client(IpAddr::from(*octets))),
        0x21 => addresses.first_chunk::<16>().map_or(Told::Proxy, |octets| client(IpAddr::from(*octets))),
        _ => Told::Proxy,
    }))
}

/// Walks the extensions, which must fill the rest exactly, and checks the checksum if there is one.
fn verify(bytes: &[u8], mut at: usize, mut extensions: &[u8]) -> Result<(), Malformed> {
    let mut checksum = None;
    while let Some(([kind, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Length)?;
        if *kind == CHECKSUM {
            let value: [u8; 4] = value.try_into().map_err(|_| Malformed::Checksum)?;
            // Two could not both be right: each is part of what the other is of.
            if checksum.replace((at + 3, u32::from_be_bytes(value))).is_some() {
                return Err(Malformed::Checksum);
            }
        }
        at += 3 + length;
        extensions = rest;
    }
    if !extensions.is_empty() {
        return Err(Malformed::Length);
    }
    let Some((place, said)) = checksum else { return Ok(()) };
    let own = place..place + 4;
    let without = bytes.iter().enumerate().map(|(at, byte)| if own.contains(&at) { 0 } else { *byte });
    if crc32c(without) == said { Ok(()) } else { Err(Malformed::Checksum) }
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: it is over some hundred bytes, once a connection.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Result<Told, Malformed> {
        match read(bytes)? {
            Step::Done(told) => Ok(told),
            Step::More(more) => panic!("{more} more after {bytes:?}"),
        }
    }

    fn client_of(text: &str) -> Result<Told, Malformed> {
        Ok(client(text.parse().unwrap()))
    }

    fn version2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

    fn ipv4_and(extensions: &[u8]) -> Vec<u8> {
        version2(0x21, 0x11, &[&IPV4[..], extensions].concat())
    }

    #[test]
    fn version_1_has_three_forms_and_one_spelling_of_each() {
        for (line, want) in [
            ("TCP4 203.0.113.9 192.0.2.1 4711 443", client_of("203.0.113.9")),
            ("TCP4 203.0.113.9 192.0.2.1 0 65535", client_of("203.0.113.9")),
            ("TCP6 2001:db8::9 2001:db8::1 4711 443", client_of("2001:db8::9")),
            ("TCP6 ::ffff:203.0.113.9 ::1 4711 443", client_of("203.0.113.9")),
            ("UNKNOWN", Ok(Told::Proxy)),
            ("UNKNOWN ffff::1 whatever", Ok(Told::Proxy)),
            ("TCP4 203.0.113.9 192.0.2.1 4711", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1 4711 443 1", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1 4711 443 ", Err(Malformed::Line)),
            ("TCP4  203.0.113.9 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP4\t203.0.113.9 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1 04711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1 +4711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1 65536 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 192.0.2.1  443", Err(Malformed::Line)),
            ("TCP4 203.0.113.009 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP4 2001:db8::9 2001:db8::1 4711 443", Err(Malformed::Line)),
            ("TCP6 203.0.113.9 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP6 fe80::1%eth0 ::1 4711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9 h 4711 443", Err(Malformed::Line)),
            ("tcp4 203.0.113.9 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("UDP4 203.0.113.9 192.0.2.1 4711 443", Err(Malformed::Line)),
            ("TCP4 203.0.113.9\n192.0.2.1 4711 443", Err(Malformed::Line)),
            ("UNKNOWN\rx", Err(Malformed::Line)),
            ("UNKNOWNx", Err(Malformed::Line)),
        ] {
            assert_eq!(told(format!("PROXY {line}\r\n").as_bytes()), want, "{line:?}");
        }
    }

    #[test]
    fn version_1_ends_in_time() {
        let mut bytes = b"PROXY UNKNOWN ".to_vec();
        while let Ok(Step::More(more)) = read(&bytes) {
            bytes.resize(bytes.len() + more, b'x');
        }
        assert_eq!(read(&bytes), Err(Malformed::Line));
        assert!(bytes.len() <= LONGEST_LINE, "{}", bytes.len());
    }

    #[test]
    fn what_begins_otherwise_is_none() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: h\r\n"[..],
            b"proxy TCP4 x y 1 2\r\n",
            b"PROXY\tUNKNOWN\r\n..",
            &[0x16; 20],
        ] {
            assert_eq!(read(bytes), Err(Malformed::Absent), "{bytes:?}");
        }
    }

    #[test]
    fn version_2_names_the_client_or_the_proxy_itself() {
        let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 20]].concat();
        for (bytes, want) in [
            (ipv4_and(&[]), client_of("203.0.113.9")),
            (version2(0x21, 0x21, &ipv6), client_of("2001:db8::9")),
            (version2(0x21, 0x31, &[b'/'; 216]), Ok(Told::Proxy)),
            (version2(0x21, 0x00, &[]), Ok(Told::Proxy)),
            (version2(0x20, 0x00, &[]), Ok(Told::Proxy)),
            (version2(0x20, 0x11, &IPV4), Ok(Told::Proxy)),
            (version2(0x20, 0xff, b"whatever"), Ok(Told::Proxy)),
            (version2(0x22, 0x11, &IPV4), Err(Malformed::Unknown)),
            (version2(0x11, 0x11, &IPV4), Err(Malformed::Unknown)),
            (version2(0x21, 0x12, &IPV4), Err(Malformed::Unknown)),
            (version2(0x21, 0x10, &IPV4), Err(Malformed::Unknown)),
            (version2(0x21, 0x41, &IPV4), Err(Malformed::Unknown)),
            (version2(0x21, 0x11, &IPV4[..11]), Err(Malformed::Length)),
            (version2(0x21, 0x21, &IPV4), Err(Malformed::Length)),
            (version2(0x21, 0x31, &IPV4), Err(Malformed::Length)),
        ] {
            assert_eq!(told(&bytes), want, "{bytes:?}");
        }
        assert_eq!(read(&version2(0x21, 0x11, &[0; 4097])[..16]), Err(Malformed::Length));
    }

    #[test]
    fn extensions_are_passed_over_and_fill_the_rest() {
        for (extensions, want) in [
            (&[0x04, 0, 2, 0, 0][..], client_of("203.0.113.9")),
            (&[0x01, 0, 2, b'h', b'2', 0xea, 0, 0], client_of("203.0.113.9")),
            (&[0x04, 0, 3, 0, 0], Err(Malformed::Length)),
            (&[0x04, 0], Err(Malformed::Length)),
            (&[0x03, 0, 3, 0, 0, 0], Err(Malformed::Checksum)),
            (&[0x03, 0, 4, 0, 0, 0, 0], Err(Malformed::Checksum)),
        ] {
            assert_eq!(told(&ipv4_and(extensions)), want, "{extensions:?}");
        }
    }

    #[test]
    fn a_checksum_is_of_every_other_byte() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283, "the check value of CRC-32C");
        let mut bytes = ipv4_and(&[0x04, 0, 1, 7, 0x03, 0, 4, 0, 0, 0, 0]);
        let sum = crc32c(bytes.iter().copied()).to_be_bytes();
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&sum);
        assert_eq!(told(&bytes), client_of("203.0.113.9"));
        // But for the one that says that it is a checksum.
        for at in (16..bytes.len()).filter(|at| *at != end - 3) {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(told(&other).is_err(), "byte {at}");
        }
        let twice = [&[0x03, 0, 4][..], &sum, &[0x03, 0, 4], &sum].concat();
        assert_eq!(told(&ipv4_and(&twice)), Err(Malformed::Checksum));
    }
}
