//! `[rates]`: how fast anybody may ask, and how often with tokens that do not verify.
//!
//! A rate is a token bucket: it holds `burst` requests and is refilled at `count` in each `per`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// Most that a rate may let through in its period, and most that a bucket may hold. With the longest
/// period, an hour, a bucket is refilled within 114 years, which fits the limiter's nanoseconds.
pub const MOST: u32 = 1_000_000;

/// `"100/s"`, `"600/m"`, `"5000/h"`, with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Requests in each period: 1 to [`MOST`].
    pub count: NonZeroU32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// Requests that a full bucket holds: 1 to [`MOST`].
    pub burst: NonZeroU32,
}

/// Not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARate;

impl Rate {
    /// `count` a second, `burst` at once; zeros count as one.
    const fn per_second(count: u32, burst: u32) -> Self {
        Self { count: at_least_one(count), per: Duration::from_secs(1), burst: at_least_one(burst) }
    }

    /// The same with another burst.
    pub const fn burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// So many times as much, up to [`MOST`].
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        let times = |number: NonZeroU32| at_least_one(number.get().saturating_mul(factor).min(MOST));
        Self { count: times(self.count), burst: times(self.burst), ..self }
    }

    /// The time in which a bucket gains one request.
    pub fn interval(&self) -> Duration {
        self.per / self.count.get()
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// With a burst of what it lets through in one period.
impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, unit) = text.split_once('/').ok_or(NotARate)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(NotARate),
        };
        // Plain digits: `parse` takes a sign, too.
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits).and_then(NonZeroU32::new).ok_or(NotARate)?;
        if count.get() > MOST {
            return Err(NotARate);
        }
        Ok(Self { count, per: Duration::from_secs(seconds), burst: count })
    }
}

/// Who shares a bucket of a route's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RateBy {
    /// Each client address (IPv6: each prefix).
    #[default]
    Address,
    /// Each account; requests without a good token: each address.
    User,
    /// Each session; requests without a good token: each address.
    Session,
    /// Everybody.
    Route,
}

/// A route's own rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRate {
    /// `rate`, `rate_burst`
    pub rate: Rate,
    /// `rate_by`
    pub by: RateBy,
}

/// Rates that hold for all routes, `None` for off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// For each client address, before routing.
    pub address: Option<Rate>,
    /// For each account, once its token is verified.
    pub user: Option<Rate>,
    /// For each session, likewise.
    pub session: Option<Rate>,
    /// Tokens that did not verify, for each client address.
    pub failed_verifications: Option<Rate>,
    /// Bits of an IPv6 address that tell clients apart.
    pub ipv6_prefix: u8,
    /// Clients that each rate tells apart at once.
    pub keys: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address: Some(Rate::per_second(1000, 4000)),
            user: Some(Rate::per_second(200, 1000)),
            session: None,
            failed_verifications: Some(Rate::per_second(10, 100)),
            ipv6_prefix: 64,
            keys: 65_536,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_unit_and_bursts_as_much_as_one_period_lets_through() {
        let rate: Rate = "600/m".parse().unwrap();
        assert_eq!((rate.count.get(), rate.per, rate.burst.get()), (600, Duration::from_secs(60), 600));
        assert_eq!(rate.interval(), Duration::from_millis(100));
        for wrong in ["", "/s", "0/s", "-1/s", "+1/s", "1/d", "1", "1/s ", " 1/s", "1000001/s", "1.5/s"] {
            assert_eq!(wrong.parse::<Rate>(), Err(NotARate), "{wrong:?}");
        }
    }
}
