//! What is read of an answer, what is refused, and that how the bytes come makes no difference.

use proptest::prelude::*;

use super::fuzz::Reader;
use crate::edge::http1::lines::StatusLine;
use crate::edge::http1::refused::{AnswerRefused, FramingRefused, HeadLimits};

const LIMITS: HeadLimits = HeadLimits::new(64 * 1024, 100);

/// An answer read whole and in drops, alike, to the connection's end.
fn read(is_head: bool, bytes: &str) -> Reader {
    let (mut whole, mut drops) = (Reader::new(is_head, LIMITS), Reader::new(is_head, LIMITS));
    whole.feed(bytes.as_bytes());
    // Long ones say little in drops that they do not say in pieces.
    let size = if bytes.len() > 4096 { 509 } else { 1 };
    bytes.as_bytes().chunks(size).for_each(|piece| drops.feed(piece));
    whole.end();
    drops.end();
    assert_eq!((drops.refused, &drops.body, drops.whole), (whole.refused, &whole.body, whole.whole));
    assert_eq!((drops.left(), drops.keeps()), (whole.left(), whole.keeps()), "{bytes:?}");
    whole
}

fn refused(bytes: &str) -> Option<AnswerRefused> {
    read(false, bytes).refused
}

/// Status, body, and whether the connection is kept.
fn told(reader: &Reader) -> (u16, String, bool) {
    assert!(reader.whole && reader.refused.is_none(), "{reader:?}");
    let status = reader.head.as_ref().unwrap().parts.status.as_u16();
    (status, String::from_utf8(reader.body.clone()).unwrap(), reader.keeps())
}

#[test]
fn an_answer_ends_where_it_says() {
    for (bytes, status, body, keeps) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
            200,
            "abc",
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        ("HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n", 500, "", true),
        ("HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", 999, "", true),
        ("HTTP/1.1 200 gr\u{fc}n\tja\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        ("HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", 200, "abc", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nabc", 200, "abc", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\nabc", 200, "abc", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, "", false),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, "", true),
        ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, "", true),
    ] {
        assert_eq!(told(&read(false, bytes)), (status, body.to_owned(), keeps), "{bytes:?}");
    }
    for length in ["Content-Length: 3", "Transfer-Encoding: chunked", "X: y"] {
        let answer = read(true, &format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n"));
        assert_eq!(told(&answer), (200, String::new(), true), "{length}: to a HEAD");
    }
}

#[test]
fn what_comes_after_an_answer_is_left_and_ends_the_connection() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (is_head, bytes) in [
        (false, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (false, "HTTP/1.1 204 No Content\r\n\r\n"),
        (false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
    ] {
        for after in [evil, "\r\n", "x"] {
            let answer = read(is_head, &format!("{bytes}{after}"));
            assert!(answer.whole && !answer.keeps(), "{bytes:?} {after:?}");
            assert_eq!(answer.left(), after.as_bytes());
            assert!(!String::from_utf8_lossy(&answer.body).contains("evil"));
        }
    }
}

#[test]
fn interim_answers_are_passed_over_whatever_they_say() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n";
    let answer = read(false, &format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
    assert_eq!(told(&answer), (200, "abc".to_owned(), true));
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
    let answer = read(false, &format!("{many}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
    assert_eq!(told(&answer), (200, "abc".to_owned(), true));
    let switched =
        read(false, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nearly");
    let head = switched.head.as_ref().unwrap();
    assert_eq!((head.parts.status.as_u16(), switched.left()), (101, &b"early"[..]));
    assert_eq!(head.parts.headers["upgrade"], "x", "for whoever asked");
}

#[test]
fn an_answer_that_says_two_things_of_its_length_is_refused() {
    for headers in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: x\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: x",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length:",
        "Content-Length: 18446744073709551619",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
    ] {
        for status in ["200 OK", "204 No Content", "304 Not Modified"] {
            let bytes = format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
            assert_eq!(refused(&bytes), Some(AnswerRefused::Length), "{bytes:?}");
            assert_eq!(read(true, &bytes).refused, Some(AnswerRefused::Length), "{bytes:?} to a HEAD");
        }
    }
    let chunks = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(chunks), Some(AnswerRefused::Length));
}

#[test]
fn what_is_no_answer_is_refused_as_soon_as_that_is_seen() {
    use AnswerRefused::{Line, StatusLine, TooLarge};
    let long = "y".repeat(64 * 1024);
    for (bytes, want) in [
        ("SSH-2.0-OpenSSH".to_owned(), StatusLine),
        ("<p>".to_owned(), StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/2 200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.2 200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 99 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 200 O\u{1}K\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 200 O\rK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        ("HTTP/1.1 200 OK\r\nX: a\r\n fold\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        ("HTTP/1.1 200 OK\r\nX\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        ("HTTP/1.1 200 OK\r\n\r\r\n\r\n".to_owned(), Line(FramingRefused::Header)),
        (format!("HTTP/1.1 200 OK\r\nX: {long}"), TooLarge),
        (format!("HTTP/1.1 200 {long}"), TooLarge),
        (format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(101)), TooLarge),
    ] {
        assert_eq!(refused(&bytes), Some(want), "{:?}", bytes.get(..60));
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert_eq!(read(false, &many).head.unwrap().parts.headers.len(), 100);
}

#[test]
fn malformed_chunks_break_an_answer_off() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (chunks, want) in [
        ("x\r\n", FramingRefused::Chunk),
        ("4\r\nabcde\r\n", FramingRefused::Chunk),
        ("10000000000000003\r\n", FramingRefused::Chunk),
        ("3\nabc\r\n", FramingRefused::Line),
        ("0\r\nbad trailer\r\n\r\n", FramingRefused::Header),
    ] {
        let answer = read(false, &format!("{head}{chunks}"));
        assert_eq!(answer.refused, Some(AnswerRefused::Line(want)), "{chunks:?}");
        assert!(answer.body.starts_with(b"abc"), "what came before it has gone on");
    }
    for short in ["", "3\r\n", "3\r\nab", "0\r\n", "0\r\nT: x\r\n"] {
        let answer = read(false, &format!("{head}{short}"));
        assert!(!answer.whole && answer.refused.is_none() && !answer.keeps(), "{short:?}");
    }
}

#[test]
fn what_ends_here_is_left_out_unless_more_of_it_is_named() {
    let names = |bytes: &str| {
        let head = read(false, bytes).head.unwrap();
        let names = head.parts.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        (names.join(" "), head.hop_by_hop)
    };
    let lines = "X-App: 1\r\nKeep-Alive: timeout=5\r\nTE: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";
    let plain = names(&format!("HTTP/1.1 200 OK\r\nConnection: keep-alive, ,close\r\n{lines}"));
    assert_eq!(plain, ("x-app content-length".to_owned(), false));
    let (names, hop_by_hop) = names(&format!("HTTP/1.1 200 OK\r\nConnection: x-app\r\n{lines}"));
    assert!(hop_by_hop && names.contains("connection") && names.contains("keep-alive"), "{names}");
}

#[test]
fn a_status_line_is_read_to_the_letter() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", Some((200, false))),
        ("HTTP/1.0 404 ", Some((404, true))),
        ("HTTP/1.1 200", Some((200, false))),
        ("HTTP/1.1 200OK", None),
        ("HTTP/1.1\t200 OK", None),
        ("http/1.1 200 OK", None),
        ("HTTP/1.1 20", None),
        ("HTTP/1.1", None),
    ] {
        let read = StatusLine::read(line.as_bytes()).map(|read| (read.status.as_u16(), read.http10));
        assert_eq!(read, status, "{line:?}");
    }
}

const GOOD: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA:\tb \r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=y\r\n\r\n\n\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";

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
        let (mut whole, mut cut) = (Reader::new(false, LIMITS), Reader::new(false, LIMITS));
        whole.feed(&bytes);
        let mut rest = &bytes[..];
        for size in cuts {
            let (now, later) = rest.split_at(size.min(rest.len()));
            cut.feed(now);
            rest = later;
        }
        cut.feed(rest);
        prop_assert_eq!(whole.refused, cut.refused);
        prop_assert_eq!((&whole.body, whole.whole, whole.left()), (&cut.body, cut.whole, cut.left()));
    }
}

#[test]
fn interim_answers_are_passed_over_but_not_without_end() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(told(&read(false, &(interim.repeat(10) + last))), (200, "ok".to_owned(), true));
    assert_eq!(refused(&(interim.repeat(10_000) + last)), Some(AnswerRefused::TooLarge));
}
