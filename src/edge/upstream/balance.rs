//! Which server is next: the algorithms, as functions of what is given to them, so that tests can
//! count what they come to.
//!
//! Each is given how heavy every server is at the moment (0: not to be asked) and returns the place of
//! one that is not 0, or `None` if all are. Weights are small enough that no sum overflows: at most
//! [`MOST_SERVERS`] of [`HEAVIEST`] thousand.
//!
//! [`MOST_SERVERS`]: crate::config::upstream::MOST_SERVERS
//! [`HEAVIEST`]: crate::config::upstream::HEAVIEST

/// Smooth weighted round robin, as nginx has it: every server gains its weight, the richest is chosen
/// and pays what all have gained. Over a whole round each is chosen as often as its weight says, and
/// the heavy ones are spread over the round. `turns` is what it remembers: one place for each server.
pub fn round_robin(weights: &[u32], turns: &mut [i64]) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, (weight, turn)) in weights.iter().zip(turns.iter_mut()).enumerate() {
        if *weight == 0 {
            // Whoever comes back begins anew, neither in credit nor in debt.
            *turn = 0;
            continue;
        }
        *turn += i64::from(*weight);
        total += i64::from(*weight);
        if best.is_none_or(|(_, most)| *turn > most) {
            best = Some((at, *turn));
        }
    }
    let (at, _) = best?;
    if let Some(turn) = turns.get_mut(at) {
        *turn -= total;
    }
    Some(at)
}

/// The one with the fewest requests under way for its weight; among equals, the first from a place drawn
/// by lot, so that threads that choose at the same time do not all choose the same.
pub fn least_connections(weights: &[u32], load: impl Fn(usize) -> u32, lot: u64) -> Option<usize> {
    let count = weights.len();
    let start = below(lot, count)?;
    let mut best: Option<(usize, u64, u64)> = None;
    for at in (start..count).chain(0..start) {
        let Some(weight) = weights.get(at).copied().filter(|weight| *weight > 0) else { continue };
        let (loaded, weight) = (u64::from(load(at)) + 1, u64::from(weight));
        // loaded / weight < most / its weight, without dividing.
        if best.is_none_or(|(_, most, its)| loaded * its < most * weight) {
            best = Some((at, loaded, weight));
        }
    }
    best.map(|(at, ..)| at)
}

/// Of two servers drawn by weight, the one with fewer requests under way for its weight: nearly as even as
/// looking at all of them, and no crowd runs to the one that was emptiest a moment ago.
pub fn random_two(weights: &[u32], load: impl Fn(usize) -> u32, lots: (u64, u64)) -> Option<usize> {
    let first = drawn(weights, None, lots.0)?;
    let Some(second) = drawn(weights, Some(first), lots.1) else { return Some(first) };
    let cost = |at: usize, other: usize| {
        (u64::from(load(at)) + 1) * u64::from(weights.get(other).copied().unwrap_or_default())
    };
    Some(if cost(second, first) < cost(first, second) { second } else { first })
}

/// One drawn by weight, but not `except`.
fn drawn(weights: &[u32], except: Option<usize>, lot: u64) -> Option<usize> {
    let others = || weights.iter().enumerate().filter(|(at, _)| Some(*at) != except);
    let total: u64 = others().map(|(_, weight)| u64::from(*weight)).sum();
    let mut left = (total > 0).then(|| scaled(lot, total))?;
    for (at, weight) in others() {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return Some(at),
        }
    }
    None
}

/// Weighted rendezvous (highest random weight): each server has a score for the key that depends on
/// nothing but the two, and the best one is chosen. When a server goes, its keys alone move, each to the
/// next best, and they come back with it; a heavier server takes keys from all others evenly. No ring
/// to build or keep, and all threads and nodes agree without a word.
pub fn rendezvous(weights: &[u32], seed: impl Fn(usize) -> u64, key: u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        // -ln(u) / weight for u in (0, 1) is exponential with that weight: the smallest of several is
        // each one's with the probability of its share.
        let unit = (mix(key ^ seed(at)) >> 11) as f64 + 0.5;
        let score = -(unit / (1_u64 << 53) as f64).ln() / f64::from(*weight);
        if best.is_none_or(|(_, least)| score < least) {
            best = Some((at, score));
        }
    }
    best.map(|(at, _)| at)
}

/// Spreads a number over all of 64 bits (the finaliser of splitmix64).
pub const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Lots for one thread: splitmix64. Spreading needs numbers that are even, not secret.
#[derive(Debug)]
pub struct Lots(u64);

impl Lots {
    /// Another sequence for each seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// A lot as a number below `end`, even but for a part in 2^64.
const fn scaled(lot: u64, end: u64) -> u64 {
    ((lot as u128 * end as u128) >> 64) as u64
}

fn below(lot: u64, end: usize) -> Option<usize> {
    (end > 0).then(|| usize::try_from(scaled(lot, end as u64)).unwrap_or_default())
}
