//! A witness that lacks what it once had: what a crash kept from it is appended, what was cut or lost is
//! named until an operator begins it anew.

use super::*;

impl Node {
    /// Heads of 4, 8, 12 and 13 records.
    async fn of_four_heads() -> Self {
        let node = Self::written().await;
        let stores = node.open();
        let signer = node.signer(&stores);
        signer.sign_now().await.unwrap().expect("twelve records");
        node.record(&stores, 13).await;
        signer.sign_now().await.unwrap().expect("one more");
        drop(signer);
        stores.close().unwrap();
        node
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.witness()).unwrap().lines().map(str::to_owned).collect()
    }

    fn cut_to(&self, lines: usize) {
        let kept: String = self.lines()[..lines].iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.witness(), kept).unwrap();
    }
}

#[tokio::test]
async fn two_heads_are_owed_to_a_crash_and_three_were_cut() {
    let node = Node::of_four_heads().await;
    let whole = node.lines();
    node.cut_to(2);
    let stores = node.open();
    drop(node.signer(&stores));
    assert_eq!(node.lines(), whole, "what a crash kept from it");
    node.cut_to(1);
    drop(node.signer(&stores));
    assert_eq!(node.lines(), whole[..1], "it is left as it is");
    assert!(names(&node.report(&stores).findings, &Finding::NotWitnessed { count: 8 }));
    stores.close().unwrap();
}

#[tokio::test]
async fn a_witness_that_was_lost_is_begun_anew_when_asked_for_and_the_old_one_stays() {
    let node = Node::of_four_heads().await;
    let whole = node.lines();
    std::fs::write(node.witness(), "what is left of it\n").unwrap();
    node.sql("INSERT INTO signed_heads VALUES (5, zeroblob(32), 5, zeroblob(64))");
    let stores = node.open();
    let signer = node.signer(&stores);
    assert!(names(&node.report(&stores).findings, &Finding::NotWitnessed { count: 4 }));
    let old = signer.renew().await.unwrap();
    assert_eq!(std::fs::read_to_string(old.unwrap()).unwrap(), "what is left of it\n");
    assert_eq!(node.lines(), whole, "and no forged head");
    node.record(&stores, 14).await;
    signer.sign_now().await.unwrap().expect("one more");
    assert_eq!(node.lines().len(), 5, "it goes on in the new file");
    let findings = node.report(&stores).findings;
    assert_eq!(findings, [Finding::BadSignature { count: 5, place: Place::Log }]);
}

#[tokio::test]
async fn a_last_line_that_is_no_head_does_not_make_the_witness_begin_again() {
    let node = Node::written().await;
    let garbled = std::fs::read_to_string(node.witness()).unwrap() + "{}\n";
    std::fs::write(node.witness(), &garbled).unwrap();
    let stores = node.open();
    drop(node.signer(&stores));
    assert_eq!(std::fs::read_to_string(node.witness()).unwrap(), garbled);
    assert_eq!(node.report(&stores).findings, [Finding::WitnessUnreadable { line: 3 }]);
}
