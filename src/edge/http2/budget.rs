//! What a client may send on one HTTP/2 connection for nothing: frames that ask for work and bring no request
//! any further. Two balances, each a token bucket that useful work fills too: one of resets (rapid reset,
//! CVE-2023-44487), one of the other frames that control something or are empty (CVE-2019-9511 to 9518).
//!
//! An honest client stays far below both: it answers or acknowledges what it was sent, and each answer and the
//! data that it is sent earn more than that takes: one for each KiB, since there are clients that tell of every 4 KiB
//! that they have read, twice (Go's `net/http`). h2 has bounds of its own on what costs memory
//! ([`protocols`](crate::edge::protocols)); these are about work.

use std::time::Instant;

use super::frames::{
    CONTINUATION, DATA, Frame, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::observe::metrics::http2::Ended;

/// Error codes of RFC 9113 §7.
pub mod code {
    /// PROTOCOL_ERROR
    pub const PROTOCOL: u32 = 0x1;
    /// FRAME_SIZE_ERROR
    pub const FRAME_SIZE: u32 = 0x6;
    /// ENHANCE_YOUR_CALM
    pub const CALM: u32 = 0xb;
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// For GOAWAY.
    pub code: u32,
    /// For whoever counts.
    pub why: Ended,
}

/// A token bucket that asks for the time only when it is empty.
#[derive(Debug)]
struct Bucket {
    left: u32,
    most: u32,
    per_second: u32,
    filled_at: Instant,
}

impl Bucket {
    const fn full(most: u32, per_second: u32, now: Instant) -> Self {
        Self { left: most, most, per_second, filled_at: now }
    }

    fn earn(&mut self, by: u32) {
        self.left = self.left.saturating_add(by).min(self.most);
    }

    /// Whether there was enough.
    fn take(&mut self, cost: u32, now: impl Fn() -> Instant) -> bool {
        if self.left < cost {
            let now = now();
            let millis = now.saturating_duration_since(self.filled_at).as_millis();
            let earned = u32::try_from(millis.saturating_mul(self.per_second.into()) / 1000);
            let earned = earned.unwrap_or(self.most);
            if earned > 0 {
                self.filled_at = now;
                self.earn(earned);
            }
        }
        let enough = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }
}

/// Resets at once: more than all streams of a connection, closed twice over, as by a reader who turns pages.
const RESETS: u32 = 250;
const RESETS_PER_SECOND: u32 = 20;
/// Other frames at once, and for how many a second there is time: answering one costs about a microsecond.
const CONTROL: u32 = 2000;
const CONTROL_PER_SECOND: u32 = 200;
/// Each SETTINGS is answered and looks at every stream.
const SETTINGS_COST: u32 = 20;
/// So many bytes of data that are sent to a client earn one, however they are cut: single bytes that it asks for
/// earn next to nothing (CVE-2019-9511).
const PAID: usize = 1024;
/// Earned by an answered request: window updates and priorities that honest clients send.
const EARNED: u32 = 4;

/// One connection's balances.
#[derive(Debug)]
pub struct Budget {
    resets: Bucket,
    control: Bucket,
    /// Bytes of data that have earned nothing yet.
    unpaid: usize,
    begun: bool,
}

impl Budget {
    /// Full ones.
    pub const fn new(now: Instant) -> Self {
        let resets = Bucket::full(RESETS, RESETS_PER_SECOND, now);
        Self { resets, control: Bucket::full(CONTROL, CONTROL_PER_SECOND, now), unpaid: 0, begun: false }
    }

    /// A frame came from the client.
    pub fn received(&mut self, frame: &Frame, now: impl Fn() -> Instant) -> Result<(), Breach> {
        // The preface ends in SETTINGS (RFC 9113 §3.4), which h2 does not insist on.
        if !std::mem::replace(&mut self.begun, true) && (frame.kind != SETTINGS || frame.is_ack()) {
            return Err(Breach { code: code::PROTOCOL, why: Ended::Protocol });
        }
        check(frame)?;
        let (cost, why) = match frame.kind {
            RST_STREAM => {
                return enough(self.resets.take(1, now), Ended::Resets);
            }
            DATA if !frame.is_empty() || frame.ends_stream() => return Ok(()),
            HEADERS if frame.length > 0 => return Ok(()),
            DATA | HEADERS | CONTINUATION => (1, Ended::EmptyFrames),
            SETTINGS if !frame.is_ack() => (SETTINGS_COST, Ended::Settings),
            SETTINGS => (1, Ended::Settings),
            PING => (1, Ended::Pings),
            PRIORITY => (1, Ended::Priorities),
            WINDOW_UPDATE => (1, Ended::WindowUpdates),
            _ => (1, Ended::UnknownFrames),
        };
        enough(self.control.take(cost, now), why)
    }

    /// A frame went to the client.
    pub fn sent(&mut self, frame: &Frame) {
        // By an answer's head: who breaks off a download after it does as people do.
        if frame.kind == HEADERS {
            self.resets.earn(1);
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.ends_stream() {
            self.control.earn(EARNED);
        }
        if frame.kind == DATA {
            self.unpaid += frame.length;
            self.control.earn(u32::try_from(self.unpaid / PAID).unwrap_or(u32::MAX));
            self.unpaid %= PAID;
        }
    }
}

const fn enough(enough: bool, why: Ended) -> Result<(), Breach> {
    if enough { Ok(()) } else { Err(Breach { code: code::CALM, why }) }
}

/// Sizes and streams that are wrong whatever the connection's state, each by its own code, where h2 says
/// PROTOCOL_ERROR for all (RFC 9113 §6). A stream's error may end the connection (§5.4.1).
fn check(frame: &Frame) -> Result<(), Breach> {
    let on_connection = frame.stream == 0;
    let (placed, sized) = match frame.kind {
        PRIORITY => (!on_connection, frame.length == 5),
        RST_STREAM => (!on_connection, frame.length == 4),
        SETTINGS if frame.is_ack() => (on_connection, frame.length == 0),
        SETTINGS => (on_connection, frame.length.is_multiple_of(6)),
        PING => (on_connection, frame.length == 8),
        GOAWAY => (on_connection, frame.length >= 8),
        WINDOW_UPDATE => (true, frame.length == 4),
        _ => (true, true),
    };
    match (placed, sized) {
        (true, true) => Ok(()),
        (false, _) => Err(Breach { code: code::PROTOCOL, why: Ended::Protocol }),
        (true, false) => Err(Breach { code: code::FRAME_SIZE, why: Ended::FrameSize }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, length: usize, flags: u8, stream: u32) -> Frame {
        Frame { length, kind, flags, stream, ..Frame::default() }
    }

    const RESET: Frame = Frame { length: 4, kind: RST_STREAM, flags: 0, stream: 1, start: [0; 8] };

    fn begun(now: Instant) -> Budget {
        let mut budget = Budget::new(now);
        budget.received(&frame(SETTINGS, 0, 0, 0), || now).unwrap();
        budget
    }

    #[test]
    fn what_does_not_begin_with_settings_is_no_http2() {
        let now = Instant::now();
        for first in [frame(HEADERS, 9, 5, 1), frame(SETTINGS, 0, 1, 0), frame(PING, 8, 0, 0)] {
            let breach = Budget::new(now).received(&first, || now).unwrap_err();
            assert_eq!(breach.code, code::PROTOCOL, "{first:?}");
        }
    }

    #[test]
    fn resets_run_out_and_come_back_with_time() {
        let start = Instant::now();
        let mut budget = begun(start);
        for _ in 0..RESETS {
            budget.received(&RESET, || start).unwrap();
        }
        let breach = budget.received(&RESET, || start).unwrap_err();
        assert_eq!(breach, Breach { code: code::CALM, why: Ended::Resets });
        let later = start + Duration::from_secs(1);
        for _ in 0..RESETS_PER_SECOND {
            budget.received(&RESET, || later).unwrap();
        }
        budget.received(&RESET, || later).unwrap_err();
    }

    #[test]
    fn who_gets_answers_may_reset_as_often() {
        let start = Instant::now();
        let mut budget = begun(start);
        for _ in 0..10 * RESETS {
            budget.received(&RESET, || start).unwrap();
            budget.sent(&frame(HEADERS, 20, 4, 3));
        }
    }

    #[test]
    fn a_download_pays_for_its_window_updates_and_single_bytes_do_not() {
        let start = Instant::now();
        let update = frame(WINDOW_UPDATE, 4, 0, 1);
        let mut budget = begun(start);
        for _ in 0..10 * CONTROL {
            budget.sent(&frame(DATA, 16384, 0, 1));
            // For the stream and the connection, after every 4 KiB.
            for _ in 0..8 {
                budget.received(&update, || start).unwrap();
            }
        }
        for _ in 0..10 * CONTROL {
            // Small pieces of an event stream, eight of them before the client tells that it has read.
            (0..8).for_each(|_| budget.sent(&frame(DATA, 512, 0, 1)));
            budget.received(&update, || start).unwrap();
            budget.received(&update, || start).unwrap();
        }
        let mut drip = || {
            budget.sent(&frame(DATA, 1, 0, 1));
            budget.received(&update, || start)
        };
        let breach = std::iter::repeat_with(&mut drip).take(10 * CONTROL as usize).find_map(Result::err);
        assert_eq!(breach, Some(Breach { code: code::CALM, why: Ended::WindowUpdates }));
    }

    #[test]
    fn every_kind_that_brings_nothing_runs_out() {
        let start = Instant::now();
        for (kind, length, stream, why) in [
            (DATA, 0, 1, Ended::EmptyFrames),
            (HEADERS, 0, 1, Ended::EmptyFrames),
            (CONTINUATION, 0, 1, Ended::EmptyFrames),
            (PRIORITY, 5, 1, Ended::Priorities),
            (SETTINGS, 0, 0, Ended::Settings),
            (PING, 8, 0, Ended::Pings),
            (WINDOW_UPDATE, 4, 0, Ended::WindowUpdates),
            (0x77, 3, 0, Ended::UnknownFrames),
        ] {
            let mut budget = begun(start);
            let mut send = || budget.received(&frame(kind, length, 0, stream), || start);
            let breach = std::iter::repeat_with(&mut send).take(CONTROL as usize + 1).find_map(Result::err);
            assert_eq!(breach, Some(Breach { code: code::CALM, why }), "{kind}");
        }
    }

    #[test]
    fn requests_and_bodies_cost_nothing() {
        let start = Instant::now();
        let mut budget = begun(start);
        for _ in 0..10 * CONTROL {
            budget.received(&frame(HEADERS, 20, 5, 1), || start).unwrap();
            budget.received(&frame(DATA, 1, 0, 1), || start).unwrap();
            budget.received(&frame(DATA, 0, 1, 1), || start).unwrap();
        }
    }

    #[test]
    fn sizes_and_places_are_judged_by_their_own_codes() {
        for (kind, length, flags, stream, want) in [
            (PRIORITY, 4, 0, 1, code::FRAME_SIZE),
            (PRIORITY, 5, 0, 0, code::PROTOCOL),
            (RST_STREAM, 5, 0, 1, code::FRAME_SIZE),
            (RST_STREAM, 4, 0, 0, code::PROTOCOL),
            (SETTINGS, 5, 0, 0, code::FRAME_SIZE),
            (SETTINGS, 6, 1, 0, code::FRAME_SIZE),
            (SETTINGS, 6, 0, 1, code::PROTOCOL),
            (PING, 7, 0, 0, code::FRAME_SIZE),
            (PING, 8, 0, 1, code::PROTOCOL),
            (GOAWAY, 7, 0, 0, code::FRAME_SIZE),
            (GOAWAY, 8, 0, 1, code::PROTOCOL),
            (WINDOW_UPDATE, 3, 0, 1, code::FRAME_SIZE),
        ] {
            let got = check(&frame(kind, length, flags, stream)).unwrap_err().code;
            assert_eq!(got, want, "{kind} {length} {flags} {stream}");
        }
    }
}
