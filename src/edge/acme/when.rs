//! When a certificate is ordered: pure functions of what is known, the time and a random source.
//!
//! - The first order is due at once, a renewal in the window that the CA suggests (RFC 9773 §4.2), or
//!   after two thirds of the life; both at a random point, so that a fleet does not come at once.
//! - After a failure: 5 minutes, doubled each time up to a day, a quarter more or less; longer if the
//!   CA says so by Retry-After. At most four failures in any hour, whoever asks for orders: Let's
//!   Encrypt stops an account after five failed validations of a name within one.
//! - What is read back may be wrong, and clocks jump: a time further off than a rule ever sets is as
//!   if it were not there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::random::{Rng, bytes};
use crate::model::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// After the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Failures within an hour, at most.
const HOURLY: usize = 4;
/// Longest that a CA can make us wait after a failure: its longest limit is a week.
const LONGEST_WAIT: Duration = Duration::from_secs(8 * 24 * 3600);
/// How often the CA is asked for its window, where it does not say or says something odd
/// (RFC 9773 §4.3.1).
const ASK_AT_LEAST: Duration = DAY;
const ASK_AT_MOST: Duration = Duration::from_secs(60);
/// After it could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Longest reason that is kept, bytes.
const LONGEST_REASON: usize = 1000;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub until: Timestamp,
}

impl Span {
    fn length(self) -> Duration {
        self.until.since(self.from)
    }

    /// A random point in it.
    fn somewhere(self, rng: &dyn Rng) -> Timestamp {
        self.from.plus(part(self.length(), rng))
    }
}

/// What is known of the orders for one certificate: kept over restarts, so that one does not begin
/// anew at the CA's door.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Failures since the last success.
    pub failures: u32,
    /// When the latest failures were, within an hour.
    pub recent: Vec<Timestamp>,
    /// No order before this.
    pub retry_at: Option<Timestamp>,
    /// Why the last order failed; empty after a success.
    pub error: String,
    /// When the certificate in use is to be renewed, and its end, which tells it from others.
    pub renew_at: Option<(Timestamp, Timestamp)>,
    /// What the CA suggested last.
    pub window: Option<Span>,
    /// When it is asked again.
    pub ask_at: Option<Timestamp>,
}

impl Record {
    /// When the next order is due; `life` is that of the certificate in use, if there is one.
    pub fn due(&self, life: Option<Span>, now: Timestamp) -> Timestamp {
        let wished = match (life, self.renew_at) {
            (None, _) => now,
            (Some(life), Some((at, until))) if until == life.until => at.min(latest(life)),
            (Some(life), _) => two_thirds(life),
        };
        let retry = self.retry_at.filter(|at| *at <= now.plus(LONGEST_WAIT));
        retry.map_or(wished, |at| wished.max(at)).max(self.room(now))
    }

    /// When one more failure would be within the hourly limit.
    pub fn room(&self, now: Timestamp) -> Timestamp {
        let mut young: Vec<_> = self.recent.iter().copied().filter(|at| is_young(*at, now)).collect();
        young.sort_unstable();
        match young.len().checked_sub(HOURLY).and_then(|at| young.get(at)) {
            Some(oldest) => oldest.plus(HOUR),
            None => now,
        }
    }

    /// An order failed.
    pub fn failed(&mut self, why: &str, retry_after: Option<Duration>, now: Timestamp, rng: &dyn Rng) {
        self.failures = self.failures.saturating_add(1);
        self.recent.retain(|at| is_young(*at, now));
        self.recent.push(now);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(10)).min(DAY);
        let pause = pause * 3 / 4 + part(pause / 2, rng);
        let asked = retry_after.unwrap_or_default().min(LONGEST_WAIT - DAY) + part(FIRST_PAUSE, rng);
        self.retry_at = Some(now.plus(pause.max(asked)));
        self.error = why.chars().take(LONGEST_REASON).collect();
    }

    /// A certificate was issued.
    pub fn issued(&mut self, life: Span, now: Timestamp, rng: &dyn Rng) {
        let jitter = part(life.length() / 20, rng);
        *self = Self {
            renew_at: Some((two_thirds(life).plus(jitter), life.until)),
            // The CA needs a moment to know of it.
            ask_at: Some(now.plus(ASK_AT_MOST)),
            ..Self::default()
        };
    }

    /// Whether the CA is to be asked when it wants a renewal.
    pub fn is_asking(&self, now: Timestamp) -> bool {
        self.ask_at.is_none_or(|at| at <= now || at > now.plus(ASK_AT_LEAST + HOUR))
    }

    /// The CA suggested a window. The point in it stays while the window does.
    pub fn suggested(
        &mut self,
        window: Span,
        ask_after: Duration,
        (life, now): (Span, Timestamp),
        rng: &dyn Rng,
    ) {
        self.ask_at = Some(now.plus(ask_after.clamp(ASK_AT_MOST, ASK_AT_LEAST)));
        // RFC 9773 §4.2: the end is after the start, or it says nothing.
        if window.until <= window.from {
            return;
        }
        let ours = self.renew_at.is_some_and(|(_, until)| until == life.until);
        if self.window != Some(window) || !ours {
            self.window = Some(window);
            self.renew_at = Some((window.somewhere(rng), life.until));
        }
    }

    /// The CA could not be asked, or suggests nothing.
    pub fn unasked(&mut self, offered: bool, now: Timestamp) {
        self.ask_at = Some(now.plus(if offered { ASK_AGAIN } else { ASK_AT_LEAST }));
    }
}

fn is_young(at: Timestamp, now: Timestamp) -> bool {
    at.plus(HOUR) > now && at <= now.plus(HOUR)
}

fn two_thirds(life: Span) -> Timestamp {
    life.from.plus(life.length() * 2 / 3)
}

/// However far off a CA's window may be, something of the life is left for failures.
fn latest(life: Span) -> Timestamp {
    life.from.plus(life.length() * 9 / 10)
}

/// A random part of a duration.
fn part(of: Duration, rng: &dyn Rng) -> Duration {
    let random = u128::from(u32::from_le_bytes(bytes(rng)));
    Duration::from_millis(u64::try_from((of.as_millis() * random) >> 32).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const LIFE: Span =
        Span { from: START, until: Timestamp::from_millis(1_790_000_000_000 + 90 * 86_400_000) };

    fn day(number: u32) -> Timestamp {
        START.plus(DAY * number)
    }

    #[test]
    fn without_a_certificate_an_order_is_due_at_once() {
        assert_eq!(Record::default().due(None, START), START);
    }

    #[test]
    fn a_renewal_is_due_after_two_thirds_of_the_life_and_not_for_all_at_once() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut record = Record::default();
            record.issued(LIFE, START, &SeededRng::new(seed));
            let due = record.due(Some(LIFE), START);
            assert!(due >= day(60) && due < day(65), "{due}");
            assert_eq!(record.due(Some(LIFE), due), due, "it does not move");
            seen.insert(due);
        }
        assert!(seen.len() > 90);
        assert_eq!(Record::default().due(Some(LIFE), START), day(60), "what was forgotten is not urgent");
    }

    #[test]
    fn failures_wait_longer_and_longer_and_never_come_to_five_an_hour() {
        for seed in 0..50 {
            let (rng, mut record, mut now) = (SeededRng::new(seed), Record::default(), START);
            let mut failures: Vec<Timestamp> = Vec::new();
            for _ in 0..40 {
                record.failed("no", None, now, &rng);
                failures.push(now);
                let next = record.due(None, now);
                assert!(next.since(now) >= Duration::from_secs(225) && next.since(now) <= DAY * 5 / 4);
                now = next;
            }
            for window in failures.windows(5) {
                assert!(window[4].since(window[0]) >= HOUR, "{failures:?}");
            }
        }
    }

    #[test]
    fn who_asks_for_orders_by_hand_meets_the_hourly_limit() {
        let (rng, mut record) = (SeededRng::new(1), Record::default());
        for minute in 0..4 {
            let now = START.plus(Duration::from_secs(60 * minute));
            assert_eq!(record.room(now), now);
            record.failed("no", None, now, &rng);
        }
        let now = START.plus(Duration::from_secs(300));
        assert_eq!(record.room(now), START.plus(HOUR));
        assert_eq!(record.room(START.plus(HOUR)), START.plus(HOUR));
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_week() {
        let mut record = Record::default();
        record.failed("no", Some(DAY * 3), START, &SeededRng::new(1));
        let due = record.due(None, START);
        assert!(due >= day(3) && due < day(3).plus(FIRST_PAUSE), "{due}");
        record.failed("no", Some(DAY * 300), START, &SeededRng::new(1));
        assert!(record.due(None, START) <= day(8));
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let mut record = Record::default();
        record.failed("no", None, START, &SeededRng::new(1));
        record.issued(LIFE, START, &SeededRng::new(1));
        assert_eq!((record.failures, record.retry_at, record.error.as_str()), (0, None, ""));
    }

    #[test]
    fn the_cas_window_decides_and_its_point_stays_while_the_window_does() {
        let (rng, mut record) = (SeededRng::new(1), Record::default());
        record.issued(LIFE, START, &rng);
        let window = Span { from: day(30), until: day(32) };
        record.suggested(window, Duration::from_secs(21_600), (LIFE, day(1)), &rng);
        let due = record.due(Some(LIFE), day(1));
        assert!(due >= day(30) && due < day(32), "{due}");
        assert!(!record.is_asking(day(1)) && record.is_asking(day(2)));
        record.suggested(window, Duration::ZERO, (LIFE, day(2)), &rng);
        assert_eq!(record.due(Some(LIFE), day(2)), due);
        assert!(!record.is_asking(day(2)), "not more often than once a minute");
        let past = Span { from: day(0), until: day(1) };
        record.suggested(past, Duration::ZERO, (LIFE, day(2)), &rng);
        assert!(record.due(Some(LIFE), day(2)) <= day(2), "a window that is over: now");
    }

    #[test]
    fn a_window_that_makes_no_sense_or_is_too_late_does_not_let_the_certificate_run_out() {
        let (rng, mut record) = (SeededRng::new(1), Record::default());
        record.issued(LIFE, START, &rng);
        let before = record.due(Some(LIFE), START);
        record.suggested(Span { from: day(9), until: day(9) }, DAY, (LIFE, START), &rng);
        assert_eq!(record.due(Some(LIFE), START), before);
        record.suggested(Span { from: day(900), until: day(901) }, DAY, (LIFE, START), &rng);
        assert_eq!(record.due(Some(LIFE), START), day(81));
    }

    #[test]
    fn a_clock_set_back_or_a_hostile_record_does_not_stop_orders_for_ever() {
        let far = Record { retry_at: Some(day(10_000)), ask_at: Some(day(10_000)), ..Record::default() };
        assert_eq!(far.due(None, START), START);
        assert!(far.is_asking(START));
        let recent = Record { recent: vec![day(50); 4], ..Record::default() };
        assert_eq!(recent.due(None, START), START);
    }
}
