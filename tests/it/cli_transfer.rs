//! Accounts leave one gate and arrive at another: with ids, passwords and roles; through the daemon and
//! without one; and what a file can be refused for.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::gate::Gate;
use crate::harness::person::{Person, login};

const ADA: &str = "ada@example.com";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_moves_to_another_gate_and_logs_in_there() {
    let mut old = Gate::start_cheap();
    let ada = Person::join(&old.client(), ADA).await;
    old.cli(&["user", "roles", ADA, "editor", "member"]).expect(0);
    let many: String = (0..700).map(|n| format!("{{\"email\":\"n{n}@example.com\"}}\n")).collect();
    old.cli_with_input(&["user", "import", "-"], &many).expect(0);
    old.cli(&["user", "disable", "n7@example.com"]).expect(0);
    let file = old.folder().join("people.jsonl");
    let file = file.to_str().expect("UTF-8");
    let said = old.cli(&["user", "export", "--with-password-hashes", "--out", file]).expect(0);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        (format!("702 accounts exported to {file}\n").as_str(), "")
    );
    assert_eq!(std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777, 0o600);
    old.cli(&["user", "export", "--out", file]).expect(4);
    let plain = old.cli(&["user", "export"]).expect(0).stdout;
    assert!(!plain.contains("argon2") && lines(&plain).len() == 702);
    old.stop();
    let offline = old.cli(&["user", "export"]).expect(0).stdout;
    assert_eq!(offline, plain, "the same without a daemon");
    old.verify_audit();
    let exports: Vec<_> =
        old.audit().into_iter().filter(|event| event["intent"] == "account_export").collect();
    let with_hashes: u64 = exports
        .iter()
        .filter(|e| e["reason"] == "with_password_hashes")
        .filter_map(|e| e["count"].as_u64())
        .sum();
    assert_eq!(with_hashes, 702, "{exports:?}");

    let new = Gate::start_cheap();
    // Both made their first administrator: not the same person.
    let clash = new.cli(&["user", "import", file, "--json"]).expect(4).failure();
    assert_eq!((&clash["faults"][0]["line"], &clash["faults"][0]["field"]), (&json!(1), &json!("email")));
    assert_eq!(new.cli_json(&["user", "list"]).as_array().map(Vec::len), Some(1), "nothing was created");
    let text = std::fs::read_to_string(file).expect("it is there");
    let others: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(file, &others).expect("writable");
    let dry = new.cli_json(&["user", "import", file, "--dry-run"]);
    assert_eq!(dry, json!({"created": 701, "skipped": 0, "dry_run": true}));
    let said = new.cli(&["user", "import", file]).expect(0);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        (format!("{file}: 701 accounts created\n").as_str(), "")
    );
    let again = new.cli(&["user", "import", file]).expect(4);
    assert!(again.stderr.contains("there already"), "{again:?}");
    let again = new.cli_json(&["user", "import", file, "--skip-existing"]);
    assert_eq!(again, json!({"created": 0, "skipped": 701, "dry_run": false}));

    let moved = new.cli_json(&["user", "show", &ada.id]);
    assert_eq!((&moved["email"], &moved["roles"]), (&json!(ADA), &json!(["editor", "member"])));
    login(&new.client(), ADA).await.expect(200);
    assert_eq!(new.cli_json(&["user", "sessions", ADA]).as_array().map(Vec::len), Some(1));
    assert_eq!(new.cli_json(&["user", "show", "n7@example.com"])["status"], "disabled");
    assert_eq!(new.cli_json(&["user", "show", "n8@example.com"])["password_set_at"], Value::Null);
    login(&new.client(), "n8@example.com").await.expect(401);
    new.verify_audit();
}

#[test]
fn a_file_with_any_fault_changes_nothing_whether_a_daemon_runs_or_not() {
    let mut gate = Gate::start_cheap();
    let absurd =
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let text = format!(
        "{{\"email\":\"good@example.com\"}}\n{{\"email\":\"bad\"}}\n{{\"email\":\"heavy@example.com\",\"password_hash\":\"{absurd}\"}}\n\
         {{\"email\":\"{}@example.com\"}}\nhello\n",
        "x".repeat(20_000)
    );
    let ask = |gate: &Gate| {
        let said = gate.cli_with_input(&["user", "import", "-"], &text).expect(4);
        assert_eq!(said.stdout, "");
        assert!(!said.stderr.contains("nf65EOgL"), "{said:?}");
        assert_eq!(gate.cli_json(&["user", "list"]).as_array().map(Vec::len), Some(1));
        said.stderr
    };
    let running = ask(&gate);
    insta::assert_snapshot!(running);
    gate.stop();
    assert_eq!(ask(&gate), running);
    let missing = gate.cli(&["user", "import", "/nowhere/people.jsonl"]).expect(2);
    assert!(missing.stderr.contains("/nowhere/people.jsonl"), "{missing:?}");
    gate.cli_with_input(&["user", "import", "-"], "").expect(0);
}

#[test]
fn a_byte_order_mark_is_named() {
    let mut gate = Gate::start_cheap();
    gate.stop();
    let said =
        gate.cli_with_input(&["user", "import", "-"], "\u{feff}{\"email\":\"bob@example.com\"}\n").expect(4);
    assert!(said.stderr.contains("byte order mark"), "{said:?}");
}

#[test]
fn an_export_that_is_interrupted_leaves_no_file() {
    let mut gate = Gate::start_cheap();
    let lines: String = (0..2000).map(|n| format!("{{\"email\":\"n{n}@example.com\"}}\n")).collect();
    gate.cli_with_input(&["user", "import", "-"], &lines).expect(0);
    gate.stop();
    for command in [["user", "export", "--out"], ["audit", "export", "--out"]] {
        let folder = tempfile::tempdir().expect("a temp dir");
        let path = folder.path().join("out.jsonl");
        let mut export = gate.subcommand(&[&command[..], &[path.to_str().expect("UTF-8")]].concat());
        let mut export = export.stderr(std::process::Stdio::null()).spawn().expect("the binary starts");
        let there = || std::fs::read_dir(folder.path()).expect("readable").count() > 0;
        while !there() && export.try_wait().expect("ours").is_none() {
            std::thread::yield_now();
        }
        let pid = i32::try_from(export.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("ours");
        let ended = export.wait().expect("ours");
        // Whole, if it was quicker than the signal; never a part.
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").collect();
        match ended.success() {
            true => assert!(std::fs::read_to_string(&path).expect("whole").lines().count() >= 1500),
            false => assert!(left.is_empty(), "{ended}: {left:?}"),
        }
    }
}
