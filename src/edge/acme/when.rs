//! When a certificate is ordered: pure functions of what is known, the time and a random source.
//!
//! - The first order is due at once, a renewal in the window that the CA suggests (RFC 9773 §4.2), or
//!   after two thirds of the life; both at a random point, so that a fleet does not come at once.
//! - After a failure: 5 minutes, doubled each time up to a day, a quarter more or less; longer if the
//!   CA says so by Retry-After. At most four failures in any hour, whoever asks for orders: Let's
//!   Encrypt stops an account after five failed validations of a name within one.
//! - After a success: a tenth of the life or an hour, whichever is less, and twice as long each time that
//!   it proves too soon: our clock may be wrong, or a CA's window be over for what it has just issued.
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
/// Longest reason that is kept, characters.
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
    /// When the last certificate was issued.
    pub issued_at: Option<Timestamp>,
    /// How many in a row were issued much too soon after the one before.
    #[serde(default)]
    pub hasty: u32,
}

impl Record {
    /// When the next order is due; `life` is that of the certificate in use, if there is one.
    pub fn due(&self, life: Option<Span>, now: Timestamp) -> Timestamp {
        let retry = self.retry_at.filter(|at| *at <= now.plus(LONGEST_WAIT));
        let wished = self.wished(life, now);
        [retry, self.floor(life, now)].into_iter().flatten().fold(wished, Ord::max).max(self.room(now))
    }

    /// When it would be due if nothing had gone before.
    pub fn wished(&self, life: Option<Span>, now: Timestamp) -> Timestamp {
        match (life, self.renew_at) {
            (None, _) => now,
            (Some(life), Some((at, until))) if until == life.until => at.min(latest(life)),
            (Some(life), _) => two_thirds(life),
        }
    }

    /// Not before this, since the last one was issued. It is far below any life: who waits for it has
    /// something amiss, be it that what was issued is not found again.
    fn floor(&self, life: Option<Span>, now: Timestamp) -> Option<Timestamp> {
        let at = self.issued_at.filter(|at| *at <= now.plus(HOUR))?;
        let (least, most) = match life.map(Span::length) {
            Some(length) => ((length / 10).min(HOUR), (length / 3).min(DAY)),
            None => (FIRST_PAUSE, DAY),
        };
        Some(at.plus(least.saturating_mul(1 << self.hasty.min(10)).min(most)))
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

    /// Another order failed for a reason that is not its own: none before this.
    pub fn hold(&mut self, until: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(until, |at| at.max(until)));
    }

    /// That reason is gone. What failed itself waits on.
    pub const fn release(&mut self) {
        if self.failures == 0 {
            self.retry_at = None;
        }
    }

    /// A certificate was issued. The failures of the last hour stay: who counts them counts them all.
    pub fn issued(&mut self, life: Span, now: Timestamp, rng: &dyn Rng) {
        let jitter = part(life.length() / 20, rng);
        let is_hasty = self.issued_at.is_some_and(|before| before.plus(life.length() / 3) > now);
        *self = Self {
            recent: std::mem::take(&mut self.recent),
            renew_at: Some((two_thirds(life).plus(jitter), life.until)),
            // The CA needs a moment to know of it.
            ask_at: Some(now.plus(ASK_AT_MOST)),
            issued_at: Some(now),
            hasty: if is_hasty { self.hasty.saturating_add(1) } else { 0 },
            ..Self::default()
        };
    }

    /// The certificate that ends then is being revoked: another is due at once, even if nobody should
    /// learn what came of it, and no window puts it off.
    pub fn revoking(&mut self, until: Timestamp, now: Timestamp) {
        *self = Self {
            recent: std::mem::take(&mut self.recent),
            renew_at: Some((now, until)),
            ask_at: Some(now.plus(ASK_AT_LEAST)),
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

/// How long a CA is left alone after a failure that is not one certificate's. An hour at most: what a CA
/// limits for longer, it limits by name.
pub fn pause_for_all(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().clamp(FIRST_PAUSE, HOUR)
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
mod tests;
