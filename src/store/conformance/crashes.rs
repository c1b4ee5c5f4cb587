//! The embedded backend through random histories with crashes in them: after each, and after a
//! replay from wherever each engine stands or from earlier, it answers as memory does.
//!
//! A crash is a copy of the folder as it lies, opened in the place of the original: what a killed
//! process leaves. What a power cut may lose beyond that is the journal's disk model to show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::histories::{Answers, bundles};
use crate::config;
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::engines::Engines;
use crate::store::view::Applier;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The committer makes so many bundles durable; the engines have not seen them.
    Commit(usize),
    /// Some engines (a bit each) take what is due, and of that what came before once more.
    Apply { engines: u8, again: usize },
    /// Some engines are checkpointed.
    Checkpoint { engines: u8 },
    /// The process is killed and started again: replay from `again` positions before where each
    /// engine stands.
    Crash { again: usize },
    /// As a crash, but the files are closed in order.
    Reopen { again: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4_usize).prop_map(Step::Commit),
        3 => (any::<u8>(), 0..3_usize).prop_map(|(engines, again)| Step::Apply { engines, again }),
        2 => any::<u8>().prop_map(|engines| Step::Checkpoint { engines }),
        2 => (0..9_usize).prop_map(|again| Step::Crash { again }),
        1 => (0..9_usize).prop_map(|again| Step::Reopen { again }),
    ];
    vec(step, 1..12)
}

/// The embedded engines, the journal that feeds them, and the model.
struct Node {
    parent: TempDir,
    lives: u32,
    engines: Option<Engines>,
    journal: Vec<SharedCommit>,
    model: Engines,
}

impl Node {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let engines = Some(open(&parent.path().join("0")));
        Self { parent, lives: 0, engines, journal: Vec::new(), model: Engines::in_memory() }
    }

    fn commit(&mut self, bundle: SharedCommit) {
        self.engines.as_ref().unwrap().recent.record(&bundle);
        for applier in appliers(&mut self.model) {
            applier.apply(std::slice::from_ref(&bundle)).unwrap();
        }
        self.journal.push(bundle);
    }

    fn apply(&mut self, which: u8, again: usize) {
        for (bit, applier) in appliers(self.engines.as_mut().unwrap()).into_iter().enumerate() {
            if which & (1 << bit) != 0 {
                replay(&self.journal, applier, again);
            }
        }
    }

    fn checkpoint(&mut self, which: u8) {
        for (bit, applier) in appliers(self.engines.as_mut().unwrap()).into_iter().enumerate() {
            if which & (1 << bit) != 0 {
                assert_eq!(applier.checkpoint().unwrap(), applier.applied());
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.parent.path().join(self.lives.to_string())
    }

    fn crash(&mut self, again: usize) {
        let before = self.folder();
        self.lives += 1;
        copy(&before, &self.folder());
        self.start(again);
    }

    fn start(&mut self, again: usize) {
        self.engines = None;
        self.engines = Some(open(&self.folder()));
        self.apply(u8::MAX, again);
    }

    fn compare(&mut self) {
        self.apply(0b0111, 0);
        assert_eq!(Answers::of(self.engines.as_ref().unwrap()), Answers::of(&self.model));
    }

    fn run(&mut self, step: &Step, history: &mut impl Iterator<Item = SharedCommit>) {
        match *step {
            Step::Commit(count) => history.take(count).for_each(|bundle| self.commit(bundle)),
            Step::Apply { engines, again } => self.apply(engines, again),
            Step::Checkpoint { engines } => self.checkpoint(engines),
            Step::Crash { again } => self.crash(again),
            Step::Reopen { again } => self.start(again),
        }
    }
}

fn open(folder: &Path) -> Engines {
    Engines::embedded(folder, &config::store::Store::default()).unwrap()
}

fn appliers(engines: &mut Engines) -> [&mut dyn Applier; 4] {
    let Engines { auth, user, logs, tokens, .. } = engines;
    [&mut *auth.applier, &mut *user.applier, &mut *logs.applier, &mut *tokens.applier]
}

/// Feeds an engine everything from `again` positions before its own.
fn replay(journal: &[SharedCommit], applier: &mut dyn Applier, again: usize) {
    let due = usize::try_from(applier.applied().0).unwrap();
    for batch in journal[due.saturating_sub(again)..].chunks(3) {
        applier.apply(batch).unwrap();
    }
    assert_eq!(applier.applied(), Seq(journal.len() as u64));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            // Shared memory does not outlive the process that crashed with it.
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn committed(changes: Vec<Vec<crate::model::change::Change>>) -> impl Iterator<Item = SharedCommit> {
    (1_u64..).zip(changes).map(|(seq, changes)| {
        let time = Timestamp::from_millis(seq.cast_signed());
        Arc::new(Committed { seq: Seq(seq), time, changes })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_and_memory_agree_through_crashes_and_replays(history in bundles(40), steps in steps()) {
        let mut node = Node::new();
        let mut history = committed(history);
        for step in &steps {
            node.run(step, &mut history);
            node.compare();
        }
        history.for_each(|bundle| node.commit(bundle));
        node.compare();
        node.crash(0);
        node.compare();
    }
}

#[test]
fn an_engine_refuses_a_history_with_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let history: Vec<_> = committed(vec![Vec::new(); 3]).collect();
    for mut engines in [open(folder.path()), Engines::in_memory()] {
        for applier in appliers(&mut engines) {
            applier.apply(&history[..1]).unwrap();
            let error = applier.apply(&history[2..]).unwrap_err().to_string();
            assert!(error.contains("given position 3 where 2 was due"), "{error}");
            assert_eq!(applier.applied(), Seq(1));
        }
    }
}
