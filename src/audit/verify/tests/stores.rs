//! Tampering with the real files: the SQLite database of the log, by SQL as an intruder would, and
//! the witness. Keepgate writes them, is stopped, and is asked for a proof after its next start.

mod dropped;
mod lacking;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::audit::outside::Outside;
use crate::audit::search::{EventReader, Search};
use crate::audit::signer::{HeadSigner, SignerParts};
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::audit::witness;
use crate::config;
use crate::model::master_key::MasterKey;
use crate::model::random::SharedRng;
use crate::model::time::{ManualClock, SharedClock};
use crate::store::Stores;
use crate::store::query::LogQuery;

/// A data folder.
struct Node {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Node {
    /// Twelve events; heads signed after the fourth and the eighth.
    async fn written() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::at(at(1_000))) };
        let stores = node.open();
        let signer = node.signer(&stores);
        for number in 1..=12 {
            node.clock.advance(Duration::from_secs(20));
            node.record(&stores, number).await;
            if [4, 8].contains(&number) {
                let head = signer.sign_if_due().await.unwrap().expect("a head is due");
                assert_eq!(head.count, number);
            }
        }
        drop(signer);
        stores.close().unwrap();
        node
    }

    fn open(&self) -> Stores {
        let clock: SharedClock = self.clock.clone();
        let small = config::store::Store { segment_bytes: 64 * 1024, ..Default::default() };
        Stores::open(self.folder.path(), clock, &small, vec![]).unwrap()
    }

    fn witness(&self) -> PathBuf {
        witness::path(self.folder.path())
    }

    fn signer(&self, stores: &Stores) -> HeadSigner {
        HeadSigner::open(SignerParts {
            logs: stores.logs.clone(),
            committer: stores.committer.clone(),
            clock: self.clock.clone(),
            key: key(),
            every: Duration::from_secs(10),
            witness: &self.witness(),
            outside: Outside::nobody(),
        })
        .unwrap()
    }

    /// Records an event and waits until the log has it: it follows in the background.
    async fn record(&self, stores: &Stores, number: u64) {
        self.record_of(stores, number, &format!("target {number}")).await;
    }

    async fn record_of(&self, stores: &Stores, number: u64, target: &str) {
        let trail = self.trail(stores, number);
        let draft = Draft::new(Intent::Login, Outcome::Denied).target(target);
        trail.record(draft).await.unwrap();
        while stores.logs.head().unwrap().count < number {
            tokio::task::yield_now().await;
        }
    }

    fn trail(&self, stores: &Stores, seed: u64) -> Trail {
        let rng: SharedRng = Arc::new(SeededRng::new(seed));
        let (logs, committer) = (stores.logs.clone(), stores.committer.clone());
        let master = MasterKey::generate(&SeededRng::new(1));
        let subjects = Subjects::new(KnownSubjects::default(), logs.clone(), Arc::clone(&rng), &master);
        Trail::new(logs, committer, self.clock.clone(), rng, subjects)
    }

    fn reader(&self, stores: &Stores) -> EventReader {
        self.trail(stores, 0).reader()
    }

    fn sql(&self, sql: &str) {
        let path = self.folder.path().join("store/logs/view.sqlite");
        let db = Connection::open(path).unwrap();
        db.pragma_update(None, "ignore_check_constraints", true).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// Recomputes the whole chain in the database from what its records say now.
    fn rechain(&self) {
        let db = Connection::open(self.folder.path().join("store/logs/view.sqlite")).unwrap();
        let rows: Vec<(i64, i64, Vec<u8>)> = db
            .prepare("SELECT idx, seq, payload FROM events ORDER BY idx")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut before = ChainHash::default();
        for (index, seq, payload) in rows {
            before = before.next(index.unsigned_abs(), Seq(seq.unsigned_abs()), &payload);
            db.execute("UPDATE events SET hash = ?1 WHERE idx = ?2", (before.0, index)).unwrap();
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let stores = self.open();
        let findings = self.report(&stores).findings;
        stores.close().unwrap();
        findings
    }

    fn report(&self, stores: &Stores) -> Report {
        verify(&Evidence {
            logs: &stores.logs,
            history: &stores.history,
            witness: &self.witness(),
            copy: false,
            key: key().public(),
        })
        .unwrap()
    }
}

fn names(findings: &[Finding], wanted: &Finding) -> bool {
    findings.contains(wanted)
}

#[tokio::test]
async fn what_keepgate_wrote_is_proven_after_a_restart() {
    let node = Node::written().await;
    let stores = node.open();
    let report = node.report(&stores);
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.heads, report.compared, report.signed_count), (12, 2, 12, 8));
}

#[tokio::test]
async fn every_tampering_with_the_database_is_named() {
    let swap = "UPDATE events SET idx = -3 WHERE idx = 3; UPDATE events SET idx = 3 WHERE idx = 6;
                UPDATE events SET idx = 6 WHERE idx = -3;";
    let insert = "UPDATE events SET idx = -idx - 1 WHERE idx > 5; UPDATE events SET idx = -idx WHERE idx < 0;
                  INSERT INTO events SELECT 6, seq, payload, hash, at, intent, outcome, actor, target, address, subject
                  FROM events WHERE idx = 2;";
    let cases = [
        (
            "UPDATE events SET payload = CAST(payload || x'00' AS BLOB) WHERE idx = 6",
            Finding::Changed { from: 6, to: 6 },
        ),
        ("UPDATE events SET seq = seq + 1 WHERE idx = 6", Finding::Changed { from: 6, to: 6 }),
        ("UPDATE events SET hash = zeroblob(32) WHERE idx = 6", Finding::Changed { from: 6, to: 6 }),
        ("UPDATE events SET outcome = 'granted' WHERE idx = 6", Finding::ColumnsDiffer { index: 6 }),
        ("UPDATE events SET address = '192.0.2.1' WHERE idx = 6", Finding::ColumnsDiffer { index: 6 }),
        ("DELETE FROM events WHERE idx = 6", Finding::Missing { from: 6, to: 6 }),
        ("DELETE FROM events WHERE idx > 6", Finding::TruncatedAfter { index: 6, expected: 8 }),
        ("DELETE FROM events", Finding::TruncatedAfter { index: 0, expected: 8 }),
        (swap, Finding::Reordered { index: 3, belongs: 6 }),
        (insert, Finding::Inserted { from: 6, to: 6 }),
        (
            "UPDATE signed_heads SET hash = zeroblob(32) WHERE count = 4",
            Finding::BadSignature { count: 4, place: Place::Log },
        ),
        ("DELETE FROM signed_heads WHERE count = 4", Finding::HeadMissing { count: 4 }),
    ];
    for (sql, expected) in cases {
        let node = Node::written().await;
        node.sql(sql);
        let findings = node.findings();
        assert!(names(&findings, &expected), "{sql}: {findings:?}");
    }
}

#[tokio::test]
async fn a_tail_cut_after_the_last_head_is_found_by_the_journal() {
    let node = Node::written().await;
    node.sql("DELETE FROM events WHERE idx > 10");
    let findings = node.findings();
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(|finding| matches!(finding, Finding::NotInLog { .. })), "{findings:?}");
}

#[tokio::test]
async fn a_database_rewritten_whole_is_contradicted_by_the_witness_and_the_journal() {
    let node = Node::written().await;
    node.sql("UPDATE events SET payload = (SELECT payload FROM events WHERE idx = 1) WHERE idx = 3");
    node.sql("DELETE FROM signed_heads");
    node.rechain();
    let findings = node.findings();
    for count in [4, 8] {
        assert!(names(&findings, &mismatch(count, Place::Witness)), "{findings:?}");
    }
    assert!(
        findings.iter().any(|finding| matches!(finding, Finding::NotInJournal { index: 3, .. })),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_log_rewritten_before_the_journal_begins_is_contradicted_by_the_heads_in_the_journal() {
    let node = Node::written().await;
    let stores = node.open();
    let signer = node.signer(&stores);
    let mut number = 12;
    // The views checkpoint in the background, so write until the journal has moved on.
    while stores.history.oldest() <= Seq(12) {
        number += 1;
        node.record_of(&stores, number, &"x".repeat(200)).await;
    }
    signer.sign_now().await.unwrap().expect("a head is due");
    drop(signer);
    stores.close().unwrap();

    node.sql("UPDATE events SET payload = (SELECT payload FROM events WHERE idx = 1) WHERE idx = 3");
    node.sql("DELETE FROM signed_heads");
    node.rechain();
    std::fs::remove_file(node.witness()).unwrap();
    let stores = node.open();
    drop(node.signer(&stores));
    let findings = node.report(&stores).findings;
    assert!(names(&findings, &mismatch(number, Place::Journal)), "{findings:?}");
    assert!(names(&findings, &Finding::HeadMissing { count: number }), "{findings:?}");
}

#[tokio::test]
async fn a_cut_log_that_went_on_being_written_is_still_found() {
    let node = Node::written().await;
    node.sql("DELETE FROM events WHERE idx > 6");
    let stores = node.open();
    for number in 7..=10 {
        node.record(&stores, number).await;
    }
    let findings = node.report(&stores).findings;
    assert!(names(&findings, &mismatch(8, Place::Log)), "{findings:?}");
    assert!(findings.iter().any(|finding| matches!(finding, Finding::NotInLog { .. })), "{findings:?}");
}

#[tokio::test]
async fn a_head_that_a_crash_kept_from_the_witness_is_appended_at_the_next_start() {
    let node = Node::written().await;
    let whole = std::fs::read_to_string(node.witness()).unwrap();
    let first = whole.lines().next().unwrap();
    std::fs::write(node.witness(), format!("{first}\n{{\"count\":8,\"ha")).unwrap();
    let stores = node.open();
    drop(node.signer(&stores));
    assert_eq!(std::fs::read_to_string(node.witness()).unwrap(), whole);
    assert_eq!(node.report(&stores).findings, []);
}

#[tokio::test]
async fn a_forged_head_neither_enters_the_witness_nor_stops_the_signing() {
    let node = Node::written().await;
    node.sql("INSERT INTO signed_heads VALUES (900, zeroblob(32), 5, zeroblob(64))");
    let stores = node.open();
    let signer = node.signer(&stores);
    assert_eq!(std::fs::read_to_string(node.witness()).unwrap().lines().count(), 2);
    let head = signer.sign_now().await.unwrap().expect("four records are unsigned");
    assert_eq!(head.count, 12);
    let findings = node.report(&stores).findings;
    assert_eq!(findings, [Finding::BadSignature { count: 900, place: Place::Log }]);
}

#[tokio::test]
async fn a_head_whose_signing_was_given_up_half_way_gets_into_the_witness() {
    let node = Node::written().await;
    let stores = node.open();
    let signer = node.signer(&stores);
    {
        let mut given_up = Box::pin(signer.sign_now());
        assert!(given_up.as_mut().now_or_never().is_none());
        // On the one thread of this test: the commit is under way now, and not answered.
        tokio::task::yield_now().await;
    }
    node.record(&stores, 13).await;
    assert_eq!(signer.sign_now().await.unwrap().map(|head| head.count), Some(13));
    let counts = std::fs::read_to_string(node.witness()).unwrap();
    assert!(counts.lines().any(|line| line.starts_with("{\"count\":12,")), "{counts}");
    assert_eq!(node.report(&stores).findings, []);
}

#[tokio::test]
async fn nothing_new_is_not_signed_again() {
    let node = Node::written().await;
    let stores = node.open();
    let signer = node.signer(&stores);
    assert!(signer.sign_now().await.unwrap().is_some());
    node.clock.advance(Duration::from_secs(60));
    assert_eq!(signer.sign_if_due().await.unwrap(), None);
}

#[tokio::test]
async fn the_tail_shows_the_newest_events_and_those_that_cannot_be_read() {
    let node = Node::written().await;
    node.sql("UPDATE events SET payload = x'ff' WHERE idx = 11");
    let stores = node.open();
    let indexes = |limit| {
        let found = node.reader(&stores).tail(limit).unwrap();
        (found.events.iter().map(|record| record.index).collect::<Vec<_>>(), found.unreadable)
    };
    assert_eq!(indexes(3), (vec![10, 12], vec![11]));
    assert_eq!(indexes(1), (vec![12], vec![]));
    assert_eq!(indexes(99).0.len(), 11);
}

#[tokio::test]
async fn a_search_goes_both_ways_in_pages_past_records_that_cannot_be_read() {
    let node = Node::written().await;
    node.sql("UPDATE events SET payload = x'ff' WHERE idx IN (5, 6, 7)");
    let stores = node.open();
    for newest_first in [false, true] {
        let mut search = Search::default();
        search.query.newest_first = newest_first;
        let mut told = Vec::new();
        loop {
            let found = node.reader(&stores).search(&search, 2).unwrap();
            told.extend(found.events.iter().map(|record| record.index).chain(found.unreadable));
            if !found.more {
                break;
            }
            if newest_first { search.query.before = found.last } else { search.query.after = found.last }
        }
        told.sort_unstable();
        assert_eq!(told, (1..=12).collect::<Vec<_>>());
    }
    let third = node.reader(&stores).tail(99).unwrap().events[2].event.at;
    let query = LogQuery { since: Some(third), ..LogQuery::default() };
    let found = node.reader(&stores).search(&Search { query, from: None }, 99).unwrap();
    assert_eq!(found.events.first().map(|record| record.index), Some(3));
}

#[tokio::test]
async fn following_gets_past_records_that_cannot_be_read() {
    let node = Node::written().await;
    node.sql("UPDATE events SET payload = x'ff' WHERE idx IN (5, 6, 7)");
    let stores = node.open();
    let mut told = Vec::new();
    let mut last = 4;
    while last < 12 {
        let found = node.reader(&stores).following(last, 2).unwrap();
        assert!(found.last > last, "it advances");
        told.extend(found.events.iter().map(|record| record.index).chain(found.unreadable));
        last = found.last;
    }
    told.sort_unstable();
    assert_eq!(told, (5..=12).collect::<Vec<_>>());
    assert_eq!(node.reader(&stores).following(12, 2).unwrap().last, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_being_written_is_proven_clean() {
    let node = Arc::new(Node::written().await);
    let stores = Arc::new(node.open());
    let (writing, into) = (Arc::clone(&node), Arc::clone(&stores));
    let writer = tokio::spawn(async move {
        let signer = writing.signer(&into);
        for number in 13..=60 {
            writing.record(&into, number).await;
            signer.sign_now().await.unwrap();
        }
    });
    while !writer.is_finished() {
        let (node, stores) = (Arc::clone(&node), Arc::clone(&stores));
        let findings = tokio::task::spawn_blocking(move || node.report(&stores).findings).await.unwrap();
        assert_eq!(findings, []);
    }
    writer.await.unwrap();
}
