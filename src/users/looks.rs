//! Which looks at other people's data were recorded lately: an administrator who pages through an
//! account's documents is one audit event a minute, not one a page.
//!
//! Bounded: past [`KEPT`] looks a minute each is recorded, which costs the looker a commit and
//! nobody any memory. So nobody's look is ever left out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::caller::Actor;
use crate::model::id::AccountId;

/// How long a recorded look covers those like it.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Looks remembered at once.
pub const KEPT: usize = 4096;

/// Who looked at whose what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// Who.
    pub actor: Actor,
    /// Whose; nobody's in particular for the list of accounts.
    pub of: Option<AccountId>,
    /// The word that the event gives as its reason.
    pub what: &'static str,
}

/// The looks recorded lately, and when.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<Look, Instant>>);

impl Looks {
    /// Whether one like it was recorded within the window.
    pub fn covers(&self, look: &Look, now: Instant) -> bool {
        self.0.lock().get(look).is_some_and(|at| now < *at + WINDOW)
    }

    /// Remembers one that is recorded by now.
    pub fn recorded(&self, look: Look, now: Instant) {
        let mut looks = self.0.lock();
        if looks.len() >= KEPT {
            looks.retain(|_, at| now < *at + WINDOW);
        }
        if looks.len() < KEPT || looks.contains_key(&look) {
            looks.insert(look, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(uid: u32) -> Look {
        Look { actor: Actor::Console(uid), of: None, what: "accounts" }
    }

    #[test]
    fn a_look_covers_those_like_it_for_a_minute() {
        let (looks, now) = (Looks::default(), Instant::now());
        assert!(!looks.covers(&look(1), now));
        looks.recorded(look(1), now);
        assert!(looks.covers(&look(1), now + WINDOW / 2));
        assert!(!looks.covers(&look(2), now));
        assert!(!looks.covers(&look(1), now + WINDOW));
    }

    #[test]
    fn what_is_past_the_bound_is_not_covered_and_makes_room_in_time() {
        let (looks, now) = (Looks::default(), Instant::now());
        for uid in 0..5000 {
            looks.recorded(look(uid), now);
        }
        assert_eq!(looks.0.lock().len(), KEPT);
        assert!(looks.covers(&look(0), now) && !looks.covers(&look(4999), now));
        looks.recorded(look(4999), now + WINDOW);
        assert!(looks.covers(&look(4999), now + WINDOW));
        assert_eq!(looks.0.lock().len(), 1);
    }
}
