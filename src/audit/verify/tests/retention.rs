//! Records that are gone: those that the journal no longer has, of which its heads still speak; and
//! those that were dropped for their age, by Keepgate or by somebody who pretends it was.

use super::*;
use crate::model::id::RequestId;

#[test]
fn a_chain_rewritten_before_the_journal_begins_contradicts_the_heads_in_the_journal() {
    let mut scene = scene();
    scene.oldest = Seq(11);
    let head = scene.heads[2].clone();
    let committed = vec![CommittedHead { head, applied: true }];
    scene.signing = Signing { newest: 0, committed, copy: false };
    scene.records[6].payload = postcard::to_stdvec(&event(700)).unwrap();
    scene.rechain();
    (scene.heads, scene.witness) = (vec![], Some(vec![]));
    assert_eq!(scene.findings(), [mismatch(15, Place::Journal), Finding::HeadMissing { count: 15 }]);
}

const DAY: i64 = 24 * 3600 * 1000;

/// A log whose first ten records were dropped in bundle 22, as its last record says, `after` the head
/// of ten was signed.
fn dropped(after: i64) -> Scene {
    let mut scene = scene();
    let said = AuditEvent {
        at: Timestamp::from_millis(99 + after),
        actor: Actor::System,
        intent: Intent::AuditPrune,
        outcome: Outcome::Granted,
        target: "10".into(),
        request: None::<RequestId>,
        ..event(21)
    };
    scene.records.push(record(21, 22, scene.records[19].hash, &said));
    let at = said.at;
    scene.journal.push(Committed { seq: Seq(21), time: at, changes: vec![] });
    scene.journal.push(Committed { seq: Seq(22), time: at, changes: vec![LogChange::Event(said).into()] });
    scene.applied = Seq(22);
    let last = scene.records[9].clone();
    scene.base = Some(Pruned { through: 10, seq: last.seq, hash: last.hash, at });
    scene.records.drain(..10);
    // The log's own heads go with their records; the witness may still have them.
    scene.heads.remove(0);
    scene
}

#[test]
fn what_was_dropped_for_its_age_is_told_and_the_rest_is_proven() {
    let report = dropped(DAY).prove();
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.count, report.signed_count, report.compared), (11, 21, 15, 11));
    let at = Timestamp::from_millis(99 + DAY);
    let expected = PrunedReport { through: 10, at, older_than: Some(Timestamp::from_millis(99)) };
    assert_eq!(report.pruned, Some(expected));
    let mut forgotten = dropped(DAY);
    forgotten.witness.as_mut().unwrap().remove(0);
    assert_eq!(forgotten.findings(), [], "the witness has forgotten its heads too");
}

#[test]
fn tampering_after_the_base_is_named_as_ever() {
    let mut changed = dropped(DAY).without_journal();
    changed.oldest = Seq(23);
    changed.records[0].payload = postcard::to_stdvec(&event(700)).unwrap();
    assert_eq!(changed.findings(), [Finding::Changed { from: 11, to: 11 }]);
    let mut deleted = dropped(DAY);
    deleted.oldest = Seq(23);
    deleted.records.remove(0);
    assert_eq!(deleted.findings(), [Finding::Missing { from: 11, to: 11 }]);
}

#[test]
fn records_dropped_sooner_than_a_day_are_named() {
    assert_eq!(dropped(DAY - 1).findings(), [Finding::PrunedEarly { through: 10 }]);
}

#[test]
fn a_base_that_no_event_speaks_of_is_named() {
    let mut scene = scene().without_journal();
    let last = scene.records[14].clone();
    scene.base = Some(Pruned { through: 15, seq: last.seq, hash: last.hash, at: at(99) });
    scene.records.drain(..15);
    assert!(scene.findings().contains(&Finding::PruneUnrecorded { through: 15 }), "{:?}", scene.findings());
    scene.records.clear();
    assert_eq!(scene.findings(), [Finding::PruneUnrecorded { through: 15 }]);
}

#[test]
fn more_dropped_than_the_event_says_is_named() {
    let mut scene = dropped(DAY);
    let last = scene.records[4].clone();
    scene.base = Some(Pruned { through: 15, seq: last.seq, hash: last.hash, at: at(99) });
    scene.records.drain(..5);
    assert!(scene.findings().contains(&Finding::PruneUnrecorded { through: 15 }), "{:?}", scene.findings());
}

#[test]
fn a_base_that_no_head_speaks_of_or_contradicts_is_named() {
    let mut unsigned = dropped(DAY);
    let last = unsigned.records[1].clone();
    unsigned.base = Some(Pruned { through: 12, seq: last.seq, hash: last.hash, at: at(99) });
    unsigned.records.drain(..2);
    let findings = unsigned.findings();
    assert!(findings.contains(&Finding::BaseUnsigned { through: 12 }), "{findings:?}");
    assert!(findings.contains(&Finding::PruneUnrecorded { through: 12 }), "{findings:?}");
    let mut forged = dropped(DAY);
    forged.base.as_mut().unwrap().hash = ChainHash([7; 32]);
    let findings = forged.findings();
    assert!(findings.contains(&mismatch(10, Place::Log)), "{findings:?}");
    assert!(findings.contains(&Finding::BaseUnsigned { through: 10 }), "{findings:?}");
}

#[test]
fn a_base_that_is_lowered_removed_or_hides_the_journal_is_named() {
    let mut gone = dropped(DAY);
    gone.base = None;
    assert!(gone.findings().contains(&Finding::Missing { from: 1, to: 10 }), "{:?}", gone.findings());
    let mut hiding = dropped(DAY);
    hiding.base.as_mut().unwrap().seq = Seq(99);
    let findings = hiding.findings();
    assert!(findings.contains(&Finding::OutOfOrder { index: 11, seq: Seq(12) }), "{findings:?}");
}

#[test]
fn an_event_that_went_with_what_it_spoke_of_proves_nothing() {
    let mut scene = dropped(DAY);
    let last = scene.records.last().unwrap().clone();
    scene.base = Some(Pruned { through: 21, seq: last.seq, hash: last.hash, at: at(99) });
    scene.records.clear();
    let findings = scene.findings();
    assert!(findings.contains(&Finding::PruneUnrecorded { through: 21 }), "{findings:?}");
}

#[test]
fn a_copy_of_the_witness_need_not_have_every_head_but_proves_a_cut_end() {
    let mut scene = scene().without_journal();
    scene.signing.copy = true;
    scene.signing.newest = 20;
    scene.witness.as_mut().unwrap().remove(1);
    assert_eq!(scene.findings(), []);
    scene.records.truncate(12);
    scene.heads.truncate(2);
    let findings = scene.findings();
    assert!(findings.contains(&Finding::TruncatedAfter { index: 12, expected: 15 }), "{findings:?}");
}
