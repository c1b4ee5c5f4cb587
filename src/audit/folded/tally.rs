//! What was folded into one window, told apart by what it was about: which accounts an attack is
//! after, and how often each. Bounded: past its room a newcomer is counted without its name, until
//! newcomers have come more often than the least-tried of the named; then it takes that one's place and
//! its rank. So the sum is exact, no name has a count that was not its own, who is tried most has a name
//! in the end, and accounts tried in turn do not drive out each other.

use crate::audit::draft::Draft;

/// The last refusal of each target, and how many there were.
#[derive(Debug)]
pub(super) struct Tally {
    named: Vec<Named>,
    /// Newcomers since the last that was let in.
    refused: u32,
    nameless: Option<(Draft, u32)>,
    room: usize,
    /// Whether one client stands behind all of it: else no address is kept, which would be one of many.
    one_client: bool,
}

#[derive(Debug)]
struct Named {
    draft: Draft,
    count: u32,
    /// `count`, and the rank of the one whose place it took.
    rank: u32,
}

impl Tally {
    pub const fn new(room: usize, one_client: bool) -> Self {
        Self { named: Vec::new(), refused: 0, nameless: None, room, one_client }
    }

    /// Counts `count` more of a target.
    pub fn add(&mut self, draft: Draft, count: u32) {
        let draft = if self.one_client { draft } else { draft.without_client() };
        if let Some(named) = self.named.iter_mut().find(|named| named.draft.is_about_the_same(&draft)) {
            named.draft = draft;
            named.count = named.count.saturating_add(count);
            named.rank = named.rank.saturating_add(count);
            return;
        }
        let mut rank = count;
        if self.named.len() >= self.room {
            self.refused = self.refused.saturating_add(count);
            let least = self.named.iter().enumerate().min_by_key(|(_, named)| named.rank);
            let Some((at, beaten)) =
                least.map(|(at, named)| (at, named.rank)).filter(|least| self.refused > least.1)
            else {
                return self.add_nameless(draft, count);
            };
            let Named { draft: given_up, count: counted, .. } = self.named.swap_remove(at);
            self.add_nameless(given_up, counted);
            (self.refused, rank) = (0, beaten.saturating_add(count));
        }
        self.named.push(Named { draft, count, rank });
    }

    fn add_nameless(&mut self, draft: Draft, count: u32) {
        let draft = draft.without_target();
        self.nameless = Some(match self.nameless.take() {
            Some((before, counted)) => (draft.together_with(&before), counted.saturating_add(count)),
            None => (draft, count),
        });
    }

    /// One of what is counted, taken out.
    pub fn pop(&mut self) -> Option<Counted> {
        let nameless = self.nameless.take().map(|(draft, count)| Counted { draft, count, named: false });
        nameless.or_else(|| {
            self.named.pop().map(|Named { draft, count, .. }| Counted { draft, count, named: true })
        })
    }

    /// Puts back what was taken out, or adds another tally's.
    pub fn put_back(&mut self, Counted { draft, count, named }: Counted) {
        if named { self.add(draft, count) } else { self.add_nameless(draft, count) }
    }
}

/// What one event stands for.
pub(super) struct Counted {
    pub draft: Draft,
    pub count: u32,
    named: bool,
}
