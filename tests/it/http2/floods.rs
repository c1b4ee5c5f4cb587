//! The floods of HTTP/2 that have names, each from one connection at loopback and bounded in its count: the
//! connection ends with a word, memory stays where it was, and everybody else is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rfc::{CALM, PROTOCOL};
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, Seen,
    Wire, coded,
};
use super::{gate_before, peak_memory, stuck};
use crate::harness::client::{Client, plain};
use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;

/// How a flood begins, and what is sent again and again.
pub struct Flood {
    pub name: &'static str,
    pub known_as: &'static str,
    begin: fn() -> Wire,
    /// The n-th.
    next: fn(Wire, u32) -> Wire,
    /// How often at most.
    most: u32,
    /// The connection ends with this code, counted as that.
    pub code: u32,
    pub counted: &'static str,
}

const fn flood(
    (name, known_as): (&'static str, &'static str),
    begin: fn() -> Wire,
    next: fn(Wire, u32) -> Wire,
    counted: &'static str,
) -> Flood {
    Flood { name, known_as, begin, next, most: 20_000, code: CALM, counted }
}

impl Flood {
    const fn code(mut self, code: u32) -> Self {
        self.code = code;
        self
    }
}

const fn stream(number: u32) -> u32 {
    2 * number + 1
}

const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub const FLOODS: &[Flood] = &[
    flood(
        ("streams opened and reset", "rapid reset, CVE-2023-44487"),
        Wire::begun,
        |wire, n| wire.get(stream(n)).frame(RST_STREAM, 0, stream(n), &CANCEL),
        "calm or resets",
    ),
    flood(
        ("streams opened and reset one by one", "rapid reset, slower than a batch"),
        Wire::begun,
        |wire, n| wire.post(stream(n)).frame(PING, 0, 0, &[0; 8]).frame(RST_STREAM, 0, stream(n), &CANCEL),
        "calm or resets",
    ),
    flood(
        ("streams that have to be reset, by a window update of nought", "MadeYouReset, CVE-2025-8671"),
        Wire::begun,
        |wire, n| wire.get(stream(n)).window(stream(n), 0),
        "protocol",
    )
    .code(PROTOCOL),
    flood(
        ("streams that have to be reset, by a window past its end", "MadeYouReset, CVE-2025-8671"),
        Wire::begun,
        |wire, n| wire.get(stream(n)).window(stream(n), 0x7fff_ffff),
        "calm",
    ),
    flood(
        ("streams that have to be reset, by DATA after their end", "MadeYouReset, CVE-2025-8671"),
        Wire::begun,
        |wire, n| wire.get(stream(n)).frame(DATA, 0, stream(n), b"x"),
        "protocol",
    )
    .code(PROTOCOL),
    flood(
        ("streams that have to be reset, by a malformed head", "MadeYouReset, CVE-2025-8671"),
        Wire::begun,
        |wire, n| wire.ask(stream(n), END_STREAM, "GET", "/a", &[("connection", "x")]),
        "calm",
    ),
    flood(
        ("a head without end", "CONTINUATION flood, CVE-2024-27316"),
        || Wire::begun().frame(HEADERS, END_STREAM, 1, &coded(&[(":method", "GET")])),
        |wire, _| wire.frame(CONTINUATION, 0, 1, &coded(&[("a", &"x".repeat(500))])),
        "calm",
    ),
    flood(
        ("a head without end in empty pieces", "CVE-2019-9518"),
        || Wire::begun().frame(HEADERS, END_STREAM, 1, &coded(&[(":method", "GET")])),
        |wire, _| wire.frame(CONTINUATION, 0, 1, &[]),
        "calm",
    ),
    flood(
        ("empty heads", "CVE-2019-9518"),
        Wire::begun,
        |wire, n| wire.frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &[]),
        "calm or empty_frames",
    ),
    flood(
        ("empty DATA", "CVE-2019-9518"),
        || Wire::begun().post(1),
        |wire, _| wire.frame(DATA, 0, 1, &[]),
        "calm or empty_frames",
    ),
    flood(
        ("DATA of a single byte", "CVE-2019-9511's kind"),
        || Wire::begun().post(1),
        |wire, _| wire.frame(DATA, 0, 1, b"x"),
        "calm",
    ),
    flood(
        ("SETTINGS", "CVE-2019-9515"),
        Wire::begun,
        |wire, n| wire.settings(&[(4, 65535 + n % 2)]),
        "settings",
    ),
    flood(
        ("acknowledgements of SETTINGS", "CVE-2019-9515's kind"),
        Wire::begun,
        |wire, _| wire.frame(SETTINGS, ACK, 0, &[]),
        "settings or protocol",
    ),
    flood(("PING", "CVE-2019-9512"), Wire::begun, |wire, _| wire.frame(PING, 0, 0, &[0; 8]), "pings"),
    flood(
        ("PRIORITY", "CVE-2019-9513"),
        Wire::begun,
        |wire, n| wire.frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 9]),
        "priorities",
    ),
    flood(
        ("window updates that nothing asked for", "CVE-2019-9511"),
        Wire::begun,
        |wire, _| wire.window(0, 1),
        "window_updates",
    ),
    flood(
        ("frames of no known kind", "RFC 9113 §10.5"),
        Wire::begun,
        |wire, _| wire.frame(0x77, 0, 0, &[]),
        "unknown_frames",
    ),
    flood(
        ("a small block that stands for a huge head", "HPACK bomb, CVE-2016-6581"),
        || {
            // Into the table, and then named again and again.
            let mut block =
                coded(&[(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")]);
            block.push(0x40);
            block.extend_from_slice(&coded(&[("a", &"x".repeat(3000))])[1..]);
            Wire::begun().frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
        },
        |wire, n| wire.frame(HEADERS, END_STREAM | END_HEADERS, stream(n + 1), &[0xbe; 16384]),
        "calm",
    ),
];

/// How a flood's connection ended: by which code, if it was said.
async fn run(client: &Client, flood: &Flood) -> Result<Option<u32>, String> {
    let tls = client.stream_http2().await.map_err(|error| format!("{error:?}"))?;
    let (mut read, mut write) = tokio::io::split(tls);
    let writing = async {
        let mut wire = (flood.begin)();
        for number in 0..flood.most {
            wire = (flood.next)(wire, number);
            if number % 50 == 49 {
                let bytes = std::mem::take(&mut wire.bytes);
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let (mut seen, mut bytes, mut piece) = (Seen::default(), Vec::new(), vec![0; 16384]);
        while let Ok(size @ 1..) = read.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..size]);
            seen.take(&mut bytes);
        }
        seen.goaway
    };
    tokio::select! {
        () = writing => Err("no end".into()),
        code = reading => Ok(code),
        () = tokio::time::sleep(std::time::Duration::from_secs(30)) => Err("the connection stays open".into()),
    }
}

/// Connections ended, by reason.
async fn ended(gate: &Gate, reason: &str) -> u64 {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let of = |reason: &str| {
        let series = format!("keepgate_http2_connections_ended_total{{reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series)).expect("a line for each reason");
        value.parse::<u64>().expect("a number")
    };
    reason.split(" or ").map(of).sum()
}

/// Asks again and again until told to stop; says how many requests were served, or what was not.
async fn somebody_else(client: Client, stop: Arc<AtomicBool>) -> Result<u32, String> {
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.get("/meanwhile").try_send().await.map_err(|error| format!("{error:?}"))?;
        if answer.status != 200 {
            return Err(format!("{}", answer.status));
        }
        served += 1;
    }
    Ok(served)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flood_ends_its_own_connection_and_holds_up_nobody_else() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let attacker = gate.client().from("127.0.0.66");
    let before = peak_memory(gate.pid());
    let stop = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn(somebody_else(gate.client(), Arc::clone(&stop)));
    let mut wrong = Vec::new();
    for flood in FLOODS {
        let counted = ended(&gate, flood.counted).await;
        match run(&attacker, flood).await {
            // Its last words may be lost where it goes on sending.
            Ok(None) => wrong.push(format!("{}: ended without a word", flood.name)),
            Ok(Some(code))
                if code != flood.code && !(flood.counted.contains("protocol") && code == PROTOCOL) =>
            {
                wrong.push(format!("{}: GOAWAY {code}", flood.name));
            }
            Ok(Some(_)) => {}
            Err(why) => wrong.push(format!("{}: {why}", flood.name)),
        }
        if ended(&gate, flood.counted).await == counted {
            wrong.push(format!("{}: not counted as {}", flood.name, flood.counted));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let served = others.await.expect("it does not panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(served.as_ref().is_ok_and(|served| *served > 20), "{served:?}");
    let grown = peak_memory(gate.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "memory grew by {grown} KiB");
}

/// The slower form of rapid reset: each stream has begun, and an upstream heard of it, before it is reset.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_once_they_have_begun_run_out_too() {
    const AT_ONCE: u32 = 50;
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let mut tls = gate.client().stream_http2().await.expect("the gate speaks HTTP/2");
    let (mut seen, mut bytes, mut piece) = (Seen::default(), Vec::new(), vec![0; 16384]);
    let mut said = Wire::begun().bytes;
    for round in 0..20 {
        let streams = round * AT_ONCE..(round + 1) * AT_ONCE;
        let open = streams.clone().fold(Wire::default(), |wire, number| wire.post(stream(number)));
        said.extend(open.frame(PING, 0, 0, &[0; 8]).bytes);
        if tls.write_all(&said).await.is_err() {
            break;
        }
        // What was said before the answer to PING was heard.
        let answered = seen.pongs.len();
        while seen.pongs.len() == answered && !seen.closed {
            match tls.read(&mut piece).await {
                Ok(size @ 1..) => bytes.extend_from_slice(&piece[..size]),
                _ => seen.closed = true,
            }
            seen.take(&mut bytes);
        }
        let reset = |wire: Wire, number| wire.frame(RST_STREAM, 0, stream(number), &CANCEL);
        said = streams.fold(Wire::default(), reset).bytes;
    }
    assert_eq!((seen.goaway, seen.closed), (Some(CALM), true));
    assert_eq!(ended(&gate, "resets").await, 1);
}

/// A head that does not come to its end holds the connection no longer than in HTTP/1.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let half = coded(&[(":method", "GET")]);
    let block = Wire::begun().frame(HEADERS, END_STREAM, 1, &half);
    let frame = Wire::begun().raw(&[0, 0, 40, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1]).raw(&half);
    let head = Wire::begun().raw(&[0, 0, 40, HEADERS]);
    let after = Wire::begun().get(1).until(1).frame(HEADERS, END_STREAM, 3, &half);
    for late in [block, frame, head, after] {
        let tls = gate.client().stream_http2().await.expect("the gate speaks HTTP/2");
        let seen = late.converse(tls, u32::MAX).await;
        assert!(seen.closed, "{seen:?}");
    }
}

/// A client that opens no window is waited for as long as one that takes no bytes (CVE-2019-9517).
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_nobody_takes_is_held_for_no_longer_than_the_limit() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let client = gate.client();
    let tls = client.stream_http2().await.expect("the gate speaks HTTP/2");
    let wire = Wire::default().raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").settings(&[(4, 0)]);
    let asked = (0..50).fold(wire, |wire, number| wire.get(stream(number)));
    let seen = asked.converse(tls, u32::MAX).await;
    assert_eq!((seen.answers.len(), seen.data), (50, 0), "{seen:?}");
    assert!(seen.closed);
    assert_eq!(ended(&gate, "stalled").await, 1);
    client.get("/after").send().await.expect(200);
}

/// Questions whose answers nobody reads must not be read either, or the answers pile up (CVE-2019-9512).
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_answers_is_not_listened_to_for_ever() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let (client, before) = (gate.client(), peak_memory(gate.pid()));
    let mut tls = client.stream_http2().await.expect("the gate speaks HTTP/2");
    tls.write_all(&Wire::begun().bytes).await.expect("taken");
    let mut sent = 0;
    let writing = async {
        for number in 0..200_000 {
            let bytes = Wire::default().get(stream(number)).bytes;
            if tls.write_all(&bytes).await.is_err() {
                break;
            }
            sent = number;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, writing).await.expect("it is cut");
    let grown = peak_memory(gate.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "memory grew by {grown} KiB over {sent} requests");
    client.get("/after").send().await.expect(200);
}

/// A head of many lines costs an answer, and no connection.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_header_lines_are_431_and_the_connection_goes_on() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let tls = gate.client().stream_http2().await.expect("the gate speaks HTTP/2");
    let many: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let seen = Wire::begun().ask(1, END_STREAM, "GET", "/a", &many).until(1).get(3).converse(tls, 3).await;
    assert_eq!(seen.answers, [(1, 431), (3, 200)].into(), "{seen:?}");
}
