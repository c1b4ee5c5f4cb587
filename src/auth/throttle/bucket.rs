//! The arithmetic of one bucket of failures: when the next try may be made, and what a failure costs.
//!
//! A try is *reserved* before its hash is computed and counts like a failure until it is settled, so
//! that tries at the same time cannot slip through one place. Failures are forgotten one by one, each
//! after a quiet [`Pace::longest`]. Hence the invariant, whatever order tries come in: in any time `t`
//! at most `most() + t / longest` of them fail.

use std::time::Duration;

use crate::config::throttle::Throttle;
use crate::model::time::Timestamp;

/// How delays grow.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Failures before the first delay.
    pub free: u32,
    /// The first delay; the next is twice as long.
    pub first: Duration,
    /// The longest delay, and the quiet time after which a failure is forgotten.
    pub longest: Duration,
}

/// Failures so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    failures: u32,
    last: Option<Timestamp>,
    pending: u32,
}

impl Pace {
    /// The pace of an account's strangers, and of each known device.
    pub const fn of_accounts(config: &Throttle) -> Self {
        Self { free: config.free, first: config.first_delay, longest: config.max_delay }
    }

    /// The pace of an address over all accounts.
    pub const fn of_addresses(config: &Throttle) -> Self {
        Self { free: config.address_free, first: config.first_delay, longest: config.address_max_delay }
    }

    /// The delay after that many failures.
    fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(self.free) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// Failures after which the delay grows no more; no bucket remembers more.
    pub fn most(&self) -> u32 {
        (self.free..).find(|failures| self.delay(*failures) >= self.longest).unwrap_or(self.free)
    }
}

impl Bucket {
    /// Failures that are not forgotten yet.
    pub fn level(&self, pace: &Pace, now: Timestamp) -> u32 {
        let Some(last) = self.last else { return 0 };
        let forgotten = now.since(last).as_millis() / pace.longest.as_millis().max(1);
        self.failures.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    /// How long until the next try may be made; zero if it may be now.
    pub fn wait(&self, pace: &Pace, now: Timestamp) -> Duration {
        if self.level(pace, now).saturating_add(self.pending) < pace.free {
            return Duration::ZERO;
        }
        // A clock that was ahead for a while leaves no delay longer than it was meant to be.
        let until = self.last.map(|last| last.min(now).plus(pace.delay(self.failures)));
        let wait = until.map_or(Duration::ZERO, |until| until.since(now));
        // Past the free tries one at a time: its outcome decides on the next.
        if wait.is_zero() && self.pending > 0 { pace.first } else { wait }
    }

    /// A try begins.
    pub const fn reserve(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    /// A try ended without a verdict, or well: it leaves no trace.
    pub const fn withdraw(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// A try failed.
    pub fn fail(&mut self, pace: &Pace, now: Timestamp) {
        self.withdraw();
        self.failures = self.level(pace, now).saturating_add(1).min(pace.most());
        self.last = Some(now);
    }

    /// Forgets the failures; tries under way still count.
    pub const fn forgive(&mut self) {
        self.failures = 0;
        self.last = None;
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self, pace: &Pace, now: Timestamp) -> bool {
        self.pending == 0 && self.level(pace, now) == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace() -> Pace {
        Pace::of_accounts(&Throttle::default())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000).plus(Duration::from_secs(seconds))
    }

    /// Failures one after the other, each as soon as it may be, for that long.
    fn attack(bucket: &mut Bucket, pace: &Pace, from: u64, seconds: u64) -> u32 {
        let (mut now, mut failed) = (at(from), 0);
        loop {
            now = now.plus(bucket.wait(pace, now));
            if now >= at(from + seconds) {
                return failed;
            }
            bucket.reserve();
            bucket.fail(pace, now);
            failed += 1;
        }
    }

    #[test]
    fn five_are_free_then_delays_double_from_a_second_to_half_an_hour() {
        let (pace, mut bucket) = (pace(), Bucket::default());
        let waits: Vec<u64> = (0..20)
            .scan(at(0), |now, _| {
                bucket.reserve();
                bucket.fail(&pace, *now);
                let wait = bucket.wait(&pace, *now);
                *now = now.plus(wait);
                Some(wait.as_secs())
            })
            .collect();
        let expected =
            [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800, 1800, 1800, 1800];
        assert_eq!(waits, expected);
        assert_eq!(pace.most(), 16);
    }

    /// The figures of docs/throttling.md: change both.
    #[test]
    fn strangers_get_62_guesses_at_an_account_on_the_first_day_and_48_on_each_that_follows() {
        let (pace, mut bucket) = (pace(), Bucket::default());
        let first_hour = attack(&mut Bucket::default(), &pace, 0, 3600);
        let first_day = attack(&mut bucket, &pace, 0, 86_400);
        let second_day = attack(&mut bucket, &pace, 86_400, 86_400);
        assert_eq!((first_hour, first_day, second_day), (16, 62, 48));
    }

    #[test]
    fn a_quiet_time_forgets_one_failure_after_the_other() {
        let (pace, mut bucket) = (pace(), Bucket::default());
        attack(&mut bucket, &pace, 0, 3600);
        let quiet = |minutes: u64| bucket.level(&pace, at(7200 + minutes * 60));
        assert!(quiet(0) > quiet(60) && quiet(60) > quiet(300));
        assert_eq!(quiet(16 * 30), 0);
        assert!(bucket.is_empty(&pace, at(7200 + 16 * 1800)));
    }

    #[test]
    fn a_clock_that_was_far_ahead_makes_no_delay_longer() {
        let (pace, mut bucket) = (pace(), Bucket::default());
        attack(&mut bucket, &pace, 1_000_000_000, 3600);
        assert!(bucket.wait(&pace, at(0)) <= pace.longest);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Try,
        Fail,
        Withdraw,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Try),
            5 => Just(Step::Fail),
            1 => Just(Step::Withdraw),
            2 => (0_u64..5).prop_map(Step::Pass),
            1 => (0_u64..7200).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 1..400)
    }

    proptest! {
        /// The promise of this file's head, whatever tries overlap: and since what is under way may
        /// fail, it holds for what was begun.
        #[test]
        fn failures_stay_below_the_bound_whatever_overlaps(steps in steps()) {
            let (pace, mut bucket) = (pace(), Bucket::default());
            let (mut now, mut pending, mut failed) = (0_u64, 0_u32, 0_u64);
            for step in steps {
                match step {
                    Step::Try if bucket.wait(&pace, at(now)).is_zero() => {
                        bucket.reserve();
                        pending += 1;
                    }
                    Step::Fail if pending > 0 => {
                        bucket.fail(&pace, at(now));
                        pending -= 1;
                        failed += 1;
                    }
                    Step::Withdraw if pending > 0 => {
                        bucket.withdraw();
                        pending -= 1;
                    }
                    Step::Pass(seconds) => now += seconds,
                    Step::Try | Step::Fail | Step::Withdraw => {}
                }
                prop_assert!(pending <= pace.free, "{pending} under way at once");
                prop_assert!(failed + u64::from(pending) <= u64::from(pace.most()) + 1 + now / 1800);
                prop_assert!(bucket.wait(&pace, at(now)) <= pace.longest);
            }
        }

        /// Nobody waits for ever: after the longest delay a try may be made again.
        #[test]
        fn after_the_longest_delay_there_is_always_a_try(failures in 0_u32..1000) {
            let (pace, mut bucket) = (pace(), Bucket::default());
            for _ in 0..failures {
                bucket.reserve();
                bucket.fail(&pace, at(0));
            }
            prop_assert_eq!(bucket.wait(&pace, at(1800)), Duration::ZERO);
        }
    }
}
