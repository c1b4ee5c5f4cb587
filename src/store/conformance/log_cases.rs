//! The rules of the audit log. Each starts from an empty backend.

use super::bed::Bed;
use super::sample::{account_id, event, sealed_event, signed_head, time};
use crate::model::change::LogChange;
use crate::model::event::{ChainHash, Intent, Outcome, Pruned};
use crate::model::id::Seq;
use crate::store::chain;
use crate::store::namespace::{LogHead, LogRecord, SubjectKeys};
use crate::store::query::{About, LogQuery};

pub(super) fn audit_records_form_a_chain(bed: &mut Bed) {
    bed.commit([LogChange::Event(event(1)), LogChange::SealedEvent(sealed_event(2, 9))]);
    bed.commit([LogChange::HeadSigned(signed_head(2))]);
    bed.commit([LogChange::Event(event(3))]);
    let sealed = sealed_event(2, 9);
    let expected = [(1, 1, event(1), None), (2, 1, sealed.event, Some(sealed.seal)), (3, 3, event(3), None)];
    let mut hash = ChainHash::default();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(index, seq, event, seal)| {
            let payload = chain::payload(&event, seal.as_ref()).unwrap();
            hash = hash.next(index, Seq(seq), &payload);
            LogRecord { index, seq: Seq(seq), payload, hash, columns_agree: true }
        })
        .collect();
    assert_eq!(bed.logs.records(0, 10).unwrap(), expected);
    assert_eq!(bed.logs.records(1, 1).unwrap(), expected[1..2]);
    assert_eq!(bed.logs.records(3, 10).unwrap(), []);
    assert_eq!(bed.logs.head().unwrap(), LogHead { count: 3, hash });
    assert_eq!(expected[2].event().unwrap(), (event(3), None));
    let sealed = sealed_event(2, 9);
    assert_eq!(expected[1].event().unwrap(), (sealed.event, Some(sealed.seal)));
}

pub(super) fn signed_heads_are_kept_by_count(bed: &mut Bed) {
    for count in [4, 2, 9] {
        bed.commit([LogChange::HeadSigned(signed_head(count))]);
    }
    assert_eq!(bed.logs.signed_heads(2, 10).unwrap(), [signed_head(4), signed_head(9)]);
    assert_eq!(bed.logs.signed_heads(0, 1).unwrap(), [signed_head(2)]);
    assert_eq!(bed.logs.head().unwrap(), LogHead::default());
}

fn indexes(bed: &Bed, query: &LogQuery, limit: usize) -> Vec<u64> {
    bed.logs.search(query, limit).unwrap().iter().map(|record| record.index).collect()
}

pub(super) fn records_are_searched_by_what_they_say(bed: &mut Bed) {
    for n in 1..=12 {
        bed.commit([LogChange::Event(event(n))]);
    }
    // Index 13: account 9's, and its target speaks of nobody.
    bed.commit([LogChange::SealedEvent(sealed_event(14, 9))]);
    let all = LogQuery::default;
    let asked = [
        (all(), (1..=13).collect::<Vec<_>>()),
        (LogQuery { intent: Some(Intent::Login), ..all() }, vec![2, 4, 6, 8, 10, 12, 13]),
        (LogQuery { outcome: Some(Outcome::Denied), ..all() }, vec![3, 6, 9, 12]),
        (LogQuery { since: Some(time(5)), until: Some(time(7)), ..all() }, vec![5, 6, 7]),
        (LogQuery { since: Some(time(15)), ..all() }, vec![]),
        (LogQuery { until: Some(time(0)), ..all() }, vec![]),
        (LogQuery { after: 4, before: 7, ..all() }, vec![5, 6]),
        (
            LogQuery {
                outcome: Some(Outcome::Denied),
                intent: Some(Intent::Login),
                since: Some(time(7)),
                ..all()
            },
            vec![12],
        ),
        // `event(9)` is done by account 9, `sealed_event(14, 9)` is about it.
        (about(Some(9), "target 4"), vec![4, 9, 13]),
        (about(None, "target 4"), vec![4]),
        (about(Some(200), ""), vec![]),
    ];
    for (query, expected) in asked {
        assert_eq!(indexes(bed, &query, 99), expected, "{query:?}");
        assert_eq!(indexes(bed, &query, 2), expected[..expected.len().min(2)], "{query:?}");
        let backwards = LogQuery { newest_first: true, ..query };
        let expected: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(indexes(bed, &backwards, 99), expected, "{backwards:?}");
        assert_eq!(indexes(bed, &backwards, 2), expected[..expected.len().min(2)], "{backwards:?}");
    }
    assert_eq!(bed.logs.search(&all(), 1).unwrap(), bed.logs.records(0, 1).unwrap());
}

fn about(account: Option<u8>, target: &str) -> LogQuery {
    let about = About { account: account.map(account_id), target: target.to_owned() };
    LogQuery { about: Some(about), ..LogQuery::default() }
}

fn add_key(of: u8, key: u8) -> LogChange {
    LogChange::SubjectKeyAdded { account: account_id(of), sealed: vec![key; 60] }
}

pub(super) fn an_erased_subject_has_no_keys_and_gets_none(bed: &mut Bed) {
    let keys = |bed: &Bed, of| bed.logs.subject_keys(account_id(of)).unwrap();
    assert_eq!(keys(bed, 1), SubjectKeys::Kept(vec![]));
    bed.commit([add_key(1, 5), add_key(2, 7)]);
    bed.commit([add_key(1, 4), add_key(1, 5)]);
    assert_eq!(keys(bed, 1), SubjectKeys::Kept(vec![vec![4; 60], vec![5; 60]]));
    let erase = |of| LogChange::SubjectKeyErased { account: account_id(of) };
    bed.commit([erase(1), erase(3)]);
    bed.commit([erase(1), add_key(1, 6), add_key(3, 6)]);
    assert_eq!([1, 3].map(|of| keys(bed, of)), [SubjectKeys::Erased, SubjectKeys::Erased]);
    assert_eq!(keys(bed, 2), SubjectKeys::Kept(vec![vec![7; 60]]));
}

/// A prune up to that record, as it should be.
fn pruned(bed: &Bed, through: u64) -> Pruned {
    let record = bed.logs.records(through - 1, 1).unwrap().remove(0);
    Pruned { through, seq: record.seq, hash: record.hash, at: time(77) }
}

pub(super) fn a_pruned_chain_goes_on_from_its_base(bed: &mut Bed) {
    assert_eq!(bed.logs.base().unwrap(), None);
    for n in 1..=6 {
        bed.commit([LogChange::Event(event(n))]);
    }
    for count in [2, 4, 5] {
        bed.commit([LogChange::HeadSigned(signed_head(count))]);
    }
    let (whole, head) = (bed.logs.records(0, 99).unwrap(), bed.logs.head().unwrap());
    let (first, second) = (pruned(bed, 2), pruned(bed, 4));
    bed.commit([LogChange::Pruned(first.clone())]);
    assert_eq!(bed.logs.records(0, 99).unwrap(), whole[2..]);
    assert_eq!(bed.logs.base().unwrap(), Some(first.clone()));
    assert_eq!((bed.logs.head().unwrap(), bed.logs.signed_heads(0, 9).unwrap().len()), (head, 3));
    bed.commit([LogChange::Pruned(second.clone())]);
    assert_eq!(bed.logs.signed_heads(0, 9).unwrap(), [signed_head(4), signed_head(5)]);
    assert_eq!(bed.logs.records(4, 1).unwrap(), whole[4..5]);
    assert_eq!(bed.logs.records(5, 9).unwrap(), whole[5..]);
    assert_eq!(indexes(bed, &LogQuery::default(), 9), [5, 6]);
    // What is not the chain's own is not taken: again, backwards, beyond the end, another history's.
    let forged = Pruned { hash: ChainHash([9; 32]), ..pruned(bed, 5) };
    for wrong in [second.clone(), first, Pruned { through: 60, ..second.clone() }, forged] {
        bed.commit([LogChange::Pruned(wrong)]);
        assert_eq!(bed.logs.base().unwrap(), Some(second.clone()));
    }
    let last = pruned(bed, 6);
    bed.commit([LogChange::Pruned(last)]);
    assert_eq!((bed.logs.records(0, 9).unwrap(), bed.logs.head().unwrap()), (vec![], head));
    bed.commit([LogChange::Event(event(7))]);
    assert_eq!(bed.logs.records(0, 9).unwrap()[0].index, 7);
}
