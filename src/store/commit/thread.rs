//! The committer's thread: decides, makes durable, tells, hands on, answers. In that order, for a
//! group at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::appliers::Feed;
use super::queue::Taken;
use super::resolver::Resolver;
use super::{Follower, Pending, Receipt, Shared, Verdict};
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::journal::Journal;
use crate::store::progress::Progress;
use crate::store::recent::Recent;

/// Written keys remembered: at a hundred thousand commits a second those of the last second or two.
const REMEMBERED_WRITES: usize = 1 << 18;
/// A group's size, bytes: enough that the fsync is small beside it.
const GROUP: usize = 4 * 1024 * 1024;

/// What the thread needs.
pub(in crate::store) struct Parts {
    pub shared: Arc<Shared>,
    pub journal: Journal,
    pub clock: SharedClock,
    pub recent: Arc<Recent>,
    /// The position through which the tokens overlay is complete.
    pub tokens: Arc<Progress>,
    pub followers: Vec<Follower>,
    pub views: Vec<Feed>,
}

/// Runs until the queue is closed and empty. However it came to that, nobody is left waiting.
pub(in crate::store) fn run(parts: Parts) {
    let shared = Arc::clone(&parts.shared);
    let mut thread = Thread {
        resolver: Resolver::new(REMEMBERED_WRITES, parts.journal.last()),
        decided: Vec::new(),
        commits: Vec::new(),
        parts,
    };
    // A panic in a follower must not leave callers waiting for an answer that never comes.
    if catch_unwind(AssertUnwindSafe(|| thread.serve())).is_err() {
        shared.fail("the committer stopped by a defect; see the log");
    }
    shared.close();
    drop(thread);
    let mut left = Vec::new();
    while let Taken::Items { .. } = shared.queue.take(&mut left, usize::MAX, None) {
        left.clear();
    }
}

struct Thread {
    parts: Parts,
    resolver: Resolver,
    decided: Vec<(tokio::sync::oneshot::Sender<Verdict>, Verdict)>,
    /// The group's commits and their sizes, bytes.
    commits: Vec<(SharedCommit, usize)>,
}

impl Thread {
    fn serve(&mut self) {
        let mut group = Vec::new();
        while let Taken::Items { .. } = self.parts.shared.queue.take(&mut group, GROUP, None) {
            self.commit(&mut group);
        }
    }

    fn commit(&mut self, group: &mut Vec<Pending>) {
        self.parts.shared.meters.waiting.fall(group.len());
        if self.parts.shared.writable().is_err() {
            return refuse(group.drain(..).map(|pending| pending.answer));
        }
        let time = self.parts.clock.now().max(self.parts.journal.time());
        for pending in group.drain(..) {
            self.decide(pending, time);
        }
        let begun = Instant::now();
        if let Err(error) = self.parts.journal.flush() {
            self.parts.shared.fail(&error.to_string());
            self.commits.clear();
            return refuse(self.decided.drain(..).map(|(answer, _)| answer));
        }
        self.measure(begun);
        self.publish();
        for (answer, verdict) in self.decided.drain(..) {
            // Whoever asked may have gone; the commit stands.
            let _ = answer.send(verdict);
        }
        self.parts.journal.prepare();
    }

    /// Notes what the group took. A group that wrote nothing (reads checked, conflicts) flushed nothing.
    fn measure(&self, begun: Instant) {
        if self.commits.is_empty() {
            return;
        }
        let meters = &self.parts.shared.meters;
        meters.flush.took(begun.elapsed());
        meters.group.counted(self.commits.len());
        meters.bytes.add(self.commits.iter().map(|(_, bytes)| *bytes as u64).sum());
    }

    fn decide(&mut self, pending: Pending, time: Timestamp) {
        let Pending { reads, writes, changes, payload, answer } = pending;
        let verdict = match self.resolver.check(&reads) {
            Err(at) => Verdict::Conflict { at },
            Ok(()) if changes.is_empty() => {
                Verdict::Committed(Receipt { seq: self.parts.journal.last(), time })
            }
            Ok(()) => {
                let seq = self.parts.journal.stage(time, &payload);
                self.resolver.wrote(seq, &writes);
                self.commits.push((Arc::new(Committed { seq, time, changes }), payload.len()));
                Verdict::Committed(Receipt { seq, time })
            }
        };
        self.decided.push((answer, verdict));
    }

    /// Shows the durable group to everyone who must know of it before it is answered.
    fn publish(&mut self) {
        for (commit, _) in &self.commits {
            self.parts.recent.record(commit);
            self.parts.tokens.advance(commit.seq);
            for follower in &mut self.parts.followers {
                follower(commit);
            }
        }
        for view in &self.parts.views {
            view.push(&self.commits);
        }
        self.commits.clear();
    }
}

fn refuse(answers: impl Iterator<Item = tokio::sync::oneshot::Sender<Verdict>>) {
    for answer in answers {
        let _ = answer.send(Verdict::Refused);
    }
}
