//! Time as a value: `Timestamp` in absolute milliseconds, and the `Clock` that everything asks.
//! Nothing else in Keepgate reads the wall clock (`clippy.toml` bans it), so tests own time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Longest life that anybody may give something that lapses: past it, "until it is removed" is meant.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// How much longer than needed is kept what has lapsed: a clock that jumps ahead and returns must not have
/// dropped what is in force by the right time.
pub const FORGOTTEN_LATE: Duration = Duration::from_secs(24 * 60 * 60);

/// Milliseconds since 1970-01-01T00:00:00Z. Serialises as that number in the journal; APIs show it
/// as RFC 3339 through [`Timestamp::rfc3339`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of time: for records that never expire.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: what JWT's NumericDate wants.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant plus a duration, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This instant minus a duration, saturating.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From RFC 3339 with any offset; below a millisecond it is cut. `None` if it is not that.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Self)
    }

    /// As RFC 3339 in UTC with milliseconds, always three digits: `2026-11-22T10:53:05.120Z`.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(MILLISECONDS).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }
}

/// RFC 3339 §5.6 with three digits of a second, so that texts of one length sort as times do.
const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// A clock shared by whoever needs one.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis(since))
    }
}

/// A clock that never falls behind a floor: what had expired by a time that was seen stays expired,
/// though the machine's clock is set back.
///
/// The floor is raised to times that others rely on (the journal's last at the start, each commit's
/// after it), not to every reading: a jump ahead that nothing was committed in leaves no trace. One
/// that something was committed in stays, because the commit's time stays. How far it jumped makes
/// no difference: there is no telling a wrong jump from a machine that slept.
///
/// While the floor is ahead of the machine's clock it moves at half its pace. Standing still, nothing
/// would expire until the machine's clock has caught up, which may be years; at full pace it would
/// stay ahead for ever, and other machines would refuse tokens from the future. So lifetimes are at
/// worst doubled, for twice as long as the jump was.
pub struct FlooredClock {
    inner: SharedClock,
    /// Where the floor's slow steady clock starts.
    start: Instant,
    /// The floor at `start`, milliseconds.
    floor: AtomicI64,
}

impl FlooredClock {
    /// `inner` without a floor yet.
    pub fn new(inner: SharedClock) -> Self {
        Self { inner, start: Instant::now(), floor: AtomicI64::new(i64::MIN) }
    }

    /// Sees to it that no later reading is before `to`.
    pub fn raise(&self, to: Timestamp) {
        self.raise_after(to, self.start.elapsed());
    }

    fn raise_after(&self, to: Timestamp, elapsed: Duration) {
        self.floor.fetch_max(to.minus(elapsed / 2).0, Ordering::AcqRel);
    }

    fn after(&self, elapsed: Duration) -> Timestamp {
        let floor = Timestamp(self.floor.load(Ordering::Acquire));
        self.inner.now().max(floor.plus(elapsed / 2))
    }
}

impl Clock for FlooredClock {
    fn now(&self) -> Timestamp {
        self.after(self.start.elapsed())
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock standing at `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_offsets_are_taken_into_account() {
        let at = Timestamp::from_millis(1_795_344_785_120);
        assert_eq!(Timestamp::from_rfc3339(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::from_rfc3339("1970-01-01T01:00:00+01:00"), Some(Timestamp(0)));
        for wrong in ["", "yesterday", "2026-11-22", "2026-11-22T10:53:05", "2026-13-01T00:00:00Z"] {
            assert_eq!(Timestamp::from_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_floored_clock_set_back_stays_at_its_floor_and_goes_on_at_half_the_pace() {
        let at = |seconds: u64| Timestamp::from_millis(0).plus(Duration::from_secs(seconds));
        let inner = Arc::new(ManualClock::at(at(1000)));
        let clock = FlooredClock::new(inner.clone());
        let (early, late) = (Duration::from_secs(10), Duration::from_secs(30));
        clock.raise_after(at(990), early);
        assert_eq!(clock.after(early), at(1000), "a floor below it changes nothing");
        clock.raise_after(at(1000), early);
        inner.set(at(400));
        assert_eq!(clock.after(early), at(1000));
        assert_eq!(clock.after(late), at(1010));
        inner.set(at(1011));
        assert_eq!(clock.after(late), at(1011), "the machine's clock has caught up");
    }

    #[test]
    fn rfc_3339_goes_there_and_back_in_any_offset() {
        let at = Timestamp::from_millis(1_795_000_000_123);
        assert_eq!(Timestamp::from_rfc3339(&at.rfc3339()), Some(at));
        let (utc, there) = ("2026-11-22T10:00:00Z", "2026-11-22T12:30:00+02:30");
        assert_eq!(Timestamp::from_rfc3339(utc), Timestamp::from_rfc3339(there));
        for wrong in ["", "2h", "2026-11-22", "2026-13-01T00:00:00Z", "9999999-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::from_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_jump_ahead_that_nothing_was_committed_in_leaves_no_trace() {
        let inner = Arc::new(ManualClock::at(Timestamp(5_000)));
        let clock = FlooredClock::new(inner.clone());
        inner.set(Timestamp(9_000_000));
        assert_eq!(clock.now(), Timestamp(9_000_000));
        inner.set(Timestamp(5_001));
        assert_eq!(clock.now(), Timestamp(5_001));
    }

    #[test]
    fn reading_and_raising_in_turn_never_drives_the_floor() {
        let clock = FlooredClock::new(Arc::new(ManualClock::at(Timestamp(0))));
        clock.raise_after(Timestamp(7_000), Duration::ZERO);
        for millis in 0..10_000 {
            let elapsed = Duration::from_millis(millis);
            clock.raise_after(clock.after(elapsed), elapsed);
        }
        assert_eq!(clock.after(Duration::from_secs(10)), Timestamp(12_000));
    }
}
