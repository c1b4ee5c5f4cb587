//! HTTP/2 in raw frames through the real binary: RFC 9113 walked section by section, and the floods that have
//! names. docs/http.md is made from the tables.

mod floods;
pub mod page;
mod rfc;
mod wire;

use std::io::Read as _;

use self::rfc::{CASES, Case, Want};
use self::wire::Seen;
use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;

/// A stream that no case uses: it is asked for last, and shows whether the connection goes on.
const PROBE: u32 = 1001;

/// A gate before an upstream, and before one under `/stuck` that takes connections and reads nothing.
fn gate_before(upstream: &Recorder, stuck: &std::net::TcpListener) -> Gate {
    let stuck = stuck.local_addr().expect("bound");
    Gate::start_from_file(&format!(
        r#"
        [listen]
        workers = 1
        [limits]
        stall_timeout = "2s"
        head_timeout = "2s"
        body_bytes = "1GiB"
        [upstreams.app]
        servers = ["{}"]
        [upstreams.stuck]
        servers = ["{stuck}"]
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        [[routes]]
        path = "/stuck"
        upstream = "stuck"
        auth = "none"
        "#,
        upstream.address
    ))
}

fn stuck() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// What came of a case.
fn outcome(seen: &Seen) -> Vec<Want> {
    let alive = seen.answers.get(&PROBE) == Some(&200);
    if let Some(code) = seen.goaway.filter(|code| *code != rfc::NO_ERROR) {
        return vec![Want::GoAway(code)];
    }
    if !alive {
        return vec![Want::Ends];
    }
    let answers = seen.answers.iter().filter(|(stream, _)| **stream != PROBE);
    let mut found: Vec<Want> = answers.map(|(stream, status)| Want::Answer(*stream, *status)).collect();
    // An answer that is whole may be followed by NO_ERROR: no more of the body is wanted (§8.1).
    let resets = seen.resets.iter().filter(|(_, code)| **code != rfc::NO_ERROR);
    found.extend(resets.map(|(stream, code)| Want::Reset(*stream, *code)));
    if found.is_empty() {
        found.push(Want::Fine);
    }
    found
}

fn judge(case: &Case, seen: &Seen) -> Result<(), String> {
    let found = outcome(seen);
    let conforms = case.rfc.iter().any(|want| found.contains(want));
    match case.instead {
        None if conforms => Ok(()),
        Some(_) if conforms => Err(format!("{found:?} is what the standard asks for: no longer a deviation")),
        Some((instead, _)) if found.contains(&instead) => Ok(()),
        _ => Err(format!("{found:?} of {seen:?}, not {:?}", case.rfc)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_9113_is_kept_frame_by_frame_but_for_what_the_page_says() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let client = gate.client();
    let mut wrong = Vec::new();
    for case in CASES {
        let stream = client.stream_http2().await.expect("the gate speaks HTTP/2");
        // Answers overtake one another.
        let wants = case.instead.as_ref().map_or(case.rfc, |(instead, _)| std::slice::from_ref(instead));
        let answered = wants.iter().filter_map(|want| match want {
            Want::Answer(stream, _) => Some(*stream),
            _ => None,
        });
        let last: Vec<u32> = answered.chain([PROBE]).collect();
        let seen = (case.say)().get(PROBE).converse_until(stream, &last).await;
        if let Err(why) = judge(case, &seen) {
            wrong.push(format!("{} {}: {why}", case.section, case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    assert!(CASES.len() >= 100, "{}", CASES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_acknowledged_and_pings_answered_with_what_they_said() {
    let (upstream, stuck) = (Recorder::start().await, stuck());
    let gate = gate_before(&upstream, &stuck);
    let stream = gate.client().stream_http2().await.expect("the gate speaks HTTP/2");
    let wire = wire::Wire::begun().settings(&[(4, 1000)]).frame(wire::PING, 0, 0, b"Keepgate");
    let seen = wire.get(1).converse(stream, 1).await;
    assert_eq!(seen.acknowledged, 2, "{seen:?}");
    assert_eq!(seen.pongs, [b"Keepgate".to_vec()]);
}

/// Largest resident memory of a process so far, KiB.
fn peak_memory(pid: u32) -> u64 {
    let mut status = String::new();
    let file = std::fs::File::open(format!("/proc/{pid}/status"));
    file.and_then(|mut file| file.read_to_string(&mut status)).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
