//! The journal beside the chain: every event that the retained journal committed must be in the
//! log as it was written, and nothing else. So the end of the log, which no head covers yet, is
//! proven too.
//!
//! The two are merged by position. A window of the journal's events is looked ahead, so that one
//! broken record is not taken for many; memory is bounded by it.

use std::collections::VecDeque;

use super::super::encode;
use super::VerifyError;
use super::finding::{Finding, Findings};
use crate::model::event::{AuditEvent, Intent, Outcome};
use crate::model::id::Seq;
use crate::store::namespace::LogRecord;

/// Events looked ahead.
const WINDOW: usize = 256;

/// An event that the journal committed.
struct Expected {
    seq: Seq,
    payload: Vec<u8>,
    intent: Intent,
    outcome: Outcome,
    taken: bool,
}

/// The journal's events in order, from position `from` on.
pub(super) struct JournalWalk<J: Iterator> {
    events: J,
    /// The oldest position that the journal still has.
    from: Seq,
    /// Events up to here must be in the log; later ones may be on their way.
    applied: Seq,
    window: VecDeque<Expected>,
    /// Events found in the log.
    pub compared: u64,
}

impl<J> JournalWalk<J>
where
    J: Iterator<Item = Result<(Seq, AuditEvent), VerifyError>>,
{
    pub fn new(events: J, from: Seq, applied: Seq) -> Self {
        Self { events, from, applied, window: VecDeque::new(), compared: 0 }
    }

    /// Takes the next record; `linked` says whether the chain holds at it. One at which it does not
    /// is only looked for: it is named already.
    pub fn push(
        &mut self,
        record: &LogRecord,
        linked: bool,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        if record.seq < self.from {
            return Ok(());
        }
        if linked {
            self.advance(record.seq, findings)?;
        } else {
            self.fill()?;
        }
        let same = |event: &Expected| event.seq == record.seq && event.payload == record.payload;
        let Some(at) = self.window.iter().position(|event| !event.taken && same(event)) else {
            if linked {
                findings.push(Finding::NotInJournal { index: record.index, seq: record.seq });
            }
            return Ok(());
        };
        let overtaken = self.window.iter().skip(at + 1).any(|event| event.taken && event.seq == record.seq);
        if linked && overtaken {
            findings.push(Finding::OutOfOrder { index: record.index, seq: record.seq });
        }
        if let Some(event) = self.window.get_mut(at) {
            event.taken = true;
        }
        self.compared += 1;
        Ok(())
    }

    /// The log ended: what the journal has beyond it must not be applied yet.
    pub fn finish(&mut self, findings: &mut Findings) -> Result<(), VerifyError> {
        self.advance(Seq(u64::MAX), findings)
    }

    /// Leaves the events before `seq` behind, and looks ahead from there.
    fn advance(&mut self, seq: Seq, findings: &mut Findings) -> Result<(), VerifyError> {
        self.fill()?;
        while let Some(event) = self.window.pop_front_if(|event| event.seq < seq) {
            if !event.taken && event.seq <= self.applied {
                let Expected { seq, intent, outcome, .. } = event;
                findings.push(Finding::NotInLog { seq, intent, outcome });
            }
            self.fill()?;
        }
        Ok(())
    }

    /// Fills the window, and to the end of its first bundle however many events that has.
    fn fill(&mut self) -> Result<(), VerifyError> {
        while self.window.len() < WINDOW || self.window.front().map(|e| e.seq) == self.window.back().map(|e| e.seq)
        {
            let Some((seq, event)) = self.events.next().transpose()? else { break };
            let (intent, outcome) = (event.intent, event.outcome);
            self.window.push_back(Expected { seq, payload: encode(&event), intent, outcome, taken: false });
        }
        Ok(())
    }
}
