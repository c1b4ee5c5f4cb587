//! The audit log as an operator uses it: searched, exported, erased, through the daemon and without.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::gate::Gate;
use crate::harness::person::Person;

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

/// What a search found, one JSON object for each event.
fn found(gate: &Gate, conditions: &[&str]) -> Vec<Value> {
    let arguments: Vec<_> = ["audit", "search", "--json"].iter().chain(conditions).copied().collect();
    let said = gate.cli(&arguments).expect(0);
    said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

fn words(events: &[Value], field: &str) -> Vec<String> {
    events.iter().map(|event| event[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_subject_address_kind_outcome_and_time_running_or_not() {
    let mut gate = Gate::start_cheap();
    let ada = Person::join(&gate.client(), ADA).await;
    Person::join(&gate.client(), BOB).await;
    gate.cli(&["user", "disable", ADA]).expect(0);
    let ask = |gate: &Gate| {
        let about = found(gate, &["--subject", ADA]);
        assert_eq!(found(gate, &["--subject", &ada.id]), about);
        assert_eq!(words(&about, "intent"), ["register", "login", "account_disable"]);
        assert!(
            about[..2].iter().all(|event| event["address"] == "127.0.0.1" && event["subject"] == *ada.id)
        );
        assert_eq!(found(gate, &["--kind", "login", "--outcome", "granted"]).len(), 2);
        assert_eq!(
            found(gate, &["--kind", "login", "--limit", "1"])[0]["actor"],
            "account:".to_owned() + &gate_id(gate, BOB)
        );
        let from = found(gate, &["--address", "127.0.0.0/8"]);
        assert_eq!(words(&from, "intent"), ["register", "login", "register", "login"]);
        assert_eq!(found(gate, &["--address", "192.0.2.1"]), [Value::Null; 0]);
        assert_eq!(found(gate, &["--since", "1h"]), found(gate, &[]));
        assert_eq!(found(gate, &["--until", "1h"]), [Value::Null; 0]);
        let second = about[1]["at"].as_str().expect("a time");
        assert_eq!(found(gate, &["--subject", ADA, "--until", second]).len(), 2);
        (about, from)
    };
    let running = ask(&gate);
    gate.stop();
    assert_eq!(ask(&gate), running);
    let said = gate.cli(&["audit", "search", "--subject", "nobody@example.com"]).expect(4);
    assert!(said.stderr.contains("found by its id"), "{said:?}");
    gate.cli(&["audit", "search", "--kind", "logon"]).expect(2);
    gate.cli(&["audit", "search", "--since", "yesterday"]).expect(2);
}

fn gate_id(gate: &Gate, user: &str) -> String {
    gate.cli_json(&["user", "show", user])["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_every_event_once_in_both_formats() {
    let mut gate = Gate::start_cheap();
    for n in 0..30 {
        gate.cli(&["blacklist", "add", &format!("192.0.2.{n}"), "--reason", "a=b|c\\"]).expect(0);
    }
    let folder = tempfile::tempdir().expect("a temp dir");
    let out = folder.path().join("log.cef");
    let path = out.to_str().expect("UTF-8");
    let said = gate.cli(&["audit", "export", "--format", "cef", "--out", path]).expect(0);
    let json = gate.cli(&["audit", "export", "--kind", "blacklist_add"]).expect(0);
    assert_eq!(json.stdout.lines().count(), 30);
    assert_eq!(json.stderr, "", "nothing but the export where no terminal is");
    let all = found(&gate, &["--limit", "100000"]);
    let cef = std::fs::read_to_string(&out).expect("it was written");
    assert_eq!(said.stdout, format!("{} events exported to {path}\n", cef.lines().count()));
    assert!(cef.lines().count() <= all.len() && cef.lines().all(|line| line.starts_with("CEF:0|Keepgate|")));
    assert_eq!(cef.lines().filter(|line| line.contains("|blacklist_add|")).count(), 30);
    let again = gate.cli(&["audit", "export", "--out", path]).expect(4);
    assert!(again.stderr.contains("log.cef"), "{again:?}");
    gate.stop();
    assert_eq!(gate.cli(&["audit", "export", "--kind", "blacklist_add"]).expect(0), json);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_person_is_erased_from_the_log_and_the_chain_is_still_proven() {
    let mut gate = Gate::start_cheap();
    let ada = Person::join(&gate.client(), ADA).await;
    Person::join(&gate.client(), BOB).await;
    gate.cli(&["user", "delete", ADA]).expect(0);
    for runs in [true, false] {
        if !runs {
            gate.stop();
        }
        let about = found(&gate, &["--subject", &ada.id]);
        assert_eq!(words(&about, "intent"), ["register", "login", "account_delete"]);
        assert_eq!(words(&about[..2], "personal"), ["erased", "erased"]);
        assert!(about.iter().all(|event| event["address"].is_null()));
        assert_eq!(
            words(&found(&gate, &["--address", "127.0.0.1"]), "intent"),
            ["register", "login"],
            "Bob's"
        );
        let text = gate.cli(&["audit", "search", "--subject", &ada.id]).expect(0).stdout;
        assert!(text.contains("from=(erased)"), "{text}");
        gate.verify_audit();
    }
    gate.restart();
    assert_eq!(words(&found(&gate, &["--subject", &ada.id])[..1], "personal"), ["erased"]);
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_end_is_contradicted_by_witnesses_outside_though_all_that_is_inside_was_rewritten() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let copy = folder.path().join("copy.jsonl");
    let copy = copy.to_str().expect("UTF-8");
    let syslog = UdpSocket::bind("127.0.0.1:0").expect("a port");
    syslog.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("settable");
    let address = syslog.local_addr().expect("an address");
    let file = format!("KEEPGATE_AUDIT__WITNESS_FILE={copy}");
    let receiver = format!("KEEPGATE_AUDIT__SYSLOG=udp:{address}");
    let mut gate = Gate::start_with(&[&file, &receiver]);
    gate.cli(&["blacklist", "add", "192.0.2.1"]).expect(0);
    gate.stop();
    let mut buffer = [0; 2048];
    let length = syslog.recv(&mut buffer).expect("a message came");
    let message = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
    assert!(message.starts_with("<85>1 ") && message.contains(" audit-head - {\"count\":"), "{message}");
    gate.cli(&["audit", "verify", "--witness", copy]).expect(0);
    gate.cli(&["audit", "verify", "--witness", "/nowhere/copy.jsonl"]).expect(2);

    // Somebody puts the whole data folder back to an earlier day: everything in it agrees.
    let earlier = folder.path().join("earlier");
    copy_folder(&gate.data(), &earlier);
    gate.restart();
    gate.cli(&["blacklist", "add", "192.0.2.2"]).expect(0);
    gate.stop();
    std::fs::remove_dir_all(gate.data()).expect("removable");
    copy_folder(&earlier, &gate.data());
    let kept = std::fs::read(copy).expect("the copy is there");
    gate.cli(&["audit", "verify"]).expect(0);
    std::fs::write(copy, &kept).expect("as it was before the tampered node ran");
    let said = gate.cli(&["audit", "verify", "--witness", copy]).expect(1);
    let found = said.stdout.contains("the end was cut off") || said.stdout.contains("another history");
    assert!(found, "{said:?}");
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}
