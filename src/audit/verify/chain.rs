//! The walk along the chain: are these the records that were chained, all of them, in their order?
//!
//! The chain's hash has no secret, so this alone finds careless tampering and names it well; what
//! was rewritten consistently is found by the signed heads (`heads`) and the journal (`journal`).
//! Memory: a bounded number of suspects, whatever the log holds.

use super::finding::{Finding, Findings};
use crate::model::event::{ChainHash, Pruned};
use crate::model::id::Seq;
use crate::store::namespace::LogRecord;

/// Records that were renumbered by at most this are recognised as such.
const SHIFT: u64 = 8;
/// Records kept to find out whether they only changed places.
const SUSPECTS: usize = 32;
/// A larger payload is no audit event and is not kept.
const SUSPECT_BYTES: usize = 4096;

/// A record that does not follow from the one before it.
struct Suspect {
    record: LogRecord,
    place: u64,
    before: ChainHash,
}

/// What the walk says of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its place in the chain as it was written: its index, but for what was removed or inserted.
    pub place: u64,
    /// Whether it follows from the record before it (or cannot be told, that one being gone).
    pub linked: bool,
}

/// How a record stands to what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// It follows.
    Holds,
    /// It follows once this many records that were here are put back before it.
    Removed(u64),
    /// It follows once this many records before it are taken away.
    Inserted(u64),
    /// It does not.
    Broken,
}

/// The state of the walk.
#[derive(Default)]
pub(super) struct ChainWalk {
    /// Index of the last record seen.
    pub index: u64,
    /// Stored hash of the last record seen.
    pub hash: ChainHash,
    /// The hash the last record should have had.
    computed: ChainHash,
    seq: Seq,
    /// Records removed and inserted so far by renumbering.
    removed: u64,
    inserted: u64,
    /// The last record whose link held: its stored hash, and the hash before it.
    good: [ChainHash; 2],
    /// The run of broken links that is open.
    run: Option<u64>,
    suspects: Vec<Suspect>,
}

impl ChainWalk {
    /// A walk along a chain that begins after `base`, its records before that having been dropped.
    pub fn from(base: Option<&Pruned>) -> Self {
        let Some(Pruned { through, seq, hash, .. }) = base else { return Self::default() };
        // Bundles are dropped whole: what follows was committed later.
        let seq = seq.next();
        Self { index: *through, hash: *hash, computed: *hash, good: [*hash; 2], seq, ..Self::default() }
    }

    /// Takes the next record in order of index.
    pub fn push(&mut self, record: &LogRecord, findings: &mut Findings) -> Step {
        if record.index <= self.index {
            findings.push(Finding::Inserted { from: record.index, to: record.index });
            return Step { place: self.place(record.index), linked: false };
        }
        let expected = self.index + 1;
        let linked = if record.index > expected {
            findings.push(Finding::Missing { from: expected, to: record.index - 1 });
            self.close_run();
            true
        } else {
            let link = self.link(record);
            self.note(link, record.index, findings)
        };
        let place = self.place(record.index);
        if linked {
            self.inspect(record, findings);
            self.good = [record.hash, self.hash];
        } else {
            self.suspect(record, place, findings);
        }
        self.computed = if linked { record.hash } else { self.hash.next(place, record.seq, &record.payload) };
        self.index = record.index;
        self.hash = record.hash;
        Step { place, linked }
    }

    /// Where a record was when it was chained.
    const fn place(&self, index: u64) -> u64 {
        (index + self.removed).saturating_sub(self.inserted)
    }

    fn close_run(&mut self) {
        self.run = None;
    }

    /// How the record follows: from the hash stored before it, from the one that should have been
    /// there (only that hash was changed), or after renumbering.
    fn link(&self, record: &LogRecord) -> Link {
        let place = self.place(record.index);
        let from =
            |before: ChainHash, place: u64| before.next(place, record.seq, &record.payload) == record.hash;
        if from(self.hash, place) || from(self.computed, place) {
            return Link::Holds;
        }
        for shift in 1..=SHIFT {
            if from(self.hash, place + shift) {
                return Link::Removed(shift);
            }
            let from_good = self.good.iter().any(|good| from(*good, place.saturating_sub(shift)));
            if place > shift && from_good && !self.swapped(record, place) {
                return Link::Inserted(shift);
            }
        }
        Link::Broken
    }

    /// Takes the link of record `index` into account. Whether it holds, renumbered or not.
    fn note(&mut self, link: Link, index: u64, findings: &mut Findings) -> bool {
        match link {
            Link::Holds => self.close_run(),
            Link::Removed(count) => {
                let before = self.run.unwrap_or(index);
                self.removed += count;
                self.forget_run(before);
                findings.push(Finding::Removed { before, count });
            }
            Link::Inserted(count) => {
                let from = index - count;
                self.inserted += count;
                self.forget_run(from);
                findings.push(Finding::Inserted { from, to: index - 1 });
            }
            Link::Broken => return false,
        }
        true
    }

    /// Whether the suspect before this record belongs after it: two neighbours changed places, which
    /// looks like an insertion at first.
    fn swapped(&self, record: &LogRecord, place: u64) -> bool {
        self.suspects.last().is_some_and(|Suspect { record: before, .. }| {
            before.index + 1 == record.index
                && record.hash.next(place, before.seq, &before.payload) == before.hash
        })
    }

    /// The open run is explained: its records are not suspects any more.
    fn forget_run(&mut self, from: u64) {
        self.suspects.retain(|suspect| suspect.record.index < from);
        self.run = None;
    }

    fn suspect(&mut self, record: &LogRecord, place: u64, findings: &mut Findings) {
        self.run.get_or_insert(record.index);
        if self.suspects.len() < SUSPECTS && record.payload.len() <= SUSPECT_BYTES {
            self.suspects.push(Suspect { record: record.clone(), place, before: self.hash });
        } else {
            changed(record.index, findings);
        }
    }

    /// What a record whose link holds must also be.
    fn inspect(&mut self, record: &LogRecord, findings: &mut Findings) {
        if record.seq < self.seq {
            findings.push(Finding::OutOfOrder { index: record.index, seq: record.seq });
        }
        self.seq = self.seq.max(record.seq);
        if !record.columns_agree {
            findings.push(Finding::ColumnsDiffer { index: record.index });
        }
        if record.event().is_err() {
            findings.push(Finding::Unreadable { index: record.index });
        }
    }

    /// The end of the log: settles what is still suspected.
    pub fn finish(&mut self, findings: &mut Findings) {
        let suspects = std::mem::take(&mut self.suspects);
        for suspect in &suspects {
            match belongs(suspect, &suspects) {
                Some(place) if place == suspect.record.index => {}
                Some(belongs) => findings.push(Finding::Reordered { index: suspect.record.index, belongs }),
                None => changed(suspect.record.index, findings),
            }
        }
    }
}

/// The place among the suspects' where this record's hash is right. Its own, if it was only
/// suspected because the records before it changed places.
fn belongs(suspect: &Suspect, suspects: &[Suspect]) -> Option<u64> {
    let LogRecord { seq, payload, hash, .. } = &suspect.record;
    let befores = || suspects.iter().flat_map(|other| [other.before, other.record.hash]);
    suspects
        .iter()
        .find(|other| befores().any(|before| before.next(other.place, *seq, payload) == *hash))
        .map(|other| other.record.index)
}

/// Notes a changed record, as one finding with those right before it.
fn changed(index: u64, findings: &mut Findings) {
    if let Some(Finding::Changed { to, .. }) = findings.list.last_mut()
        && *to + 1 == index
    {
        *to = index;
    } else {
        findings.push(Finding::Changed { from: index, to: index });
    }
}
