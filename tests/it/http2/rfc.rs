//! RFC 9113, sections 3 to 8, as a table: what is sent, what the standard asks for, and, where the gate does
//! otherwise, what it does and why that may be so.

use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fields, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, Wire, coded,
};

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL: u32 = 1;
pub const FLOW: u32 = 3;
pub const CLOSED: u32 = 5;
pub const SIZE: u32 = 6;
pub const REFUSED: u32 = 7;
pub const COMPRESSION: u32 = 9;
pub const CALM: u32 = 11;

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The connection goes on, and nothing is reset.
    Fine,
    /// This stream is answered with that status, and the connection goes on.
    Answer(u32, u16),
    /// This stream is reset, and the connection goes on.
    Reset(u32, u32),
    /// The connection ends by GOAWAY.
    GoAway(u32),
    /// The connection ends.
    Ends,
}

pub struct Case {
    pub section: &'static str,
    pub name: &'static str,
    pub say: fn() -> Wire,
    /// Any of these is what the standard asks for or allows.
    pub rfc: &'static [Want],
    /// What is done instead, and why.
    pub instead: Option<(Want, &'static str)>,
}

const fn case(section: &'static str, name: &'static str, rfc: &'static [Want], say: fn() -> Wire) -> Case {
    Case { section, name, say, rfc, instead: None }
}

impl Case {
    const fn instead(mut self, want: Want, why: &'static str) -> Self {
        self.instead = Some((want, why));
        self
    }
}

const FINE: &[Want] = &[Want::Fine];
const ENDS_PROTOCOL: &[Want] = &[Want::GoAway(PROTOCOL)];
/// A server that does not know the preface need not say anything (§3.4).
const NO_HTTP2: &[Want] = &[Want::GoAway(PROTOCOL), Want::Ends];
const ENDS_SIZE: &[Want] = &[Want::GoAway(SIZE)];
const ENDS_FLOW: &[Want] = &[Want::GoAway(FLOW)];
const ENDS_COMPRESSION: &[Want] = &[Want::GoAway(COMPRESSION)];
/// §8.1.1: a stream error, and before it an answer if one likes. §5.4.1: or the connection's end.
const MALFORMED: &[Want] = &[Want::Reset(1, PROTOCOL), Want::Answer(1, 400), Want::GoAway(PROTOCOL)];
/// §5.1: a stream error, or the connection's where it is closed for good.
const STREAM_CLOSED: &[Want] = &[Want::Reset(1, CLOSED), Want::GoAway(CLOSED)];

const CODE: &str = "h2 says PROTOCOL_ERROR; the connection ends all the same";

const CLOSED_CODE: &str = "h2 says PROTOCOL_ERROR for STREAM_CLOSED; the connection ends all the same";

fn begun() -> Wire {
    Wire::begun()
}

/// A request that is just these fields.
fn fields(fields: Fields<'_>) -> Wire {
    begun().frame(HEADERS, END_STREAM | END_HEADERS, 1, &coded(fields))
}

fn more(more: Fields<'_>) -> Wire {
    begun().ask(1, END_STREAM, "GET", "/a", more)
}

fn hpack(block: &[u8]) -> Wire {
    begun().frame(HEADERS, END_STREAM | END_HEADERS, 1, block)
}

/// The beginning of a request whose fields go on.
fn half() -> Wire {
    let all = coded(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")]);
    begun().frame(HEADERS, END_STREAM, 1, &all)
}

fn set(settings: &[(u16, u32)]) -> Wire {
    begun().settings(settings)
}

pub const CASES: &[Case] = &[
    case("3.4", "a preface of HTTP/1", NO_HTTP2, || Wire::default().raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")),
    case("3.4", "a preface that is nearly one", NO_HTTP2, || {
        Wire::default().raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX").frame(SETTINGS, 0, 0, &[])
    }),
    case("3.4", "a preface without SETTINGS", NO_HTTP2, || {
        Wire::default().raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").get(1)
    }),
    case("3.4", "a second preface", &[Want::GoAway(PROTOCOL), Want::GoAway(SIZE)], || {
        begun().raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    }),
    case("4.1", "an unknown type", FINE, || begun().frame(0x77, 0xff, 0, b"whatever")),
    case("4.1", "an unknown type on a stream", FINE, || begun().frame(0x10, 0, 5, b"u=1")),
    case("4.1", "unknown flags", FINE, || begun().frame(PING, 0xfe, 0, &[7; 8])),
    case("4.1", "the reserved bit of a stream", &[Want::Answer(1, 200)], || begun().get(0x8000_0001)),
    case("4.2", "DATA longer than SETTINGS_MAX_FRAME_SIZE", &[Want::GoAway(SIZE), Want::Reset(1, SIZE)], || {
        begun().post(1).frame(DATA, 0, 1, &[0; 16385])
    }),
    case("4.2", "HEADERS longer than SETTINGS_MAX_FRAME_SIZE", ENDS_SIZE, || hpack(&[0; 16385])),
    case("4.2", "an unknown type longer than SETTINGS_MAX_FRAME_SIZE", ENDS_SIZE, || {
        begun().frame(0x77, 0, 0, &[0; 16385])
    }),
    case("4.3", "HPACK: an index past the table", ENDS_COMPRESSION, || hpack(&[0xfe])).instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3", "HPACK: index nought", ENDS_COMPRESSION, || hpack(&[0x80])).instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3", "HPACK: a number without end", ENDS_COMPRESSION, || hpack(&[0xff; 12])).instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3", "HPACK: a text cut short", ENDS_COMPRESSION, || hpack(&[0x00, 0x05, b'a'])).instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3", "HPACK: Huffman's end of string", ENDS_COMPRESSION, || {
        hpack(&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'])
    })
    .instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3.1", "HPACK: a table larger than SETTINGS_HEADER_TABLE_SIZE", ENDS_COMPRESSION, || {
        hpack(&[0x3f, 0xe2, 0x1f])
    })
    .instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3.1", "HPACK: a table's size after a field", ENDS_COMPRESSION, || hpack(&[0x82, 0x20]))
        .instead(Want::GoAway(PROTOCOL), CODE),
    case("4.3", "a block that PING interrupts", ENDS_PROTOCOL, || half().frame(PING, 0, 0, &[0; 8])),
    case("4.3", "a block that DATA interrupts", ENDS_PROTOCOL, || half().frame(DATA, 0, 1, b"x")),
    case("4.3", "a block that another stream interrupts", ENDS_PROTOCOL, || half().get(3)),
    case("4.3", "a block that another stream continues", ENDS_PROTOCOL, || {
        half().frame(CONTINUATION, END_HEADERS, 3, &[])
    }),
    case("4.3", "a block that an unknown type interrupts (5.5)", ENDS_PROTOCOL, || half().frame(0x77, 0, 1, b"x")),
    case("4.3", "a block in pieces", &[Want::Answer(1, 200)], || {
        half().frame(CONTINUATION, 0, 1, &coded(&[("a", "b")])).frame(CONTINUATION, END_HEADERS, 1, &[])
    }),
    case("5.1", "idle: DATA", ENDS_PROTOCOL, || begun().frame(DATA, END_STREAM, 1, b"x")),
    case("5.1", "idle: RST_STREAM", ENDS_PROTOCOL, || begun().frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
    case("5.1", "idle: WINDOW_UPDATE", ENDS_PROTOCOL, || begun().window(1, 1)),
    case("5.1", "idle: CONTINUATION", ENDS_PROTOCOL, || begun().frame(CONTINUATION, END_HEADERS, 1, &[])),
    case("5.1", "idle: PRIORITY", FINE, || begun().frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
    case("5.1", "half closed: DATA", STREAM_CLOSED, || begun().get(1).frame(DATA, 0, 1, b"x"))
        .instead(Want::GoAway(PROTOCOL), CLOSED_CODE),
    case("5.1", "half closed: HEADERS", STREAM_CLOSED, || begun().get(1).get(1))
        .instead(Want::GoAway(PROTOCOL), CLOSED_CODE),
    case("5.1", "half closed: WINDOW_UPDATE", &[Want::Answer(1, 200)], || begun().get(1).window(1, 9)),
    case("5.1", "half closed: PRIORITY", &[Want::Answer(1, 200)], || {
        begun().get(1).frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])
    }),
    case("5.1", "closed by its reset: DATA", STREAM_CLOSED, || {
        begun().post(1).frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]).frame(DATA, 0, 1, b"x")
    }),
    case("5.1", "closed by its reset: HEADERS", STREAM_CLOSED, || {
        begun().post(1).frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]).get(1)
    })
    .instead(Want::GoAway(PROTOCOL), CLOSED_CODE),
    case("5.1", "closed by its end: DATA", STREAM_CLOSED, || begun().get(1).until(1).frame(DATA, 0, 1, b"x")),
    case("5.1", "closed by its end: HEADERS", &[Want::Reset(1, CLOSED), Want::GoAway(CLOSED), Want::GoAway(PROTOCOL)], || {
        begun().get(1).until(1).get(1)
    }),
    case("5.1", "closed by its end: WINDOW_UPDATE, RST_STREAM, PRIORITY", &[Want::Answer(1, 200)], || {
        let ended = begun().get(1).until(1).window(1, 9);
        ended.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]).frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])
    }),
    case("5.1.1", "an even stream", ENDS_PROTOCOL, || begun().get(2)),
    case("5.1.1", "a stream below one that was opened", &[Want::GoAway(PROTOCOL), Want::GoAway(CLOSED)], || begun().get(5).get(3)),
    case("5.1.2", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS", &[Want::Reset(201, REFUSED), Want::Reset(201, PROTOCOL)], || {
        let open = (0..101).fold(begun(), |wire, number| wire.post(2 * number + 1));
        (0..100).fold(open, |wire, number| wire.frame(DATA, END_STREAM, 2 * number + 1, b"x")).until(1)
    }),
    case("5.2", "more DATA than the window", &[Want::GoAway(FLOW), Want::Reset(1, FLOW)], || {
        let open = begun().ask(1, 0, "POST", "/stuck", &[]);
        (0..640).fold(open, |wire, _| wire.frame(DATA, 0, 1, &[0; 16384]))
    }),
    case("5.3.2", "a stream that depends on itself", &[Want::Answer(1, 200)], || {
        let block = coded(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")]);
        let payload = [&[0, 0, 0, 1, 16][..], &block].concat();
        begun().frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &payload)
    })
    .instead(Want::Reset(1, PROTOCOL), "h2 keeps to RFC 7540 §5.3.1, which made it an error of the stream; no client sends it"),
    case("5.3.2", "a stream that depends on another", &[Want::Answer(1, 200)], || {
        let block = coded(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")]);
        let payload = [&[0x80, 0, 0, 9, 255][..], &block].concat();
        begun().frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &payload)
    }),
    case("6.1", "DATA on stream 0", ENDS_PROTOCOL, || begun().frame(DATA, 0, 0, b"x")),
    case("6.1", "DATA: padding of all its length", ENDS_PROTOCOL, || begun().post(1).frame(DATA, PADDED, 1, &[3, 0, 0])),
    case("6.1", "DATA: padded, without a length of it", &[Want::GoAway(PROTOCOL), Want::GoAway(SIZE)], || {
        begun().post(1).frame(DATA, PADDED, 1, &[])
    }),
    case("6.1", "DATA: padded", &[Want::Answer(1, 200)], || {
        begun().post(1).frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', 0, 0])
    }),
    case("6.2", "HEADERS on stream 0", ENDS_PROTOCOL, || begun().get(0)),
    case("6.2", "HEADERS: padding of all its length", ENDS_PROTOCOL, || {
        begun().frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[9, 0x82, 0x87])
    }),
    case("6.2", "HEADERS: shorter than its priority", &[Want::GoAway(SIZE), Want::GoAway(PROTOCOL)], || {
        begun().frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &[0, 0])
    }),
    case("6.3", "PRIORITY on stream 0", ENDS_PROTOCOL, || begun().frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 16])),
    case("6.3", "PRIORITY of four bytes", &[Want::Reset(1, SIZE), Want::GoAway(SIZE)], || {
        begun().frame(PRIORITY, 0, 1, &[0, 0, 0, 1])
    }),
    case("6.4", "RST_STREAM on stream 0", ENDS_PROTOCOL, || begun().frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])),
    case("6.4", "RST_STREAM of three bytes", ENDS_SIZE, || begun().post(1).frame(RST_STREAM, 0, 1, &[0, 0, 8])),
    case("6.5", "SETTINGS on a stream", ENDS_PROTOCOL, || begun().frame(SETTINGS, 0, 1, &[])),
    case("6.5", "SETTINGS of five bytes", ENDS_SIZE, || begun().frame(SETTINGS, 0, 0, &[0; 5])),
    case("6.5", "SETTINGS that acknowledge and say more", ENDS_SIZE, || begun().frame(SETTINGS, ACK, 0, &[0; 6])),
    case("6.5", "an acknowledgement that nobody waits for", &[Want::Fine, Want::GoAway(PROTOCOL)], || {
        (0..3).fold(begun(), |wire, _| wire.frame(SETTINGS, ACK, 0, &[]))
    }),
    case("6.5.2", "an unknown setting", FINE, || set(&[(0x77, 7)])),
    case("6.5.2", "SETTINGS_ENABLE_PUSH of 2", ENDS_PROTOCOL, || set(&[(2, 2)])),
    case("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE past 31 bits", ENDS_FLOW, || set(&[(4, 1 << 31)]))
        .instead(Want::GoAway(PROTOCOL), CODE),
    case("6.5.2", "SETTINGS_MAX_FRAME_SIZE too small", ENDS_PROTOCOL, || set(&[(5, 16383)])),
    case("6.5.2", "SETTINGS_MAX_FRAME_SIZE too large", ENDS_PROTOCOL, || set(&[(5, 1 << 24)])),
    case("6.5.2", "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2 (RFC 8441 §3)", ENDS_PROTOCOL, || set(&[(8, 2)])),
    case("6.5.2", "the same setting twice", FINE, || set(&[(4, 1), (4, 65535)])),
    case("6.6", "PUSH_PROMISE", ENDS_PROTOCOL, || begun().frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
    case("6.7", "PING on a stream", ENDS_PROTOCOL, || begun().frame(PING, 0, 1, &[0; 8])),
    case("6.7", "PING of seven bytes", ENDS_SIZE, || begun().frame(PING, 0, 0, &[0; 7])),
    case("6.7", "an answer to no PING", FINE, || begun().frame(PING, ACK, 0, &[9; 8])),
    case("6.8", "GOAWAY on a stream", ENDS_PROTOCOL, || begun().frame(GOAWAY, 0, 1, &[0; 8])),
    case("6.8", "GOAWAY of seven bytes", ENDS_SIZE, || begun().frame(GOAWAY, 0, 0, &[0; 7])),
    case("6.9", "WINDOW_UPDATE of three bytes", ENDS_SIZE, || begun().frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
    case("6.9", "WINDOW_UPDATE by nought on a stream", &[Want::Reset(1, PROTOCOL), Want::GoAway(PROTOCOL)], || {
        begun().post(1).window(1, 0)
    }),
    case("6.9", "WINDOW_UPDATE by nought on the connection", ENDS_PROTOCOL, || begun().window(0, 0)),
    case("6.9.1", "a stream's window past 31 bits", &[Want::Reset(1, FLOW), Want::GoAway(FLOW)], || {
        begun().post(1).window(1, 0x7fff_ffff)
    }),
    case("6.9.1", "the connection's window past 31 bits", ENDS_FLOW, || begun().window(0, 0x7fff_ffff)),
    case("6.9.2", "an initial window that moves a stream's past 31 bits", ENDS_FLOW, || {
        begun().post(1).window(1, 0x7fff_0000).settings(&[(4, 0x1_0001)])
    }),
    case("6.10", "CONTINUATION on stream 0", ENDS_PROTOCOL, || half().frame(CONTINUATION, END_HEADERS, 0, &[])),
    case("6.10", "CONTINUATION after the block's end", ENDS_PROTOCOL, || {
        begun().post(1).frame(CONTINUATION, END_HEADERS, 1, &[])
    }),
    case("6.10", "CONTINUATION after DATA", ENDS_PROTOCOL, || {
        begun().post(1).frame(DATA, 0, 1, b"x").frame(CONTINUATION, END_HEADERS, 1, &[])
    }),
    case("8.1", "a second block that does not end the stream", MALFORMED, || {
        begun().post(1).frame(DATA, 0, 1, b"x").frame(HEADERS, END_HEADERS, 1, &coded(&[("a", "b")]))
    }),
    case("8.1", "pseudo-header fields among trailers (8.3)", MALFORMED, || {
        let trailers = coded(&[(":path", "/private")]);
        begun().post(1).frame(DATA, 0, 1, b"x").frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers)
    })
    .instead(Want::Answer(1, 200), "h2 reads them apart from the other fields and shows them to nobody; to refuse them the header tables would have to be kept a second time"),
    case("8.1.1", "a length greater than the body", MALFORMED, || {
        begun().ask(1, 0, "POST", "/a", &[("content-length", "2")]).frame(DATA, END_STREAM, 1, b"x")
    }),
    case("8.1.1", "a length smaller than the body", MALFORMED, || {
        begun().ask(1, 0, "POST", "/a", &[("content-length", "2")]).frame(DATA, END_STREAM, 1, b"xyz")
    }),
    case("8.1.1", "a length and no body", MALFORMED, || more(&[("content-length", "2")])),
    case("8.2.1", "a name in capitals", MALFORMED, || more(&[("Accept", "x")])),
    case("8.2.1", "a name with a colon in it", MALFORMED, || more(&[("a:b", "x")])),
    case("8.2.1", "a name with a space", MALFORMED, || more(&[("a b", "x")])),
    case("8.2.1", "a line's end in a value", MALFORMED, || more(&[("a", "x\r\ny: z")])),
    case("8.2.1", "NUL in a value", MALFORMED, || more(&[("a", "x\0")])),
    case("8.2.2", "connection", MALFORMED, || more(&[("connection", "close")])),
    case("8.2.2", "keep-alive", MALFORMED, || more(&[("keep-alive", "1")])),
    case("8.2.2", "proxy-connection", MALFORMED, || more(&[("proxy-connection", "close")])),
    case("8.2.2", "transfer-encoding", MALFORMED, || more(&[("transfer-encoding", "chunked")])),
    case("8.2.2", "upgrade", MALFORMED, || more(&[("upgrade", "h2c")])),
    case("8.2.2", "te other than trailers", MALFORMED, || more(&[("te", "gzip")])),
    case("8.2.2", "te: trailers", &[Want::Answer(1, 200)], || more(&[("te", "trailers")])),
    case("8.3", "an unknown pseudo-header field", MALFORMED, || {
        fields(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h"), (":x", "y")])
    }),
    case("8.3", "one after other fields", MALFORMED, || {
        fields(&[(":method", "GET"), (":scheme", "https"), (":authority", "h"), ("a", "b"), (":path", "/a")])
    }),
    case("8.3", "one that answers have", MALFORMED, || {
        fields(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h"), (":status", "200")])
    }),
    case("8.3", "one twice", MALFORMED, || {
        fields(&[(":method", "GET"), (":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")])
    }),
    case("8.3.1", "no method", MALFORMED, || fields(&[(":scheme", "https"), (":path", "/a"), (":authority", "h")])),
    case("8.3.1", "no scheme", MALFORMED, || fields(&[(":method", "GET"), (":path", "/a"), (":authority", "h")])),
    case("8.3.1", "no path", MALFORMED, || fields(&[(":method", "GET"), (":scheme", "https"), (":authority", "h")])),
    case("8.3.1", "an empty path", MALFORMED, || {
        fields(&[(":method", "GET"), (":scheme", "https"), (":path", ""), (":authority", "h")])
    }),
    case("8.3.1", "nothing at all", MALFORMED, || hpack(&[])),
    case("8.5", "CONNECT", &[Want::Answer(1, 405), Want::Reset(1, PROTOCOL)], || {
        fields(&[(":method", "CONNECT"), (":authority", "h:443")])
    }),
    case("8.5", "CONNECT with a path", MALFORMED, || {
        fields(&[(":method", "CONNECT"), (":scheme", "https"), (":path", "/a"), (":authority", "h")])
    }),
    case("8.5", "CONNECT with a protocol, which nobody offered (RFC 8441 §4)", MALFORMED, || {
        let fields_of = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/a"), (":authority", "h")];
        fields(&fields_of)
    }),
];
