//! Records that are dropped for their age from the real files.

use std::time::Instant;

use super::*;
use crate::audit::retention::Retention;

fn retention(node: &Node, stores: &Stores, keep: Duration) -> Retention {
    Retention::new(node.trail(stores, 7), key().public(), keep, node.clock.clone(), Instant::now())
}

#[tokio::test]
async fn old_records_are_dropped_up_to_a_signed_head_and_the_rest_is_proven_after_a_restart() {
    let node = Node::written().await;
    let stores = node.open();
    let signer = node.signer(&stores);
    let keep = Duration::from_secs(24 * 3600);
    let retention = retention(&node, &stores, keep);
    assert_eq!(retention.step(Timestamp::MAX).await.unwrap(), None, "nothing is a day old");
    let forever = self::retention(&node, &stores, Duration::ZERO);
    node.clock.advance(keep);
    assert_eq!(forever.step(Timestamp::MAX).await.unwrap(), None);
    let pruned = retention
        .step(Timestamp::MAX)
        .await
        .unwrap()
        .expect("eight records are under a head that is a day old");
    assert_eq!(pruned.through, 8);
    assert_eq!(retention.step(Timestamp::MAX).await.unwrap(), None);
    signer.forget(pruned.through).await.unwrap();
    signer.sign_now().await.unwrap().expect("the event is new");
    assert_eq!(std::fs::read_to_string(node.witness()).unwrap().lines().count(), 2);
    drop((signer, retention, forever));
    stores.close().unwrap();

    let stores = node.open();
    let report = node.report(&stores);
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.count), (5, 13));
    assert_eq!(report.pruned.unwrap().through, 8);
    assert_eq!(node.reader(&stores).tail(99).unwrap().events.first().map(|record| record.index), Some(9));
    stores.close().unwrap();

    node.sql("DELETE FROM base");
    assert!(names(&node.findings(), &Finding::Missing { from: 1, to: 8 }));
    node.sql("INSERT INTO base SELECT 1, idx, seq, hash, 5 FROM events WHERE idx = 10");
    node.sql("DELETE FROM events WHERE idx <= 10");
    let findings = node.findings();
    assert!(names(&findings, &Finding::PruneUnrecorded { through: 10 }), "{findings:?}");
    assert!(names(&findings, &Finding::BaseUnsigned { through: 10 }), "{findings:?}");
}

#[tokio::test]
async fn a_forged_head_does_not_say_how_far_to_go_and_much_that_is_due_is_told_once() {
    let node = Node::written().await;
    node.sql("INSERT INTO signed_heads VALUES (1, zeroblob(32), 9000000000000, zeroblob(64))");
    let stores = node.open();
    let day = Duration::from_secs(24 * 3600);
    let retention = retention(&node, &stores, day);
    let oldest = stores.logs.signed_heads(1, 1).unwrap().pop().unwrap();
    let hour = Instant::now() + Duration::from_secs(3600);
    assert!(retention.allow(hour).await.unwrap().unwrap().surprise.is_none());
    node.clock.advance(day * 700);
    let allowed = retention.allow(hour).await.unwrap().unwrap();
    assert_eq!(allowed.limit, oldest.at.plus(day));
    assert_eq!(allowed.surprise.map(|overdue| overdue.as_secs() / day.as_secs()), Some(699));
    assert!(retention.allow(hour).await.unwrap().unwrap().surprise.is_none(), "told already");
}

#[tokio::test]
async fn nothing_is_dropped_from_a_log_that_its_heads_contradict() {
    let node = Node::written().await;
    node.sql("UPDATE events SET hash = zeroblob(32) WHERE idx = 8");
    let stores = node.open();
    let keep = Duration::from_secs(24 * 3600);
    node.clock.advance(keep);
    let retention = retention(&node, &stores, keep);
    let error = retention.step(Timestamp::MAX).await.unwrap_err();
    assert!(error.to_string().contains("audit verify"), "{error}");
    assert_eq!(stores.logs.base().unwrap(), None);
}

#[tokio::test]
async fn a_copy_may_end_in_what_the_log_bears_out_and_in_nothing_else() {
    let node = Node::written().await;
    let stores = node.open();
    let check = crate::audit::outside::copy::check(key().public(), stores.logs.clone());
    let ours = |count| key().sign(count, stores.logs.records(count - 1, 1).unwrap()[0].hash, at(1));
    let (four, eight) = (ours(4), ours(8));
    let forged = HeadKey::from_seed(&[99; 32]).sign(4, four.hash, at(1));
    let other = key().sign(8, four.hash, at(1));
    let beyond = key().sign(13, four.hash, at(1));
    let none = key().sign(0, ChainHash::default(), at(1));
    let judged = || [&four, &eight, &forged, &other, &beyond, &none].map(|head| check(head).unwrap());
    assert_eq!(judged(), [true, true, false, false, false, false]);

    node.clock.advance(Duration::from_secs(24 * 3600));
    let retention = retention(&node, &stores, Duration::from_secs(24 * 3600));
    assert_eq!(retention.step(Timestamp::MAX).await.unwrap().unwrap().through, 8);
    stores.logs.reached(stores.committer.durable()).await.unwrap();
    assert_eq!(
        judged(),
        [true, true, false, false, false, false],
        "as before, though the records are dropped"
    );
}
