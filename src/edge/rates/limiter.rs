//! One rate: whom it tells apart, what it says of a request, and how that is written in headers.
//!
//! [`Limiters`] keeps each rate's buckets for as long as somebody uses it, so that a reload which
//! leaves a rate as it was leaves its buckets as they were: a client gains nothing by waiting for one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use http::HeaderValue;
use parking_lot::Mutex;
use uuid::Uuid;

use super::buckets::{Buckets, Place, Shelf};
use super::room::{Room, Tally};
use crate::config::rates::{Rate, RateBy};

/// Where limiters get the time: since whenever, never backwards. Not the wall clock, which may jump.
#[derive(Clone)]
pub struct Ticks(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Ticks {
    /// The machine's monotonic clock.
    pub fn monotonic() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || start.elapsed()))
    }

    /// Any other.
    pub fn new(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(elapsed))
    }

    /// Whole milliseconds, never 0: what counts by them has 0 for never.
    pub fn millis(&self) -> u64 {
        u64::try_from((self.0)().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl std::fmt::Debug for Ticks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticks")
    }
}

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from((self.0)())
    }
}

/// What a rate is for. Limiters of one scope and rate are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `rates.address`
    Address,
    /// `rates.user`
    User,
    /// `rates.session`
    Session,
    /// `rates.failed_verifications`
    FailedVerifications,
    /// A route's own, by the route's name and methods.
    Route(String, RateBy),
}

impl Scope {
    /// The policy's name in headers.
    const fn name(&self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
            Self::Session => "session",
            Self::FailedVerifications => "failed-verifications",
            Self::Route(..) => "route",
        }
    }
}

/// Everything that makes a limiter what it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// What for.
    pub scope: Scope,
    /// How fast.
    pub rate: Rate,
    /// Bits of an IPv6 address that tell clients apart.
    pub ipv6_prefix: u8,
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A client's address.
    Address(IpAddr),
    /// An account or a session.
    Id(Uuid),
    /// Everybody's.
    All,
}

/// A request is within the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    remaining: u32,
    full_in: Duration,
}

/// A request is past the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When one more will be within it.
    pub wait: Duration,
}

type Governor = RateLimiter<Place, Shelf, Ticks, StateInformationMiddleware>;

/// One rate with its buckets.
#[derive(Debug)]
pub struct Limiter {
    spec: Spec,
    governor: Governor,
    buckets: Arc<Buckets>,
    start: Nanos,
    policy: HeaderValue,
}

impl Limiter {
    fn new(spec: Spec, room: Room, ticks: Ticks) -> Self {
        let buckets = Arc::new(Buckets::new(room, spec.rate.interval()));
        // The interval is never zero: the greatest count leaves a microsecond.
        let quota = Quota::with_period(spec.rate.interval()).unwrap_or(Quota::per_second(spec.rate.count));
        let quota = quota.allow_burst(spec.rate.burst);
        let governor: Governor = RateLimiter::new(quota, Shelf(Arc::clone(&buckets)), ticks);
        // A reading after governor's own: a sweep is then never early.
        let start = governor.clock().now();
        let policy = HeaderValue::try_from(policy(&spec)).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self { spec, governor, buckets, start, policy }
    }

    /// Counts one request.
    pub fn take(&self, subject: Subject) -> Result<Within, Past> {
        self.measure(subject, true)
    }

    /// Whether one more request would be within the rate. Counts nothing.
    pub fn look(&self, subject: Subject) -> Result<Within, Past> {
        self.measure(subject, false)
    }

    fn measure(&self, subject: Subject, take: bool) -> Result<Within, Past> {
        let (own, shared) = places(subject, self.spec.ipv6_prefix);
        match self.governor.check_key(&Place { own, shared, take }) {
            Ok(left) => {
                let remaining = left.remaining_burst_capacity();
                let taken = self.spec.rate.burst.get().saturating_sub(remaining);
                Ok(Within { remaining, full_in: self.spec.rate.interval() * taken })
            }
            Err(until) => Err(Past { wait: until.wait_time_from(self.governor.clock().now()) }),
        }
    }

    /// What it is for.
    pub const fn scope(&self) -> &Scope {
        &self.spec.scope
    }

    /// `RateLimit-Policy`
    pub fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// `RateLimit` of an answer to a request that was counted.
    pub fn standing(&self, measured: Result<Within, Past>) -> HeaderValue {
        let (remaining, full_in) = match measured {
            Ok(Within { remaining, full_in }) => (remaining, full_in),
            Err(Past { wait }) => {
                (0, wait + self.spec.rate.interval() * (self.spec.rate.burst.get().saturating_sub(1)))
            }
        };
        let name = self.spec.scope.name();
        let text = format!("\"{name}\";r={remaining};t={}", whole_seconds(full_in));
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn sweep(&self) {
        self.buckets.sweep(self.governor.clock().now().saturating_sub(self.start));
    }
}

/// draft-ietf-httpapi-ratelimit-headers-10 §3: a quota and the window it is for. A token bucket is
/// described by what it holds and how long it takes to fill, whole seconds: then what remains is
/// never more than the quota, and the quotient is the rate.
fn policy(spec: &Spec) -> String {
    let burst = spec.rate.burst.get();
    let window = whole_seconds(spec.rate.interval() * burst).max(1);
    format!("\"{}\";q={burst};w={window}", spec.scope.name())
}

/// Rounded up: who comes earlier comes in vain.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A subject's own number, and that of the neighbourhood it shares a bucket with in a crowd.
///
/// IPv6 clients of one prefix are one subject; an IPv4 client is itself, mapped or not. Neighbours
/// are an IPv4 /16 and an IPv6 /32, about what one provider is given: a flood that has more addresses
/// than there is room for has most of them of a few providers. (One with many addresses of one site is
/// stopped before: see [`Room`].) Ids are random, and so are their
/// neighbourhoods. Numbers of ids and of addresses do not meet: ids are UUIDs of version 7, which
/// begin with a time before 2001::/16 begins.
fn places(subject: Subject, ipv6_prefix: u8) -> (u128, u128) {
    let kept = |bits: u128, prefix: u8| bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    match subject {
        Subject::Address(address) => match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = v4.to_ipv6_mapped().to_bits();
                (bits, kept(bits, 112))
            }
            IpAddr::V6(v6) => (kept(v6.to_bits(), ipv6_prefix), kept(v6.to_bits(), ipv6_prefix.min(32))),
        },
        Subject::Id(id) => (id.as_u128(), id.as_u128()),
        Subject::All => (0, 0),
    }
}

/// All limiters of a process. It outlives configurations; they share what they have in common.
#[derive(Debug)]
pub struct Limiters {
    ticks: Ticks,
    keys: usize,
    tally: Arc<Tally>,
    made: Mutex<HashMap<Spec, Weak<Limiter>>>,
}

impl Limiters {
    /// None yet. Each tells at most `keys` clients apart, in a room of its own: a flood at one of them
    /// leaves the others theirs.
    pub fn new(keys: usize, ticks: Ticks) -> Self {
        Self { ticks, keys, tally: Arc::default(), made: Mutex::default() }
    }

    /// The limiter for this: the one in use, or a new one.
    pub fn limiter(&self, spec: Spec) -> Arc<Limiter> {
        let mut made = self.made.lock();
        if let Some(known) = made.get(&spec).and_then(Weak::upgrade) {
            return known;
        }
        let room = Room::new(self.keys, &self.tally);
        let limiter = Arc::new(Limiter::new(spec.clone(), room, self.ticks.clone()));
        made.insert(spec, Arc::downgrade(&limiter));
        limiter
    }

    /// Drops what is no different from never seen: full buckets, and limiters that nobody uses. Call it
    /// now and then, or memory of quiet clients stays until there is no room for new ones.
    pub fn sweep(&self) {
        self.in_use().iter().for_each(|limiter| limiter.sweep());
    }

    /// Clients with buckets of their own, and requests so far that had to share one.
    pub fn crowd(&self) -> (usize, u64) {
        self.tally.crowd()
    }

    fn in_use(&self) -> Vec<Arc<Limiter>> {
        let mut made = self.made.lock();
        made.retain(|_, limiter| limiter.strong_count() > 0);
        made.values().filter_map(Weak::upgrade).collect()
    }
}
