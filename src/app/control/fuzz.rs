//! Fuzz target: the control socket's bytes, both ways. A line is bounded, a command is what was sent, and
//! a refusal says nothing of what was in it.

use futures_util::FutureExt as _;

use super::command::Command;
use super::server::understand;
use super::wire::{Answer, PROTOCOL, Request, parse, read_line};

/// Longest line here, so that small inputs can be too long.
const LONGEST: u64 = 2048;
/// Longest refusal, bytes: its own words and a number or two.
const LONGEST_REFUSAL: usize = 160;

/// `wire.rs` and `server.rs` over what a client sends, and over what a daemon answers.
pub fn target(bytes: &[u8]) {
    let mut from = bytes;
    loop {
        let before = from;
        // Bytes in memory are never waited for.
        let Some(read) = read_line(&mut from, LONGEST).now_or_never() else { panic!("it waits") };
        let end = before.iter().position(|byte| *byte == b'\n');
        let Ok(line) = read else {
            assert!(end.is_none_or(|end| end as u64 >= LONGEST), "a good line is refused");
            break;
        };
        assert_eq!(before.get(..line.len()), Some(&line[..]));
        assert_eq!(end, Some(line.len()), "a line ends at its newline");
        assert!(line.len() as u64 <= LONGEST);
        request(&line);
        answer(&line);
    }
}

fn request(line: &[u8]) {
    match understand(line) {
        Ok(command) => {
            let written = wire(&command);
            let Ok(again) = understand(written.as_bytes()) else {
                panic!("{written} is not understood twice")
            };
            assert_eq!(wire(&again), written, "it is another command the second time");
        }
        Err(failure) => {
            assert!(failure.message.len() <= LONGEST_REFUSAL, "{failure:?}");
            assert!(!failure.message.contains('"'), "{failure:?} quotes");
        }
    }
}

fn wire(command: &Command) -> String {
    let request = Request { protocol: PROTOCOL, command };
    serde_json::to_string(&request).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn answer(line: &[u8]) {
    let written = |answer: &Answer| serde_json::to_string(answer).unwrap_or_else(|error| panic!("{error}"));
    match parse::<Answer>(line) {
        Ok(answer) => {
            let once = written(&answer);
            let again = parse::<Answer>(once.as_bytes()).map(|answer| written(&answer));
            assert_eq!(again, Ok(once), "it is another answer the second time");
        }
        Err(detail) => assert!(detail.len() <= LONGEST_REFUSAL, "{detail}"),
    }
}
