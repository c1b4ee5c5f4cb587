//! The binary needs nothing but itself: the whole story again, in an empty root.

use std::process::Command;

use crate::flow::whole_story;
use crate::harness::gate::{Gate, binary};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_runs_in_an_empty_root() {
    let mut gate = Gate::start_in_empty_root();
    whole_story(&mut gate).await;
}

#[test]
fn the_binary_is_static() {
    let output = Command::new("ldd").arg(binary()).output().expect("ldd runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("statically linked") || said.contains("not a dynamic executable"), "{said}");
}
