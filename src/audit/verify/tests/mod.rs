//! Every kind of tampering, on logs small enough to see: each must be named for what it is.

mod retention;
mod sentences;
mod stores;

use std::convert::Infallible;

use super::finding::{Finding, Place, PrunedReport};
use super::*;
use crate::audit::head::HeadKey;
use crate::model::caller::Actor;
use crate::model::event::{AuditEvent, ChainHash, Intent, Outcome};
use crate::model::id::EventId;
use crate::model::random::SeededRng;
use crate::model::time::Timestamp;

/// A log, its heads, the witness and the journal, as an attacker finds them.
#[derive(Clone)]
struct Scene {
    records: Vec<LogRecord>,
    heads: Vec<SignedHead>,
    witness: Option<Vec<SignedHead>>,
    journal: Vec<Committed>,
    signing: Signing,
    oldest: Seq,
    applied: Seq,
    base: Option<Pruned>,
}

fn key() -> HeadKey {
    HeadKey::from_seed(&[42; 32])
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(millis).unwrap())
}

fn event(number: u64) -> AuditEvent {
    AuditEvent {
        id: EventId::new(at(number), &SeededRng::new(number)),
        at: at(number),
        actor: Actor::Anonymous,
        address: None,
        intent: Intent::Login,
        outcome: Outcome::Denied,
        target: format!("target {number}"),
        reason: "wrong_password".into(),
        request: None,
        count: 1,
    }
}

fn record(index: u64, seq: u64, before: ChainHash, event: &AuditEvent) -> LogRecord {
    let payload = postcard::to_stdvec(event).unwrap();
    let hash = before.next(index, Seq(seq), &payload);
    LogRecord { index, seq: Seq(seq), hash, payload, columns_agree: true }
}

/// Twenty records in bundles of two (seq 2, 2, 4, 4 …), heads signed at 5, 10 and 15.
fn scene() -> Scene {
    let mut records: Vec<LogRecord> = Vec::new();
    let mut journal = Vec::new();
    for seq in 1..=20 {
        let mut changes = Vec::new();
        if seq % 2 == 0 {
            for number in [seq - 1, seq] {
                let before = records.last().map_or(ChainHash::default(), |last| last.hash);
                records.push(record(number, seq, before, &event(number)));
                changes.push(Change::Log(LogChange::Event(event(number))));
            }
        }
        journal.push(Committed { seq: Seq(seq), time: at(seq), changes });
    }
    let sign = |count: usize| key().sign(count as u64, records[count - 1].hash, at(99));
    let heads = vec![sign(5), sign(10), sign(15)];
    let witness = Some(heads.clone());
    let signing = Signing { newest: 15, ..Signing::default() };
    Scene { records, heads, witness, journal, signing, oldest: Seq(1), applied: Seq(20), base: None }
}

impl Scene {
    fn prove(&self) -> Report {
        let ok = |_: Infallible| unreachable!();
        let witness = self
            .witness
            .clone()
            .map(|heads| (1..).zip(heads).map(|(line, head)| Ok(Entry { line, head: Some(head) })));
        // As `verify` asks: not for what was dropped.
        let oldest = self.oldest.max(self.base.as_ref().map_or(Seq(0), |base| base.seq.next()));
        let kept = self.journal.iter().filter(|bundle| bundle.seq >= oldest).cloned();
        Sources {
            base: self.base.clone(),
            records: self.records.iter().cloned().map(Ok),
            heads: self.heads.iter().cloned().map(Ok),
            signing: self.signing.clone(),
            witness,
            bundles: kept.map(|bundle| Ok(bundle).map_err(ok)),
            oldest,
            applied: self.applied,
            key: key().public(),
        }
        .prove()
        .unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.prove().findings
    }

    /// Forgets the journal, as when its segments are archived.
    fn without_journal(mut self) -> Self {
        self.oldest = Seq(21);
        self
    }

    /// Recomputes the chain from the records' contents, numbering them anew.
    fn rechain(&mut self) {
        let mut before = ChainHash::default();
        for (index, record) in (1..).zip(&mut self.records) {
            record.index = index;
            record.hash = before.next(index, record.seq, &record.payload);
            before = record.hash;
        }
    }

    /// Numbers the records anew and keeps their hashes.
    fn renumber(&mut self) {
        (1..).zip(&mut self.records).for_each(|(index, record)| record.index = index);
    }
}

fn mismatch(count: u64, place: Place) -> Finding {
    Finding::HeadMismatch { count, place }
}

fn not_in_log(seq: u64) -> Finding {
    Finding::NotInLog { seq: Seq(seq), intent: Intent::Login, outcome: Outcome::Denied }
}

#[test]
fn an_honest_log_is_clean() {
    let report = scene().prove();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.records, report.heads, report.compared), (20, 3, 20));
    assert_eq!((report.count, report.signed_count), (20, 15));
    assert_eq!(report.head, scene().records[19].hash.hex());
}

#[test]
fn an_empty_log_is_clean() {
    let mut scene = scene();
    (scene.records, scene.heads, scene.witness) = (vec![], vec![], None);
    scene.journal.clear();
    assert!(scene.prove().is_clean());
}

#[test]
fn events_on_their_way_to_the_log_and_a_head_on_its_way_to_the_witness_are_no_findings() {
    let mut scene = scene();
    scene.records.truncate(18);
    scene.applied = Seq(18);
    scene.witness.as_mut().unwrap().pop();
    assert_eq!(scene.findings(), []);
    let head = key().sign(17, scene.records[16].hash, at(99));
    scene.witness = Some([&scene.heads[..], std::slice::from_ref(&head)].concat());
    scene.signing.committed.push(CommittedHead { head, applied: false });
    assert_eq!(scene.findings(), [], "a head in the witness that the log has not applied yet");
}

#[test]
fn bundles_that_the_journal_let_go_of_during_the_proof_are_not_missed() {
    let mut scene = scene();
    scene.journal.retain(|bundle| bundle.seq < Seq(6) || bundle.seq > Seq(11));
    assert_eq!(scene.findings(), []);
    scene.records[13] = record(14, 14, scene.records[12].hash, &event(700));
    assert!(scene.findings().contains(&Finding::NotInJournal { index: 14, seq: Seq(14) }));
}

#[test]
fn a_changed_payload_is_named() {
    let mut scene = scene();
    let payload = &mut scene.records[6].payload;
    *payload.last_mut().unwrap() ^= 1;
    assert_eq!(scene.findings(), [Finding::Changed { from: 7, to: 7 }, not_in_log(8)]);
}

#[test]
fn a_changed_column_is_named() {
    let mut moved = scene();
    moved.records[6].seq = Seq(7);
    assert_eq!(moved.findings(), [Finding::Changed { from: 7, to: 7 }, not_in_log(8)]);
    let mut rehashed = scene();
    rehashed.records[6].hash.0[0] ^= 1;
    assert_eq!(rehashed.findings(), [Finding::Changed { from: 7, to: 7 }]);
}

#[test]
fn a_changed_record_with_its_hash_recomputed_is_named_by_the_journal() {
    let mut scene = scene();
    scene.records[6] = record(7, 8, scene.records[5].hash, &event(700));
    let expected =
        [Finding::Changed { from: 8, to: 8 }, Finding::NotInJournal { index: 7, seq: Seq(8) }, not_in_log(8)];
    assert_eq!(scene.findings(), expected);
    assert_eq!(scene.without_journal().findings(), [Finding::Changed { from: 8, to: 8 }]);
}

#[test]
fn deleted_records_are_named() {
    let mut scene = scene();
    scene.records.drain(6..9);
    let missing = Finding::Missing { from: 7, to: 9 };
    assert_eq!(scene.findings(), [missing.clone(), not_in_log(8), not_in_log(8), not_in_log(10)]);
    assert_eq!(scene.without_journal().findings(), [missing]);
}

#[test]
fn a_deleted_record_is_named_though_the_rest_was_renumbered() {
    let mut scene = scene();
    scene.records.remove(6);
    scene.renumber();
    assert_eq!(scene.findings(), [Finding::Removed { before: 7, count: 1 }, not_in_log(8)]);
}

#[test]
fn an_inserted_record_is_named_with_a_hash_that_fits_or_not() {
    for before in [scene().records[5].hash, ChainHash([1; 32])] {
        let mut scene = scene().without_journal();
        scene.records.insert(6, record(7, 7, before, &event(700)));
        scene.renumber();
        assert_eq!(scene.findings(), [Finding::Inserted { from: 7, to: 7 }]);
    }
}

#[test]
fn a_record_appended_to_the_end_is_found_by_the_journal() {
    let mut scene = scene();
    scene.records.push(record(21, 20, scene.records[19].hash, &event(700)));
    assert_eq!(scene.findings(), [Finding::NotInJournal { index: 21, seq: Seq(20) }]);
}

#[test]
fn swapped_records_are_named_with_their_places() {
    for (one, other) in [(6, 7), (6, 11)] {
        let mut scene = scene();
        scene.records.swap(one, other);
        scene.renumber();
        let (first, second) = (one as u64 + 1, other as u64 + 1);
        let expected = [
            Finding::Reordered { index: first, belongs: second },
            Finding::Reordered { index: second, belongs: first },
        ];
        let findings: Vec<_> = scene
            .findings()
            .into_iter()
            .filter(|finding| !matches!(finding, Finding::HeadMismatch { .. }))
            .collect();
        assert_eq!(findings, expected);
    }
}

#[test]
fn a_cut_tail_is_found_by_the_journal_where_no_head_covers_it() {
    let mut scene = scene();
    scene.records.truncate(17);
    assert_eq!(scene.findings(), [not_in_log(18), not_in_log(20), not_in_log(20)]);
    assert_eq!(scene.without_journal().findings(), [], "nothing signed speaks of the tail");
}

#[test]
fn a_log_cut_before_its_last_head_is_found_by_the_head() {
    let mut scene = scene().without_journal();
    scene.records.truncate(12);
    let cut = Finding::TruncatedAfter { index: 12, expected: 15 };
    assert_eq!(scene.findings(), std::slice::from_ref(&cut));
    scene.heads.truncate(2);
    let lost = Finding::HeadMissing { count: 15 };
    assert_eq!(scene.findings(), [cut, lost.clone()], "the witness remembers the head that the log lost");
    scene.records.clear();
    assert_eq!(scene.findings(), [Finding::TruncatedAfter { index: 0, expected: 15 }, lost]);
}

#[test]
fn a_rewritten_chain_contradicts_every_later_head() {
    let mut scene = scene().without_journal();
    scene.records[6].payload = postcard::to_stdvec(&event(700)).unwrap();
    scene.rechain();
    let expected = [(10, Place::Log), (10, Place::Witness), (15, Place::Log), (15, Place::Witness)]
        .map(|(c, p)| mismatch(c, p));
    assert_eq!(scene.findings(), expected);
}

#[test]
fn a_rewritten_chain_without_its_heads_contradicts_the_witness() {
    let mut scene = scene().without_journal();
    scene.records.remove(6);
    scene.rechain();
    scene.heads.truncate(1);
    let findings = scene.findings();
    assert!(findings.contains(&mismatch(10, Place::Witness)), "{findings:?}");
    assert!(findings.contains(&mismatch(15, Place::Witness)), "{findings:?}");
}

#[test]
fn a_rewritten_chain_contradicts_the_journal_though_heads_and_witness_are_gone() {
    let mut scene = scene();
    scene.records[6].payload = postcard::to_stdvec(&event(700)).unwrap();
    scene.rechain();
    (scene.heads, scene.witness) = (vec![], None);
    assert_eq!(scene.findings(), [Finding::NotInJournal { index: 7, seq: Seq(8) }, not_in_log(8)]);
}

#[test]
fn a_rewritten_order_is_found_between_bundles_and_within_one() {
    let mut within = scene();
    within.records.swap(6, 7);
    within.rechain();
    (within.heads, within.witness) = (vec![], None);
    assert_eq!(within.findings(), [Finding::OutOfOrder { index: 8, seq: Seq(8) }]);
    let mut between = within.clone();
    between.records.swap(7, 8);
    between.rechain();
    let findings = between.findings();
    assert!(findings.contains(&Finding::OutOfOrder { index: 9, seq: Seq(8) }), "{findings:?}");
}

#[test]
fn a_forged_head_is_named_wherever_it_stands() {
    let mut scene = scene();
    scene.heads[1].hash.0[3] ^= 1;
    let forged = Finding::BadSignature { count: 10, place: Place::Log };
    assert_eq!(scene.findings(), [forged, Finding::HeadMissing { count: 10 }]);
    let forged = HeadKey::from_seed(&[1; 32]).sign(20, scene.records[19].hash, at(99));
    scene.witness.as_mut().unwrap().push(forged);
    assert!(scene.findings().contains(&Finding::BadSignature { count: 20, place: Place::Witness }));
}

#[test]
fn a_head_removed_from_one_place_is_named_by_the_other() {
    let mut from_log = scene();
    from_log.heads.remove(1);
    assert_eq!(from_log.findings(), [Finding::HeadMissing { count: 10 }]);
    let mut from_witness = scene();
    from_witness.witness.as_mut().unwrap().remove(0);
    assert_eq!(from_witness.findings(), [Finding::NotWitnessed { count: 5 }]);
    let mut gone = scene();
    gone.witness = None;
    assert_eq!(gone.findings(), [Finding::NoWitness]);
}

#[test]
fn a_witness_out_of_order_is_named_by_its_line() {
    let mut scene = scene();
    scene.witness.as_mut().unwrap().swap(0, 1);
    assert!(scene.findings().contains(&Finding::WitnessUnreadable { line: 2 }));
}

#[test]
fn a_record_that_is_no_event_is_named() {
    let mut scene = scene().without_journal();
    scene.records[19].payload = b"nonsense".to_vec();
    scene.rechain();
    assert_eq!(scene.findings(), [Finding::Unreadable { index: 20 }]);
}
