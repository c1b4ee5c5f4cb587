//! Tampering with records that the journal no longer has: its heads still speak of them.

use super::*;

#[test]
fn a_chain_rewritten_before_the_journal_begins_contradicts_the_heads_in_the_journal() {
    let mut scene = scene();
    scene.oldest = Seq(11);
    let head = scene.heads[2].clone();
    scene.signing = Signing { newest: 0, committed: vec![CommittedHead { head, applied: true }] };
    scene.records[6].payload = postcard::to_stdvec(&event(700)).unwrap();
    scene.rechain();
    (scene.heads, scene.witness) = (vec![], Some(vec![]));
    assert_eq!(scene.findings(), [mismatch(15, Place::Journal), Finding::HeadMissing { count: 15 }]);
}
