//! What is a breach, where a broken head is ended, and that how the bytes come makes no difference.

use super::*;
use proptest::prelude::*;

fn framing() -> Framing {
    Framing::new(HeadLimits::of(&Limits::default()))
}

fn breach(bytes: &str) -> Option<FramingRefused> {
    let mut framing = framing();
    framing.feed(bytes.as_bytes());
    framing.breach()
}

const GOOD: &str = "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\rc\
    POST / HTTP/1.1\r\nTransfer-Encoding:\tChunked \r\n\r\n3;x=y\r\n\r\n\n\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n\
    GET / HTTP/1.0\r\nA:\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n";

#[test]
fn requests_in_a_row_are_followed_through_their_bodies() {
    assert_eq!(breach(GOOD), None);
    let mut framing = framing();
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
    for chunks in ["x\r\n", "-1\r\n", "\r\n", " 3\r\n", "0x3\r\n", "11111111111111111\r\n", "3 ;a\r\n"] {
        assert_eq!(with(chunks), Some(FramingRefused::Chunk), "{chunks:?}");
    }
    assert_eq!(with("3\nabc\r\n"), Some(FramingRefused::Line));
    assert_eq!(with("0\r\nbad trailer\r\n\r\n"), Some(FramingRefused::Header));
}

#[test]
fn heads_that_hyper_would_refuse_are_breaches() {
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

#[test]
fn a_broken_head_is_ended_where_it_broke_wherever_it_was_cut() {
    let broken = [
        "GET /a\"b\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    ];
    for text in broken {
        for border in 0..text.find('\u{1}').unwrap_or_else(|| text.len() - 12) {
            let (one, two) = text.as_bytes().split_at(border);
            let (mut framing, mut passed) = (framing(), Vec::new());
            for piece in [one, two] {
                match framing.feed(piece) {
                    Some(Cut { at, end }) => passed.extend([&piece[..at], end].concat()),
                    None if framing.breach().is_none() => passed.extend(piece),
                    None => {}
                }
            }
            let passed = String::from_utf8(passed).unwrap();
            assert!(passed.ends_with("\r\n\r\n"), "{passed:?} at {border}");
            let mut again = self::framing();
            again.feed(passed.as_bytes());
            assert_eq!(again.breach(), None, "{passed:?} at {border}");
        }
    }
}

const ASK: &str = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn what_follows_a_request_that_asks_to_switch_is_held_from_its_first_byte_on() {
    let before = "GET / HTTP/1.1\r\n\r\n";
    for (text, held) in [
        (format!("{before}{ASK}"), true),
        (format!("{before}{ASK}\0\n"), true),
        (ASK.replace("1.1", "1.0"), false),
        (ASK.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"), true),
        (ASK.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n"), false),
        (ASK.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"), false),
        (ASK.replace("Upgrade", "Upgrades"), false),
        (before.to_owned(), false),
    ] {
        let mut framing = framing();
        framing.feed(text.as_bytes());
        assert_eq!(framing.breach(), None, "{text:?}");
        assert_eq!(framing.state == State::Held, held, "{text:?}");
        assert_eq!(framing.is_held(framing.heads), held, "{text:?}");
        assert!(!framing.is_held(framing.heads - 1), "not by the request before it: {text:?}");
    }
}

#[test]
fn after_the_switch_nothing_is_judged_and_without_it_everything() {
    let mut switched = framing();
    switched.feed(format!("{ASK}\0\n").as_bytes());
    assert!(switched.switch());
    switched.feed(b"\0\n");
    assert_eq!((switched.breach(), switched.pending.len()), (None, 0));
    let mut stays = framing();
    stays.feed(format!("{ASK}{ASK}\0\n").as_bytes());
    stays.stay();
    assert!(stays.is_held(2) && stays.breach().is_none());
    stays.stay();
    assert_eq!(stays.breach(), Some(FramingRefused::RequestLine));
    assert!(!framing().switch(), "where nothing was asked for");
}

#[test]
fn what_is_held_is_bounded() {
    let mut held = framing();
    held.feed(ASK.as_bytes());
    for _ in 0..64 {
        held.feed(&[b'x'; 1024]);
    }
    assert_eq!(held.breach(), None);
    held.feed(b"x");
    assert_eq!(held.breach(), Some(FramingRefused::Early));
    assert!(!held.switch() && held.pending.is_empty());
}

/// Found by the fuzz target `request_head`.
#[test]
fn garbage_with_a_bare_line_feed_is_the_same_breach_whole_and_in_pieces() {
    let bytes = b"\xe3\x03ET / HTTP/1.1\nHost: x\n\n";
    let (mut whole, mut pieces) = (framing(), framing());
    whole.feed(bytes);
    for byte in bytes {
        pieces.feed(&[*byte]);
    }
    assert_eq!(whole.breach(), Some(FramingRefused::RequestLine));
    assert_eq!(pieces.breach(), whole.breach());
}

proptest! {
    #[test]
    fn held_or_not_the_same_bytes_are_the_same_requests(cut in 0..GOOD.len(), damage in any::<(usize, u8)>()) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let at = damage.0 % bytes.len();
        bytes[at] = damage.1;
        let mut plain = framing();
        plain.feed(&bytes);
        let mut held = framing();
        let (early, late) = bytes.split_at(cut);
        held.feed(&[ASK.as_bytes(), early].concat());
        held.stay();
        held.feed(late);
        prop_assert_eq!(plain.breach(), held.breach());
    }

    #[test]
    fn how_the_bytes_are_cut_makes_no_difference(
        cuts in proptest::collection::vec(1_usize..40, 0..40),
        damage in proptest::option::of((0_usize..GOOD.len(), any::<u8>())),
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        if let Some((at, byte)) = damage {
            bytes[at] = byte;
        }
        let mut whole = framing();
        whole.feed(&bytes);
        let mut cut = framing();
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
