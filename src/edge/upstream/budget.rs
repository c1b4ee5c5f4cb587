//! How many requests of a group may be tried again: a share of all, and a few a second beside that, so
//! that a group that is dying is not asked twice as much as one that is well.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::upstream::Retries;

/// A retry, in the thousandths that are counted.
const ONE: u64 = 1000;
/// Most retries that may be saved up, or ten seconds of the floor if that is more: a bound on the burst
/// when a server dies.
const SAVED: u64 = 100;

/// Retries in hand.
#[derive(Debug)]
pub struct Budget {
    thousandths: AtomicU64,
    /// When the floor was last added, milliseconds.
    filled: AtomicU64,
}

impl Budget {
    /// With a second's worth of the floor.
    pub fn new(rule: &Retries, now: u64) -> Self {
        Self { thousandths: AtomicU64::new(u64::from(rule.floor) * ONE), filled: AtomicU64::new(now) }
    }

    /// So many requests have begun.
    pub fn earn(&self, requests: u32, rule: &Retries) {
        // Percent of a request is ten thousandths of a retry.
        self.add(u64::from(requests) * u64::from(rule.percent) * (ONE / 100), rule);
    }

    /// Takes one retry, if there is one.
    pub fn spend(&self, rule: &Retries, now: u64) -> bool {
        let before = self.filled.load(Ordering::Relaxed);
        let elapsed = now.saturating_sub(before);
        // Who sets the time adds what it brings: nobody adds it twice.
        if elapsed > 0
            && self.filled.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.add(elapsed.saturating_mul(u64::from(rule.floor)), rule);
        }
        let take = |have: u64| have.checked_sub(ONE);
        self.thousandths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn add(&self, thousandths: u64, rule: &Retries) {
        let most = ONE * SAVED.max(10 * u64::from(rule.floor));
        let add = |have: u64| Some(have.saturating_add(thousandths).min(most));
        let _ = self.thousandths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, rule: &Retries, now: u64) -> usize {
        (0..100_000).take_while(|_| budget.spend(rule, now)).count()
    }

    #[test]
    fn a_share_of_the_requests_and_a_floor_are_all_there_is() {
        let rule = Retries { most: 2, percent: 20, floor: 10 };
        let budget = Budget::new(&rule, 5);
        assert_eq!(spent(&budget, &rule, 5), 10, "a second's worth to begin with");
        budget.earn(100, &rule);
        assert_eq!(spent(&budget, &rule, 5), 20);
        assert_eq!(spent(&budget, &rule, 505), 5, "half a second");
        assert_eq!(spent(&budget, &rule, 505), 0, "the same half second brings nothing twice");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let rule = Retries { most: 2, percent: 100, floor: 1 };
        let budget = Budget::new(&rule, 0);
        budget.earn(1_000_000, &rule);
        assert_eq!(spent(&budget, &rule, 0), 100);
        assert_eq!(spent(&budget, &rule, 86_400_000), 100);
    }

    #[test]
    fn nothing_is_tried_again_where_there_is_no_budget() {
        let rule = Retries { most: 2, percent: 0, floor: 0 };
        let budget = Budget::new(&rule, 0);
        budget.earn(1000, &rule);
        assert_eq!(spent(&budget, &rule, 1_000_000), 0);
    }
}
