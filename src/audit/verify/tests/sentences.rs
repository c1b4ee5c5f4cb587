//! What findings say, and how many.

use super::*;

#[test]
fn findings_past_a_thousand_are_counted_not_kept() {
    let mut scene = scene();
    scene.journal = (1..=1500)
        .map(|seq| Committed {
            seq: Seq(seq),
            time: at(seq),
            changes: vec![Change::Log(LogChange::Event(event(seq)))],
        })
        .collect();
    (scene.records, scene.heads, scene.witness, scene.applied) = (vec![], vec![], None, Seq(1500));
    let report = scene.prove();
    assert_eq!((report.findings.len(), report.more_findings), (1000, 500));
}

#[test]
fn every_finding_is_a_sentence_that_says_what_to_do() {
    let (place, seq) = (Place::Log, Seq(8));
    let all = [
        Finding::Changed { from: 7, to: 9 },
        Finding::Missing { from: 7, to: 7 },
        Finding::Removed { before: 7, count: 2 },
        Finding::Inserted { from: 7, to: 7 },
        Finding::Reordered { index: 7, belongs: 9 },
        Finding::OutOfOrder { index: 7, seq },
        Finding::ColumnsDiffer { index: 7 },
        Finding::Unreadable { index: 7 },
        Finding::BadSignature { count: 10, place },
        Finding::HeadMismatch { count: 10, place: Place::Witness },
        Finding::HeadMissing { count: 10 },
        Finding::NotWitnessed { count: 10 },
        Finding::WitnessUnreadable { line: 3 },
        Finding::NoWitness,
        Finding::TruncatedAfter { index: 12, expected: 15 },
        Finding::BaseUnsigned { through: 7 },
        Finding::PruneUnrecorded { through: 7 },
        Finding::PrunedEarly { through: 7 },
        Finding::NotInJournal { index: 7, seq },
        not_in_log(8),
    ];
    insta::assert_snapshot!(all.map(|finding| finding.to_string()).join("\n"));
}
