//! What the throttle counts, for whoever scrapes: plain numbers that only grow.

use crate::observe::metrics::Count;

/// Who a try came from; also, which bucket refused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A known device.
    Device,
    /// A known address.
    Address,
    /// The session of a verified caller.
    Session,
    /// A stranger to the account.
    Stranger,
    /// An address prefix over all accounts.
    Prefix,
}

impl From {
    const ALL: [Self; 5] = [Self::Device, Self::Address, Self::Session, Self::Stranger, Self::Prefix];

    /// A stable word, for labels and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Address => "address",
            Self::Session => "session",
            Self::Stranger => "stranger",
            Self::Prefix => "prefix",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    tried: [Count; From::ALL.len()],
    refused: [Count; From::ALL.len()],
}

/// The counts at one moment, by stable words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Tries that reached a verdict, by who made them; those of `prefix` are registrations.
    pub tried: Vec<(&'static str, u64)>,
    /// Tries that were refused, by the bucket that did.
    pub refused: Vec<(&'static str, u64)>,
    /// Buckets in memory, by table.
    pub entries: Vec<(&'static str, u64)>,
}

impl Counts {
    pub(super) fn tried(&self, from: From) {
        self.tried.get(from as usize).into_iter().for_each(Count::up);
    }

    pub(super) fn refused(&self, by: From) {
        self.refused.get(by as usize).into_iter().for_each(Count::up);
    }

    pub(super) fn tally(&self, entries: [(&'static str, usize); 3]) -> Tally {
        Tally {
            tried: worded(&self.tried),
            refused: worded(&self.refused),
            entries: entries.into_iter().map(|(word, count)| (word, count as u64)).collect(),
        }
    }
}

fn worded(counts: &[Count]) -> Vec<(&'static str, u64)> {
    From::ALL.iter().map(|from| from.word()).zip(counts.iter().map(Count::total)).collect()
}
