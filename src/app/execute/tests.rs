//! The audit log as the next command, and the last head, find it: commits do not wait for it, so
//! who reads it must.

use tempfile::TempDir;

use super::*;
use crate::app::control::reply::Reply;
use crate::config::{Config, read};

fn config(folder: &TempDir) -> Config {
    let text = format!(
        "environment = \"development\"\ndata_dir = {:?}\n[store]\nsegment_bytes = \"1MiB\"\n\
         [audit]\nhead_every = \"1h\"\n[[routes]]\npath = \"/\"\napi = true\n",
        folder.path().join("data")
    );
    read::parse(&text, "test", Vec::new()).unwrap_or_else(|problems| panic!("{problems}"))
}

async fn ask(core: &Core, command: Command) -> Reply {
    core.execute(command, Actor::Console(0)).await.unwrap()
}

async fn ban(core: &Core, n: u8) {
    let network = format!("192.0.2.{n}/32").parse().unwrap();
    ask(core, Command::BlacklistAdd { network, reason: String::new(), ttl_seconds: None, force: false })
        .await;
}

#[tokio::test]
async fn what_was_just_done_is_in_the_tail_of_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let core = Core::open(config(&folder)).await.unwrap();
    for n in 0..30 {
        ban(&core, n).await;
        let Reply::Events(events) = ask(&core, Command::AuditTail { after: None, limit: 1 }).await else {
            panic!("not events");
        };
        assert_eq!(events.events.last().unwrap().target, format!("192.0.2.{n}/32"));
    }
    core.close().await.unwrap();
}

#[tokio::test]
async fn the_last_head_covers_the_last_event() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let core = Core::open(config(&folder)).await.unwrap();
        ban(&core, n).await;
        core.close().await.unwrap();
        let core = Core::open(config(&folder)).await.unwrap();
        let logs = &core.stores.logs;
        let signed = logs.signed_heads(0, usize::MAX).unwrap().last().map(|head| head.count);
        assert_eq!(signed, Some(logs.head().unwrap().count), "life {n}");
        drop(core);
    }
}

#[tokio::test]
async fn a_witness_is_begun_anew_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let core = Core::open(config(&folder)).await.unwrap();
    ban(&core, 1).await;
    let renewed = ask(&core, Command::AuditRenewWitness).await;
    let Reply::WitnessRenewed { old: Some(old) } = renewed else { panic!("not renewed: {renewed:?}") };
    assert!(old.exists());
    // Where it was removed there is none to name.
    std::fs::remove_file(folder.path().join("data/audit/heads.jsonl")).unwrap();
    let renewed = ask(&core, Command::AuditRenewWitness).await;
    assert_eq!(renewed, Reply::WitnessRenewed { old: None });
    let Reply::Events(events) = ask(&core, Command::AuditTail { after: None, limit: 1 }).await else {
        panic!("not events");
    };
    let last = serde_json::to_value(events.events.last().unwrap()).unwrap();
    assert_eq!((&last["intent"], &last["actor"]), (&"witness_renew".into(), &"console:0".into()));
    core.close().await.unwrap();
}
