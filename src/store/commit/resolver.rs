//! Which keys were written lately, and where: whether a bundle's reads still hold.
//!
//! It remembers a bounded number of writes. Below the oldest it knows nothing, so a read from
//! before that is a conflict: the command decides again, from a newer state. (FoundationDB's
//! resolvers do the same with a window of five seconds.)

use std::collections::{HashMap, VecDeque};

use crate::model::id::Seq;

/// The recent writes.
pub(super) struct Resolver {
    written: HashMap<u64, Seq>,
    order: VecDeque<(u64, Seq)>,
    capacity: usize,
    /// Through this position nothing is remembered any more.
    floor: Seq,
}

impl Resolver {
    /// Remembers at most `capacity` written keys, and nothing of what was written through `floor`.
    pub fn new(capacity: usize, floor: Seq) -> Self {
        Self { written: HashMap::new(), order: VecDeque::new(), capacity, floor }
    }

    /// Whether nothing that was read has been written since; else the position at which a reader
    /// would see what it missed.
    pub fn check(&self, reads: &[(u64, Seq)]) -> Result<(), Seq> {
        for (key, as_of) in reads {
            if *as_of < self.floor {
                return Err(self.floor);
            }
            if let Some(at) = self.written.get(key).filter(|at| *at > as_of) {
                return Err(*at);
            }
        }
        Ok(())
    }

    /// Notes what a bundle wrote.
    pub fn wrote(&mut self, seq: Seq, keys: &[u64]) {
        for key in keys {
            if self.written.insert(*key, seq) != Some(seq) {
                self.order.push_back((*key, seq));
            }
        }
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, seq)) = self.order.pop_front() else { return };
        if self.written.get(&key) == Some(&seq) {
            self.written.remove(&key);
            self.floor = self.floor.max(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_conflicts_with_a_later_write_only() {
        let mut resolver = Resolver::new(10, Seq(4));
        resolver.wrote(Seq(5), &[1, 2]);
        resolver.wrote(Seq(6), &[2]);
        assert_eq!(resolver.check(&[(1, Seq(5)), (2, Seq(6)), (3, Seq(4))]), Ok(()));
        assert_eq!(resolver.check(&[(1, Seq(4))]), Err(Seq(5)));
        assert_eq!(resolver.check(&[(3, Seq(6)), (2, Seq(5))]), Err(Seq(6)));
    }

    #[test]
    fn a_read_from_before_the_window_is_a_conflict() {
        let mut resolver = Resolver::new(2, Seq(0));
        assert_eq!(resolver.check(&[(9, Seq(0))]), Ok(()));
        for seq in 1..=3 {
            resolver.wrote(Seq(seq), &[seq]);
        }
        assert_eq!(resolver.check(&[(9, Seq(0))]), Err(Seq(1)));
        assert_eq!(resolver.check(&[(9, Seq(1))]), Ok(()));
        assert_eq!(resolver.check(&[(2, Seq(1))]), Err(Seq(2)));
    }

    #[test]
    fn a_key_written_again_and_again_is_kept_and_the_window_stays_bounded() {
        let mut resolver = Resolver::new(3, Seq(0));
        for seq in 1..=100 {
            resolver.wrote(Seq(seq), &[7]);
        }
        assert_eq!(resolver.check(&[(7, Seq(99))]), Err(Seq(100)));
        assert!(resolver.order.len() <= 3 && resolver.written.len() == 1);
        // Its older writes were forgotten, but the newest tells as much: nothing was lost.
        assert_eq!(resolver.check(&[(8, Seq(0))]), Ok(()));
    }
}
