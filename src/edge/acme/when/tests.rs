//! When orders are due: years of them, without waiting for one.

use super::*;
use crate::model::random::SeededRng;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const LIFE: Span = Span { from: START, until: Timestamp::from_millis(1_790_000_000_000 + 90 * 86_400_000) };

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
fn successes_are_spaced_more_and_more_however_wrong_our_clock_is() {
    let (rng, mut record) = (SeededRng::new(1), Record::default());
    // What is new is past two thirds of its life already.
    let mut now = day(70);
    let mut orders = Vec::new();
    for _ in 0..8 {
        record.issued(LIFE, now, &rng);
        orders.push(now);
        assert!(record.wished(Some(LIFE), now) <= now);
        now = record.due(Some(LIFE), now);
    }
    let pauses: Vec<u64> = orders.windows(2).map(|pair| pair[1].since(pair[0]).as_secs() / 3600).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 24, 24]);
    // A window in the past, for what is new as well.
    let mut record = Record::default();
    record.issued(LIFE, START, &rng);
    let past = Span { from: START.minus(DAY), until: START.minus(HOUR) };
    record.suggested(past, Duration::ZERO, (LIFE, START), &rng);
    assert_eq!(record.due(Some(LIFE), START), START.plus(HOUR));
    assert_eq!(record.due(None, START), START.plus(FIRST_PAUSE), "and if it cannot be found again");
    // The shortest of lives is renewed in time all the same.
    let life = Span { from: START, until: START.plus(Duration::from_secs(15)) };
    record = Record::default();
    record.issued(life, START, &rng);
    assert!(record.due(Some(life), START) <= START.plus(Duration::from_secs(11)));
    // Nor does a clock that was set back stop it.
    record.issued_at = Some(day(400));
    assert!(record.due(Some(life), START) <= START.plus(Duration::from_secs(11)));
}

#[test]
fn a_success_does_not_empty_the_hour_nor_does_a_revocation() {
    let (rng, mut record) = (SeededRng::new(1), Record::default());
    (0..3).for_each(|_| record.failed("no", None, START, &rng));
    record.issued(LIFE, START, &rng);
    record.revoking(LIFE.until, START);
    assert_eq!(record.due(Some(LIFE), START), START, "what is revoked is replaced at once");
    record.failed("no", None, START, &rng);
    assert_eq!(record.room(START), START.plus(HOUR));
}

#[test]
fn what_holds_for_all_is_lifted_and_what_failed_itself_waits_on() {
    let (rng, mut idle, mut failed) = (SeededRng::new(1), Record::default(), Record::default());
    failed.failed("no", None, START, &rng);
    for record in [&mut idle, &mut failed] {
        record.hold(START.plus(HOUR));
        assert_eq!(record.due(None, START), START.plus(HOUR));
        record.release();
    }
    assert_eq!((idle.due(None, START), failed.due(None, START)), (START, START.plus(HOUR)));
    let (least, most) = (pause_for_all(None), pause_for_all(Some(DAY * 7)));
    assert_eq!((least, most), (FIRST_PAUSE, HOUR));
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
