//! The commands about the node: blacklist, keys, audit, status, check, and which node is meant.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::cli::run;
use crate::harness::gate::{Gate, NOBODY, as_nobody, binary};
use crate::harness::person::Person;

#[test]
fn the_blacklist_is_kept_by_the_daemon_and_without_it() {
    let mut gate = Gate::start_cheap();
    bans(&gate);
    gate.stop();
    bans(&gate);
    gate.verify_audit();
}

fn bans(gate: &Gate) {
    let added = gate.cli_json(&["blacklist", "add", "192.0.2.7/24", "--reason", "scans", "--ttl", "24h"]);
    assert_eq!((&added[0]["network"], &added[0]["reason"]), (&json!("192.0.2.0/24"), &json!("scans")));
    gate.cli(&["blacklist", "add", "::ffff:198.51.100.1"]).expect(0);
    let networks = |bans: Value| -> Vec<String> {
        let bans = bans.as_array().expect("a list").clone();
        bans.iter().map(|ban| ban["network"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(networks(gate.cli_json(&["blacklist", "list"])), ["192.0.2.0/24", "198.51.100.1/32"]);
    assert_eq!(gate.cli_fails(&["blacklist", "add", "0.0.0.0/0"], 4), "invalid");
    gate.cli(&["blacklist", "add", "0.0.0.0/0", "--force"]).expect(0);
    gate.cli(&["blacklist", "remove", "0.0.0.0/0"]).expect(0);
    assert_eq!(gate.cli_fails(&["blacklist", "remove", "203.0.113.1"], 4), "not_found");
    gate.cli(&["blacklist", "add", "nonsense"]).expect(2);
    gate.cli(&["blacklist", "remove", "192.0.2.0/24"]).expect(0);
    gate.cli(&["blacklist", "remove", "198.51.100.1"]).expect(0);
    assert_eq!(gate.cli_json(&["blacklist", "list"]), json!([]));
    // Who bans itself, or what stands before it, does it on purpose.
    for own in ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/1", "::/3"] {
        let said = gate.cli(&["blacklist", "add", own]).expect(4);
        assert!(said.stderr.contains("loopback") && said.stderr.contains("--force"), "{own}: {said:?}");
    }
    gate.cli(&["blacklist", "add", "::1", "--force"]).expect(0);
    gate.cli(&["blacklist", "remove", "::1"]).expect(0);
}

#[test]
fn a_life_is_neither_nothing_nor_for_ever() {
    let gate = Gate::start_cheap();
    let ban = ["blacklist", "add", "192.0.2.7", "--ttl"];
    let invite = ["user", "invite", "--ttl"];
    for (command, longest) in [(&ban[..], "3650d"), (&invite[..], "366d")] {
        let with = |ttl| [command, &[ttl][..]].concat();
        for ttl in ["0s", "999ms", "3651d", "500000000000y", "18446744073709551615s", "99999999999999999999s"]
        {
            let said = gate.cli(&with(ttl)).expect(2);
            assert!(said.stderr.contains("from 1s to 3650d"), "{ttl}: {said:?}");
        }
        gate.cli(&with("1s")).expect(0);
        gate.cli(&with(longest)).expect(0);
    }
}

#[test]
fn what_the_configuration_bans_is_listed_with_its_source_and_a_trusted_proxy_is_spared() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let banned = folder.path().join("banned.txt");
    let lines: String = (0..700).map(|n| format!("10.{}.{}.0/24\n", n / 256, n % 256)).collect();
    std::fs::write(&banned, lines).expect("writable");
    let text = "[listen]\ntrusted_proxies = [\"192.0.2.0/28\"]\n[blacklist]\nnetworks = [\"203.0.113.9\"]\n\
         file = \"FILE\"\n[[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n";
    let mut gate = Gate::start_from_file(&text.replace("FILE", &banned.display().to_string()));
    for running in [true, false] {
        gate.cli(&["blacklist", "add", "198.51.100.1"]).expect(0);
        let listed = gate.cli_json(&["blacklist", "list"]);
        let text = |ban: &Value, key: &str| ban[key].as_str().expect("text").to_owned();
        let bans = listed.as_array().expect("a list").iter();
        let shown: Vec<_> = bans.map(|ban| text(ban, "network") + " by " + &text(ban, "source")).collect();
        let want = ["198.51.100.1/32 by command", "203.0.113.9/32 by blacklist.networks"];
        let file: Vec<_> =
            (0..700).map(|n| format!("10.{}.{}.0/24 by blacklist.file", n / 256, n % 256)).collect();
        let want: Vec<_> = want.iter().map(|&text| text.to_owned()).chain(file).collect();
        let sorted = |mut all: Vec<String>| {
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(shown), sorted(want));
        let table = gate.cli(&["blacklist", "list"]).expect(0).stdout;
        assert!(table.contains("SOURCE") && table.contains("blacklist.networks"), "{table}");
        let said = gate.cli(&["blacklist", "add", "192.0.2.0/24"]).expect(4);
        assert!(said.stderr.contains("192.0.2.0/28") && said.stderr.contains("trusted proxy"), "{said:?}");
        gate.cli(&["blacklist", "add", "192.0.2.3"]).expect(4);
        gate.cli(&["blacklist", "add", "192.0.2.3", "--force"]).expect(0);
        gate.cli(&["blacklist", "remove", "192.0.2.3"]).expect(0);
        if running {
            gate.stop();
        }
    }
}

#[test]
fn keys_are_rotated_and_retired_by_the_daemon_and_without_it() {
    let mut gate = Gate::start_cheap();
    key_life(&gate);
    gate.stop();
    key_life(&gate);
    gate.verify_audit();
}

fn key_life(gate: &Gate) {
    let before = gate.cli_json(&["key", "list"]);
    let (active, next) = (in_state(&before, "active"), in_state(&before, "next"));
    assert_eq!(gate.cli_fails(&["key", "rotate"], 4), "refused", "the next key is too young");
    let rotated = gate.cli_json(&["key", "rotate", "--force"]);
    assert_eq!(in_state(&rotated, "active"), next);
    assert_ne!(in_state(&rotated, "next"), next);
    assert_eq!(gate.cli_json(&["key", "list"]), rotated);
    let retired = gate.cli_json(&["key", "retire", "--compromised", "--", &active]);
    let state = |keys: &Value, id: &str| {
        let keys = keys.as_array().expect("a list");
        keys.iter().find(|key| key["id"] == id).map(|key| key["state"].clone())
    };
    assert_eq!(state(&retired, &active), Some(json!("retired")), "{retired}");
    assert_eq!(gate.cli_fails(&["key", "retire", "--", "no-such-key"], 4), "not_found");
}

fn in_state(keys: &Value, state: &str) -> String {
    let keys = keys.as_array().expect("a list");
    let found = keys.iter().find(|key| key["state"] == state);
    let found = found.unwrap_or_else(|| panic!("no {state} key in {keys:?}"));
    found["id"].as_str().expect("text").to_owned()
}

#[test]
fn status_tells_a_running_node_from_a_stopped_one() {
    let mut gate = Gate::start_cheap();
    let status = gate.cli(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["running"], &status["pid"]), (&json!(true), &json!(gate.pid())));
    assert_eq!(status["health"]["status"], "ok");
    let checks = status["health"]["checks"].as_array().expect("a list");
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["journal", "auth", "user", "logs", "tokens", "disk"]);
    assert!(status["listeners"][0].as_str().is_some_and(|text| text.starts_with("https://")), "{status}");
    let text = gate.cli(&["status"]).expect(0).stdout;
    assert!(text.contains("running, ok") && text.contains(&gate.pid().to_string()), "{text}");
    gate.stop();
    let status = gate.cli(&["status", "--json"]).expect(1).json();
    assert_eq!((&status["running"], &status["listeners"]), (&json!(false), &json!([])));
    assert_eq!(status["health"]["status"], "ok");
    let checks = status["health"]["checks"].as_array().expect("a list");
    let disk = checks.iter().find(|check| check["name"] == "disk").expect("it is checked");
    assert!(disk.to_string().contains("MiB free"), "nobody looked: {disk}");
}

#[test]
fn the_audit_log_names_the_console_and_proves_itself_either_way() {
    let mut gate = Gate::start_cheap();
    gate.cli(&["user", "add", "ada@example.com", "--generate"]).expect(0);
    gate.verify_audit();
    gate.stop();
    gate.cli(&["user", "disable", "ada@example.com"]).expect(0);
    gate.verify_audit();
    let events = gate.audit();
    let of = |intent: &str| {
        let event = events.iter().rev().find(|event| event["intent"] == intent);
        event.unwrap_or_else(|| panic!("no {intent} in {events:?}")).clone()
    };
    for intent in ["account_create", "account_disable"] {
        let event = of(intent);
        assert_eq!((&event["actor"], &event["outcome"]), (&json!("console:0"), &json!("granted")));
    }
    let indices: Vec<_> = events.iter().map(|event| event["index"].as_u64().expect("a number")).collect();
    assert_eq!(indices, (1..=indices.len() as u64).collect::<Vec<_>>());
    let last = gate.cli(&["audit", "tail", "-n", "1", "--json"]).expect(0).stdout;
    assert_eq!(last.lines().count(), 1);
    gate.cli(&["audit", "tail", "--follow"]).expect(2);
    let text = gate.cli(&["audit", "verify"]).expect(0).stdout;
    assert!(text.starts_with("The audit log is intact"), "{text}");
}

#[test]
fn the_audit_log_is_followed_as_it_grows() {
    let gate = Gate::start_cheap();
    let mut following = gate.subcommand(&["audit", "tail", "-n", "1", "--follow", "--json"]);
    let mut following = following.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut next =
        || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("UTF-8")).expect("JSON") };
    let first = next()["index"].as_u64().expect("a number");
    gate.cli(&["user", "add", "ada@example.com", "--generate"]).expect(0);
    let added = next();
    assert_eq!((&added["index"], &added["intent"]), (&json!(first + 1), &json!("account_create")));
    gate.cli(&["user", "disable", "ada@example.com"]).expect(0);
    assert_eq!(next()["intent"], "account_disable");
    following.kill().expect("it is ours");
    following.wait().expect("it is ours");
}

#[test]
fn who_follows_an_idle_log_notices_that_nobody_reads_any_more() {
    let gate = Gate::start_cheap();
    let mut following = gate.subcommand(&["audit", "tail", "-n", "1", "--follow"]);
    let mut following = following.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(following.stdout.take().expect("piped"));
    reader.read_line(&mut String::new()).expect("a line");
    drop(reader);
    // Nothing is written meanwhile: it would wait for ever.
    assert!(following.wait().expect("it is ours").success());
}

#[test]
fn a_changed_audit_record_is_found() {
    let mut gate = Gate::start_cheap();
    gate.cli(&["user", "add", "ada@example.com", "--generate"]).expect(0);
    gate.stop();
    let script = "import sqlite3,sys; db=sqlite3.connect(sys.argv[1])\n\
        [table]=[r[0] for r in db.execute(\"select name from sqlite_master where type='table' and name like 'event%'\")]\n\
        columns=[r[1] for r in db.execute(f'pragma table_info({table})') if r[2].upper()=='BLOB']\n\
        row=db.execute(f'select rowid,{columns[0]} from {table} order by rowid limit 1 offset 1').fetchone()\n\
        body=bytearray(row[1]); body[len(body)//2]^=1\n\
        db.execute(f'update {table} set {columns[0]}=? where rowid=?',(bytes(body),row[0])); db.commit()";
    let mut python = std::process::Command::new("/usr/bin/python3");
    python.args(["-c", script]).arg(gate.file("store/logs/view.sqlite"));
    run(python, "").expect(0);
    let verdict = gate.cli(&["audit", "verify", "--json"]).expect(1).json();
    assert_eq!(verdict["intact"], false, "{verdict}");
    assert!(verdict["findings"][0].as_str().is_some_and(|finding| finding.contains('2')), "{verdict}");
}

#[test]
fn check_names_every_mistake_of_a_file_at_once() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let path = folder.path().join("config.toml");
    let text = "environment = \"production\"\ndata_dir = \"data\"\n\
        [listen]\ninternal = \"0.0.0.0:9090\"\n[passwords]\nmemory_kib = 4096\n[accounts]\ncolour = 1\n\
        [[routes]]\npath = \"/x\"\nupstream = \"nobody\"\n";
    std::fs::write(&path, text).expect("writable");
    let check = |json: bool| {
        let mut command = std::process::Command::new(binary());
        command.arg("check").arg("--config").arg(&path).args(json.then_some("--json")).env_clear();
        run(command, "")
    };
    let found = check(true).expect(3).failure();
    let problems = found["problems"].as_array().expect("a list");
    let mut keys: Vec<_> = problems.iter().map(|problem| problem["key"].as_str().expect("text")).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "accounts.colour",
            "data_dir",
            "listen.internal",
            "passwords.memory_kib",
            "routes[0].upstream",
            "tls.source",
            "tokens.issuer"
        ]
    );
    let text = check(false).expect(3).stderr;
    assert!(text.contains("config.toml:2") && text.contains("absolute path"), "{text}");
    // The same report for whoever serves or commands with that file.
    for command in [["serve"].as_slice(), &["user", "list"]] {
        let mut again = std::process::Command::new(binary());
        again.args(command).arg("--config").arg(&path).env_clear();
        assert_eq!(run(again, "").expect(3).stderr, text, "{command:?}");
    }
}

#[test]
fn the_control_socket_and_the_folder_are_their_owners_alone() {
    let gate = Gate::start_cheap();
    let mode = |name: &str| {
        let metadata = std::fs::symlink_metadata(gate.file(name)).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("run/control.sock"), 0o600);
    assert_eq!(mode("master.key"), 0o600);
    for folder in ["", "run", "tls", "store", "store/journal", "store/auth", "store/tokens", "store/logs"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}

#[test]
fn another_user_is_refused_even_where_file_modes_would_let_them_in() {
    let gate = Gate::start_cheap();
    let copy = gate.copy_for_nobody();
    let list = || {
        let mut command = as_nobody(&copy);
        command.args(["user", "list", "--json", "--data"]).arg(gate.data()).env_clear();
        run(command, "")
    };
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let refused = list().expect(1);
    assert!(refused.failure()["remedy"].as_str().is_some_and(|text| text.contains("sudo")), "{refused:?}");
    for (name, mode) in [("", 0o755), ("run", 0o755), ("run/control.sock", 0o666)] {
        open(&gate.file(name), mode);
    }
    let refused = list().expect(4);
    assert_eq!(refused.failure()["code"], "refused", "{refused:?}");
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_folder_that_is_not_there_is_not_made_by_a_command() {
    let gate = Gate::prepare(&[]);
    let said = gate.cli(&["user", "list"]).expect(2);
    assert!(said.stderr.contains(&format!("{} is not there", gate.data().display())), "{said:?}");
    assert!(!gate.data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_does_while_the_daemon_is_stopped_leaves_the_folder_to_its_owner() {
    let mut gate = Gate::start_as_nobody();
    let ada = Person::join(&gate.client(), "ada@example.com").await;
    gate.cli(&["user", "roles", "ada@example.com", "member"]).expect(0);
    gate.stop();
    gate.cli(&["user", "roles", "ada@example.com", "editor"]).expect(0);
    let mut find = std::process::Command::new("find");
    find.arg(gate.data()).args(["!", "-uid", &NOBODY.to_string(), "-o", "!", "-gid", &NOBODY.to_string()]);
    assert_eq!(run(find, "").expect(0).stdout, "", "not the owner's");
    gate.restart();
    gate.client().get("/echo").bearer(&ada.access).send().await.expect(401);
    let changes = gate.audit().into_iter().filter(|event| event["intent"] == "roles_change");
    let actors: Vec<_> = changes.map(|event| event["actor"].clone()).collect();
    assert_eq!(actors, ["console:0", "console:0"], "who asked, not whom root became");
}

#[test]
fn check_looks_at_the_files_that_a_configuration_names() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    };
    let made = rcgen::generate_simple_self_signed(vec!["id.example.com".to_owned()]).expect("it is made");
    let certificate = file("leaf.pem", &made.cert.pem(), 0o644);
    let key = file("leaf.key", &made.signing_key.serialize_pem(), 0o600);
    let text = format!(
        "environment = \"production\"\ndata_dir = {:?}\n[tls]\nsource = \"files\"\n\
         [[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [tokens]\nissuer = \"https://id.example.com\"\n[[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n",
        folder.path().join("data")
    );
    let config = file("config.toml", &text, 0o644);
    let check = || {
        let mut command = std::process::Command::new(binary());
        command.arg("check").arg("--config").arg(&config).env_clear();
        run(command, "")
    };
    check().expect(0);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o660)).expect("it is ours");
    let said = check().expect(3).stderr;
    assert!(said.contains("tls.certificates[0].key") && said.contains("mode 660"), "{said}");
    std::fs::remove_file(&certificate).expect("it is there");
    let said = check().expect(3).stderr;
    assert!(said.contains("2 problems") && said.contains("leaf.pem"), "{said}");
    assert!(!folder.path().join("data").exists(), "check changes nothing");
}

#[test]
fn one_check_names_the_mistakes_of_the_text_and_of_the_files() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let config = folder.path().join("config.toml");
    let text = "environment = \"production\"\ncolour = 1\ndata_dir = \"/nowhere/at/all\"\n\
        [tls]\nsource = \"files\"\n[[tls.certificates]]\ncertificate = \"/nowhere/c.pem\"\nkey = 7\n\
        [blacklist]\nfile = \"/nowhere/b.txt\"\n[audit]\nwitness_file = \"/nowhere/heads.jsonl\"\n\
        [tokens]\nissuer = \"https://id.example.com\"\n\
        [[routes]]\npath = \"/\"\nupstream = \"nobody\"\n";
    std::fs::write(&config, text).expect("writable");
    let run_it = |arguments: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command.args(arguments).arg("--config").arg(&config).env_clear();
        run(command, "")
    };
    let found = run_it(&["check", "--json"]).expect(3).failure();
    let problems = found["problems"].as_array().expect("a list");
    let keys: Vec<_> = problems.iter().map(|problem| problem["key"].as_str().expect("text")).collect();
    let want = [
        "colour",
        "tls.certificates[0].key",
        "routes[0].upstream",
        "blacklist.file",
        "data_dir",
        "audit.witness_file",
    ];
    assert_eq!(keys, want);
    // What a node catches up with later does not keep it from starting.
    let serve = run_it(&["serve"]).expect(3).stderr;
    for key in want {
        assert_eq!(serve.contains(key), key != "audit.witness_file", "{key}: {serve}");
    }
}
