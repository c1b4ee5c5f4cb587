//! Servers in the node's own zone, and how much of its requests they get: all, for as long as enough of them are in
//! service.
//!
//! The factor is that of Envoy's priority levels, for one's own side only (how well the others are is not weighed):
//! own servers are taken to bear 1.4 times what they usually do, so the
//! part that stays is 1.4 times the part of their weight that is in service, and never more than all. Turns and keys
//! have it said in weights, and go by it as they are. Whoever looks at what is under way would undo that: the fewest
//! are always on the side that was given less. So there the side is chosen first, and a server within it.
//!
//! Invariant: who weighs nothing gets nothing, and among servers of one side shares stay as they were.

use crate::config::upstream::Member;

/// All of the requests.
const ALL: u64 = 1000;
/// What own servers bear, of what they usually do.
const BEARABLE: u64 = 1400;

/// How zones bear on one request.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Not at all.
    Nowhere,
    /// This part of all stays.
    Part(&'a Zones, u32),
    /// It goes to one's own, or to the others.
    Side(&'a Zones, bool),
}

/// The servers of a group by zone.
#[derive(Debug)]
pub struct Zones {
    /// Which of them are in the node's own.
    own: Vec<bool>,
    /// What those weigh together when all are in service, in thousandths.
    whole: u64,
}

impl Zones {
    /// Of a group's members, for a node in this zone. `None` where there is nothing to prefer: no server is in it, or
    /// every one.
    pub fn of(members: &[Member], home: Option<&str>) -> Option<Self> {
        let home = home?;
        let own: Vec<bool> = members.iter().map(|member| member.zone.as_deref() == Some(home)).collect();
        let usual = members.iter().zip(&own).filter(|(member, own)| **own && !member.backup);
        let whole = usual.map(|(member, _)| u64::from(member.weight) * 1000).sum();
        (whole > 0 && own.contains(&false)).then_some(Self { own, whole })
    }

    /// Whether the server of this place is in the node's own.
    pub fn is_own(&self, place: usize) -> bool {
        self.own.get(place).copied().unwrap_or_default()
    }

    /// How many thousandths of the requests stay in the zone, by how much of it is in service: `weights` are
    /// thousandths of weights, as [`Shared::weigh`](super::shared::Shared::weigh) has them.
    pub fn part(&self, weights: &[u32]) -> u32 {
        let (own, _) = self.sums(weights);
        let part = own.saturating_mul(BEARABLE).checked_div(self.whole).unwrap_or_default();
        u32::try_from(part.min(ALL)).unwrap_or_default()
    }

    /// The same weights, so that own servers have this part of them all. Where one side has nobody, the other has all.
    pub fn prefer(&self, part: u32, weights: &[u32], out: &mut Vec<u32>) {
        let (own, others) = self.sums(weights);
        let (part, all) = (u64::from(part).min(ALL), own + others);
        out.clear();
        if own == 0 || others == 0 {
            out.extend_from_slice(weights);
            return;
        }
        // The sum stays what it is: who goes by turns remembers them in its measure.
        let scaled = |weight: u32, part: u64, of: u64| match u64::from(weight) * part * all / (ALL * of) {
            0 if weight > 0 && part > 0 => 1,
            scaled => u32::try_from(scaled).unwrap_or(u32::MAX),
        };
        out.extend(weights.iter().zip(&self.own).map(|(weight, is_own)| match is_own {
            true => scaled(*weight, part, own),
            false => scaled(*weight, ALL - part, others),
        }));
    }

    /// Whether the next request is one of those that stay, if this part of them does. Over a thousand they are as many
    /// as the part says, evenly spread; `owed` is what it remembers.
    pub fn stays(part: u32, owed: &mut u64) -> bool {
        *owed += ALL - u64::from(part).min(ALL);
        let stays = *owed < ALL;
        if !stays {
            *owed -= ALL;
        }
        stays
    }

    /// The weights of one side alone, or of the other if nobody there weighs anything.
    fn only(&self, own: bool, weights: &[u32], out: &mut Vec<u32>) {
        out.clear();
        let here = |(weight, is_own): (&u32, &bool)| if *is_own == own { *weight } else { 0 };
        out.extend(weights.iter().zip(&self.own).map(here));
        if out.iter().all(|weight| *weight == 0) {
            out.clear();
            out.extend_from_slice(weights);
        }
    }

    fn sums(&self, weights: &[u32]) -> (u64, u64) {
        let mut sums = (0, 0);
        for (weight, own) in weights.iter().zip(&self.own) {
            *(if *own { &mut sums.0 } else { &mut sums.1 }) += u64::from(*weight);
        }
        sums
    }
}

impl Rule<'_> {
    /// What each is to weigh. `out` is room to say it in.
    pub fn weigh<'w>(&self, weights: &'w [u32], out: &'w mut Vec<u32>) -> &'w [u32] {
        match self {
            Self::Nowhere => return weights,
            Self::Part(zones, part) => zones.prefer(*part, weights, out),
            Self::Side(zones, own) => zones.only(*own, weights, out),
        }
        out
    }

    /// Whether a request to the server of this place goes out of the node's own zone.
    pub fn leaves(&self, place: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Part(zones, _) | Self::Side(zones, _) => !zones.is_own(place),
        }
    }
}
