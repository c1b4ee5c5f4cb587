//! What is a breach, what is read of a request, and that how the bytes come makes no difference.

use bytes::BytesMut;
use proptest::prelude::*;

use super::chunked::Chunked;
use super::decode::Step;
use super::fuzz::Reader;
use super::refused::{FramingRefused, TARGET_BYTES};
use crate::config::limits::Limits;

fn reader() -> Reader {
    Reader::new(&Limits::default())
}

/// The breach in these bytes, the same whole and byte by byte.
fn breach(bytes: &str) -> Option<FramingRefused> {
    let (mut whole, mut drops) = (reader(), reader());
    whole.feed(bytes.as_bytes());
    // Long ones say little in drops that they do not say in pieces.
    let size = if bytes.len() > 4096 { 509 } else { 1 };
    bytes.as_bytes().chunks(size).for_each(|piece| drops.feed(piece));
    assert_eq!(whole.breach, drops.breach, "{bytes:?}");
    assert_eq!(whole.requests.len(), drops.requests.len(), "{bytes:?}");
    whole.breach
}

const GOOD: &str = "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\rc\
    POST / HTTP/1.1\r\nTransfer-Encoding:\tChunked \r\n\r\n3;x=y\r\n\r\n\n\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n\
    GET / HTTP/1.0\r\nA:\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n";

#[test]
fn requests_in_a_row_are_followed_through_their_bodies() {
    assert_eq!(breach(GOOD), None);
    let mut reader = reader();
    reader.feed(GOOD.as_bytes());
    assert!(reader.is_between());
    let bodies: Vec<&[u8]> = reader.requests.iter().map(|read| read.body.as_slice()).collect();
    assert_eq!(bodies, [&b"a\nb\rc"[..], b"\r\n\n0123456789", b"", b""]);
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
        ("Transfer-Encoding: \u{b}chunked", Header),
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
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "\r\n",
        " 3\r\n",
        "0x3\r\n",
        "11111111111111111\r\n",
        "3 ;a\r\n",
        "3;x\0\r\n",
        "3;x=\"\x7f\"\r\n",
        "1\r\nabc",
        "1\r\na\rb",
        "1\r\na\n",
    ] {
        assert_eq!(with(chunks), Some(FramingRefused::Chunk), "{chunks:?}");
    }
    assert_eq!(with("3\nabc\r\n"), Some(FramingRefused::Line));
    assert_eq!(with("0\r\nbad trailer\r\n\r\n"), Some(FramingRefused::Header));
}

#[test]
fn heads_that_any_parser_would_refuse_are_breaches() {
    use FramingRefused::{HeadTooLarge, Header, RequestLine, TargetTooLong};
    let long = "x".repeat(TARGET_BYTES);
    for (bytes, want) in [
        ("GET /\r\n".to_owned(), RequestLine),
        ("GET  / HTTP/1.1\r\n".to_owned(), RequestLine),
        ("GET / HTTP/2.0\r\n".to_owned(), RequestLine),
        ("G(T / HTTP/1.1\r\n".to_owned(), RequestLine),
        ("GET /< HTTP/1.1\r\n".to_owned(), RequestLine),
        ("GET /a#b c HTTP/1.1\r\n".to_owned(), RequestLine),
        (" / HTTP/1.1\r\n".to_owned(), RequestLine),
        ("\u{16}\u{3}\u{1}".to_owned(), RequestLine),
        (format!("GET /{long} HTTP/1.1\r\n"), TargetTooLong),
        (format!("GET /{long}{long}"), TargetTooLong),
        ("GET / HTTP/1.1\r\nX: \u{7f}\r\n".to_owned(), Header),
        (format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(101)), HeadTooLarge),
        (format!("GET / HTTP/1.1\r\nx: {}", long.repeat(4)), HeadTooLarge),
    ] {
        assert_eq!(breach(&bytes), Some(want), "{bytes:?}");
    }
    assert_eq!(breach(&format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100))), None);
}

/// Found by the fuzz target `request_head`.
#[test]
fn garbage_with_a_bare_line_feed_is_the_same_breach_whole_and_in_pieces() {
    let bytes = b"\xe3\x03ET / HTTP/1.1\nHost: x\n\n";
    let (mut whole, mut pieces) = (reader(), reader());
    whole.feed(bytes);
    bytes.iter().for_each(|byte| pieces.feed(&[*byte]));
    assert_eq!(whole.breach, Some(FramingRefused::RequestLine));
    assert_eq!(pieces.breach, whole.breach);
}

#[test]
fn what_nobody_reads_is_bounded_too() {
    let extensions = format!("1;{}\r\nx\r\n", "x".repeat(1000)).repeat(17);
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(breach(&format!("{chunked}{extensions}")), Some(FramingRefused::Chunk));
    let trailers = format!("0\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(1000)).repeat(17));
    assert_eq!(breach(&format!("{chunked}{trailers}")), Some(FramingRefused::Chunk));
    assert_eq!(breach(&"\r\n".repeat(20_000)), Some(FramingRefused::HeadTooLarge));
}

#[test]
fn small_chunks_come_together_and_what_is_wrong_behind_them_is_found_all_the_same() {
    let drops = "1\r\na\r\n".repeat(100);
    for (after, want) in
        [("0\r\n\r\n", Ok(Step::End)), ("1\r\n", Ok(Step::More)), ("x\r\n", Err(FramingRefused::Chunk))]
    {
        let mut buffer = BytesMut::from(format!("{drops}{after}").as_bytes());
        let mut chunked = Chunked::default();
        assert_eq!(chunked.next(&mut buffer), Ok(Step::Data("a".repeat(100).into())));
        assert_eq!(chunked.next(&mut buffer), want);
    }
}

#[test]
fn a_head_says_what_the_client_means_to_do_next() {
    for (lines, keeps) in [
        ("GET / HTTP/1.1\r\n", true),
        ("GET / HTTP/1.1\r\nConnection: x, Close\r\n", false),
        ("GET / HTTP/1.0\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let mut reader = reader();
        reader.feed(format!("{lines}\r\n").as_bytes());
        assert_eq!(reader.requests[0].keeps, keeps, "{lines:?}");
    }
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
        let mut whole = reader();
        whole.feed(&bytes);
        let mut cut = reader();
        let mut rest = &bytes[..];
        for size in cuts {
            let (now, later) = rest.split_at(size.min(rest.len()));
            cut.feed(now);
            rest = later;
        }
        cut.feed(rest);
        prop_assert_eq!(whole.breach, cut.breach);
        let told = |reader: &Reader| format!("{:?}", reader.requests);
        prop_assert_eq!(told(&whole), told(&cut));
    }
}
