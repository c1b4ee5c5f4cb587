//! What a proof of the audit log can find, each kind with a sentence that names the record and says
//! what to do. Findings are facts about the log; failures to read it are `VerifyError`s.

use std::fmt;

use serde::Serialize;

use super::super::head::HeadPublicKey;
use crate::model::event::{Intent, Outcome, SignedHead};
use crate::model::id::Seq;
use crate::model::time::Timestamp;

/// Findings kept; one broken byte can make a finding of each record that follows.
const KEPT: usize = 1000;

/// Which copy of the signed heads is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The log database.
    Log,
    /// The witness file beside it.
    Witness,
    /// The journal, as far back as it is kept.
    Journal,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Log => "the log database",
            Self::Witness => "the witness file",
            Self::Journal => "the journal",
        }
    }
}

/// Something about the log that cannot have come about honestly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the sentence of each kind, below, says what its numbers are")]
pub enum Finding {
    /// These records are not what was chained.
    Changed { from: u64, to: u64 },
    /// These records are not there.
    Missing { from: u64, to: u64 },
    /// Records are gone and the following ones were renumbered to hide it.
    Removed { before: u64, count: u64 },
    /// These records were put in, the following ones renumbered.
    Inserted { from: u64, to: u64 },
    /// This record belongs in another place.
    Reordered { index: u64, belongs: u64 },
    /// The chain holds, but this record comes before its time.
    OutOfOrder { index: u64, seq: Seq },
    /// The record is what was chained; the columns beside it that repeat it for searches are not.
    ColumnsDiffer { index: u64 },
    /// The chain holds, but the record is no event.
    Unreadable { index: u64 },
    /// A head's signature is not ours.
    BadSignature { count: u64, place: Place },
    /// A head we signed speaks of another history than the one that is there.
    HeadMismatch { count: u64, place: Place },
    /// The witness or the journal has a head that the log lost.
    HeadMissing { count: u64 },
    /// The log has a head that the witness lost.
    NotWitnessed { count: u64 },
    /// A line of the witness is no head, or not in order.
    WitnessUnreadable { line: u64 },
    /// There is no witness file, though heads were signed.
    NoWitness,
    /// The chain ends before a head that we signed.
    TruncatedAfter { index: u64, expected: u64 },
    /// The log says that its records through this one were dropped, and no signed head speaks of it.
    BaseUnsigned { through: u64 },
    /// Records through this one are gone, and no event in the log says that Keepgate dropped them.
    PruneUnrecorded { through: u64 },
    /// Records through this one were dropped sooner than any configuration allows.
    PrunedEarly { through: u64 },
    /// The journal did not commit this record.
    NotInJournal { index: u64, seq: Seq },
    /// The journal committed an event that the log does not hold as it was written.
    NotInLog { seq: Seq, intent: Intent, outcome: Outcome },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { from, to } => {
                write!(f, "{}: changed after being written", Records(*from, *to))?;
                if *from > 1 {
                    write!(f, " (or record {}, and its hash recomputed)", from - 1)?;
                }
                f.write_str(". Compare with a backup of the log")
            }
            Self::Missing { from, to } => {
                write!(f, "{}: deleted. Take them from a backup of the log", Records(*from, *to))
            }
            Self::Removed { before, count } => write!(
                f,
                "{count} before record {before}: deleted, and the rest renumbered to hide it. \
                 Take them from a backup of the log"
            ),
            Self::Inserted { from, to } => {
                write!(f, "{}: put in afterwards. Do not believe what they say", Records(*from, *to))
            }
            Self::Reordered { index, belongs } => {
                write!(f, "record {index}: moved here from place {belongs}. Read it there")
            }
            Self::OutOfOrder { index, seq } => write!(
                f,
                "record {index} (bundle {seq}): in another order than it was committed, and the chain \
                 recomputed to hide it. Compare with a backup of the log"
            ),
            Self::ColumnsDiffer { index } => write!(
                f,
                "record {index}: the columns for searches were changed, the record itself was not. Believe \
                 'audit tail', which reads the record"
            ),
            Self::Unreadable { index } => write!(
                f,
                "record {index}: not an audit event that this binary knows. If a newer binary wrote it, \
                 verify with that; otherwise compare with a backup of the log"
            ),
            other => other.fmt_heads(f),
        }
    }
}

impl Finding {
    /// Findings are told in this order: what the chain shows, the heads, the journal; each along
    /// the log.
    const fn order(&self) -> (u8, u64) {
        match self {
            Self::Changed { from: at, .. }
            | Self::Missing { from: at, .. }
            | Self::Removed { before: at, .. }
            | Self::Inserted { from: at, .. }
            | Self::Reordered { index: at, .. }
            | Self::OutOfOrder { index: at, .. }
            | Self::ColumnsDiffer { index: at }
            | Self::Unreadable { index: at }
            | Self::TruncatedAfter { index: at, .. }
            | Self::BaseUnsigned { through: at }
            | Self::PruneUnrecorded { through: at }
            | Self::PrunedEarly { through: at } => (0, *at),
            Self::BadSignature { count: at, .. }
            | Self::HeadMismatch { count: at, .. }
            | Self::HeadMissing { count: at }
            | Self::NotWitnessed { count: at } => (1, *at),
            Self::WitnessUnreadable { line: at } => (2, *at),
            Self::NoWitness => (2, 0),
            Self::NotInJournal { seq, .. } | Self::NotInLog { seq, .. } => (3, seq.0),
        }
    }

    fn fmt_heads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature { count, place } => write!(
                f,
                "signed head of {count} records in {}: not signed by this Keepgate. If the master key was \
                 replaced, verify with the old one; otherwise it is forged",
                place.name()
            ),
            Self::HeadMismatch { count, place } => write!(
                f,
                "signed head of {count} records in {}: the log had another history then; it was rewritten \
                 at or before record {count}. Compare with a backup of the log",
                place.name()
            ),
            Self::HeadMissing { count } => write!(
                f,
                "signed head of {count} records: in the witness file or the journal, but deleted from the log database. \
                 Compare with a backup of the log"
            ),
            Self::NotWitnessed { count } => write!(
                f,
                "signed head of {count} records: in the log database but deleted from the witness file. \
                 Compare with a copy of the witness file"
            ),
            Self::WitnessUnreadable { line } => write!(
                f,
                "line {line} of the witness file: not a signed head in its order. Compare with a copy of \
                 the witness file"
            ),
            Self::NoWitness => f.write_str(
                "the witness file is gone although heads were signed. Take it from a backup; it is made \
                 anew at the next start",
            ),
            Self::TruncatedAfter { index, expected } => write!(
                f,
                "the log ends after record {index}, a signed head proves {expected} records: the end was cut \
                 off. Take records {} to {expected} from a backup of the log",
                index + 1
            ),
            other => other.fmt_base(f),
        }
    }

    fn fmt_base(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseUnsigned { through } => write!(
                f,
                "the log begins after record {through}, but no signed head speaks of that record: it was not \
                 dropped by this Keepgate. Take the log from a backup"
            ),
            Self::PruneUnrecorded { through } => write!(
                f,
                "records 1 to {through} are gone, but no event in the log says that they were dropped for their \
                 age. Take them from a backup of the log"
            ),
            Self::PrunedEarly { through } => write!(
                f,
                "records 1 to {through} were dropped although some were younger than a day, which no \
                 configuration allows. Take them from a backup of the log"
            ),
            other => other.fmt_journal(f),
        }
    }

    fn fmt_journal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInJournal { index, seq } => write!(
                f,
                "record {index}: the journal committed no such event in bundle {seq}. Do not believe what it \
                 says"
            ),
            Self::NotInLog { seq, intent, outcome } => write!(
                f,
                "the event '{} {}' of bundle {seq}: in the journal, but the log does not hold it as it was \
                 written. The journal has the original",
                word(intent),
                word(outcome)
            ),
            // Every other kind is written above.
            _ => Ok(()),
        }
    }
}

/// The stable name of an intent or outcome.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

struct Records(u64, u64);

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "record {}", self.0)
        } else {
            write!(f, "records {} to {}", self.0, self.1)
        }
    }
}

/// Findings as they are made: the first thousand, and how many more.
#[derive(Debug, Default)]
pub(in crate::audit) struct Findings {
    pub list: Vec<Finding>,
    pub more: u64,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        if self.list.len() < KEPT { self.list.push(finding) } else { self.more += 1 }
    }

    /// The findings in the order in which they are told.
    pub fn sorted(mut self) -> Self {
        self.list.sort_by_key(Finding::order);
        self
    }
}

/// What a proof of the whole log says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Signed heads checked, in the log.
    pub heads: u64,
    /// Events compared with the journal.
    pub compared: u64,
    /// What is wrong, at most a thousand findings.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
    /// Records in the chain and the hash of the last, hexadecimal.
    pub count: u64,
    /// See `count`.
    pub head: String,
    /// Records proven by the newest good signed head; those after it rest on the journal alone.
    pub signed_count: u64,
    /// The key that heads were verified with, hexadecimal.
    pub public_key: String,
    /// What was dropped for its age, if anything was.
    pub pruned: Option<PrunedReport>,
}

/// What was dropped from the log for its age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedReport {
    /// The last record dropped.
    pub through: u64,
    /// When, as the log itself says.
    pub at: Timestamp,
    /// What was dropped is older than this; `None` if no head proves it.
    pub older_than: Option<Timestamp>,
}

impl Report {
    /// Whether nothing was found.
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Whether a head is genuine, and says so if not.
pub(in crate::audit) fn genuine(
    head: &SignedHead,
    place: Place,
    key: &HeadPublicKey,
    findings: &mut Findings,
) -> bool {
    let good = key.verifies(head);
    if !good {
        findings.push(Finding::BadSignature { count: head.count, place });
    }
    good
}
