//! What was folded into one window, told apart by what it was about: which accounts an attack is
//! after, and how often each. Bounded: past its room the least-tried makes room for the newest and is
//! counted without its name, so that the sum is exact and who is tried most keeps their name.

use crate::audit::draft::Draft;

/// The last refusal of each target, and how many there were.
#[derive(Debug)]
pub(super) struct Tally {
    named: Vec<(Draft, u32)>,
    nameless: Option<(Draft, u32)>,
    room: usize,
    /// Whether one client stands behind all of it, whose address those without a name may keep.
    one_client: bool,
}

impl Tally {
    pub const fn new(room: usize, one_client: bool) -> Self {
        Self { named: Vec::new(), nameless: None, room, one_client }
    }

    /// Counts `count` more of a target.
    pub fn add(&mut self, draft: Draft, count: u32) {
        if let Some((last, counted)) = self.named.iter_mut().find(|(last, _)| last.is_about_the_same(&draft))
        {
            (*last, *counted) = (draft, counted.saturating_add(count));
            return;
        }
        if self.named.len() >= self.room {
            let least = self.named.iter().enumerate().min_by_key(|(_, (_, counted))| *counted);
            let Some(least) = least.map(|(at, _)| at) else { return };
            let (given_up, counted) = self.named.swap_remove(least);
            let before = self.nameless.take().map_or(0, |(_, before)| before);
            let draft = given_up.without_target(self.one_client);
            self.nameless = Some((draft, before.saturating_add(counted)));
        }
        self.named.push((draft, count));
    }

    /// One of what is counted, taken out.
    pub fn pop(&mut self) -> Option<Counted> {
        let nameless = self.nameless.take().map(|(draft, count)| Counted { draft, count, named: false });
        nameless.or_else(|| self.named.pop().map(|(draft, count)| Counted { draft, count, named: true }))
    }

    /// Puts back what was taken out, or adds another tally's.
    pub fn put_back(&mut self, Counted { draft, count, named }: Counted) {
        if named {
            return self.add(draft, count);
        }
        let before = self.nameless.take().map_or(0, |(_, before)| before);
        self.nameless = Some((draft, before.saturating_add(count)));
    }
}

/// What one event stands for.
pub(super) struct Counted {
    pub draft: Draft,
    pub count: u32,
    named: bool,
}
