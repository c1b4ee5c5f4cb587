//! Records that were dropped for their age: the log says where it begins (its base), a signed head
//! must speak of that record, and an event in what is left must say that it was dropped. The base
//! alone proves nothing, for whoever can delete records can also write it.

use super::VerifyError;
use super::finding::{Finding, Findings, PrunedReport};
use super::heads::HeadsWalk;
use crate::audit::retention::{SHORTEST, claimed};
use crate::audit::witness::Entry;
use crate::model::event::{Pruned, SignedHead};
use crate::model::time::Timestamp;
use crate::store::namespace::LogRecord;

/// What is known of it.
pub(super) struct Pruning {
    /// The last record dropped, as the log says.
    through: u64,
    /// When the head that speaks of it was signed.
    signed_at: Option<Timestamp>,
    /// The newest event that says so: through which record, and when.
    claim: Option<(u64, Timestamp)>,
}

impl Pruning {
    /// Compares the base with the heads that speak of it.
    pub fn begin<L, W>(
        base: Option<&Pruned>,
        heads: &mut HeadsWalk<L, W>,
        findings: &mut Findings,
    ) -> Result<Self, VerifyError>
    where
        L: Iterator<Item = Result<SignedHead, VerifyError>>,
        W: Iterator<Item = Result<Entry, VerifyError>>,
    {
        let signed_at = base.map(|base| heads.begin(base, findings)).transpose()?.flatten();
        Ok(Self { through: base.map_or(0, |base| base.through), signed_at, claim: None })
    }

    /// Takes a record where the chain holds.
    pub fn look(&mut self, record: &LogRecord) {
        let Ok((event, _)) = record.event() else { return };
        // An event cannot speak of itself or of what comes after it.
        if let Some(through) = claimed(&event).filter(|through| *through < record.index) {
            self.claim = self.claim.max(Some((through, event.at)));
        }
    }

    /// Says what does not fit, and what was dropped.
    pub fn finish(self, findings: &mut Findings) -> Option<PrunedReport> {
        let Self { through, signed_at, claim } = self;
        if through == 0 {
            return None;
        }
        let recorded = claim.filter(|(claimed, _)| *claimed == through);
        let Some((_, at)) = recorded else {
            findings.push(Finding::PruneUnrecorded { through });
            return None;
        };
        if signed_at.is_some_and(|signed| at.since(signed) < SHORTEST) {
            findings.push(Finding::PrunedEarly { through });
        }
        Some(PrunedReport { through, at, older_than: signed_at })
    }
}
