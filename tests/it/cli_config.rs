//! `config show`, `config keys`, `completions` and `man` of the real binary.

use std::process::Command;

use crate::harness::cli::run;
use crate::harness::gate::{Gate, binary};

#[test]
fn every_key_is_shown_with_who_set_it() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let path = folder.path().join("config.toml");
    let text = "environment = \"stage\"\n[limits]\nconnections = 500\n[keys]\nmaster_key = { value = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" }\n\
        [[routes]]\npath = \"/\"\napi = true\n";
    std::fs::write(&path, text).expect("writable");
    let show = |more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["config", "show", "--config"]).arg(&path).args(more).env_clear();
        command.env("KEEPGATE_LIMITS__CONNECTIONS_PER_ADDRESS", "50");
        run(command, "").expect(0)
    };
    let all = show(&["--json", "--data", "/elsewhere"]).json();
    let of = |key: &str| {
        let found = all.as_array().expect("a list").iter().find(|setting| setting["key"] == key);
        found.unwrap_or_else(|| panic!("no {key} in {all}")).clone()
    };
    let file = path.display().to_string();
    for (key, value, source, at) in [
        ("environment", "\"stage\"", "file", format!("{file}:1")),
        ("limits.connections", "500", "file", format!("{file}:3")),
        (
            "limits.connections_per_address",
            "50",
            "environment",
            "$KEEPGATE_LIMITS__CONNECTIONS_PER_ADDRESS".into(),
        ),
        ("data_dir", "\"/elsewhere\"", "argument", "--data".into()),
        ("limits.head_bytes", "\"32KiB\"", "default", "default".into()),
        ("tls.source", "\"local-ca\"", "default", "default".into()),
        ("keys.master_key", "{\"value\":\"(hidden)\"}", "file", format!("{file}:5")),
        ("routes[0].api", "true", "file", format!("{file}:8")),
    ] {
        let found = of(key);
        assert_eq!(
            (found["value"].to_string().as_str(), &found["source"], &found["at"]),
            (value, &source.into(), &at.into()),
            "{key}"
        );
    }
    let text = show(&[]).stdout;
    assert!(!text.contains("AAAA") && text.contains("(hidden)"), "{text}");
    assert!(text.contains("limits.connections_per_address"), "{text}");
    std::fs::write(&path, "environment = \"stge\"\n").expect("writable");
    let mut command = Command::new(binary());
    command.args(["config", "show", "--config"]).arg(&path).env_clear();
    let said = run(command, "").expect(3);
    assert!(said.stderr.contains("config.toml:1"), "{said:?}");
}

#[test]
fn a_development_folder_is_explained_too() {
    let mut gate = Gate::start_cheap();
    gate.stop();
    let all = gate.cli_json(&["config", "show"]);
    let of = |key: &str| all.as_array().expect("a list").iter().find(|s| s["key"] == key).expect(key).clone();
    assert_eq!(of("accounts.registration")["source"], "development");
    assert_eq!(of("passwords.memory_kib")["at"], "$KEEPGATE_PASSWORDS__MEMORY_KIB");
}

#[test]
fn keys_completions_and_manual_pages_need_no_node() {
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear();
        run(command, "")
    };
    let keys = bare(&["config", "keys", "limits.head_", "--json"]).expect(0).json();
    assert_eq!(keys[0]["key"], "limits.head_bytes");
    assert_eq!((&keys[0]["default"], keys.as_array().map(Vec::len)), (&"32KiB".into(), Some(2)));
    bare(&["config", "keys", "nothing"]).expect(2);
    for shell in ["bash", "zsh", "fish"] {
        assert!(bare(&["completions", shell]).expect(0).stdout.contains("set-password"), "{shell}");
    }
    bare(&["completions", "tcsh"]).expect(2);
    let folder = tempfile::tempdir().expect("a temp dir");
    let out = folder.path().join("man1");
    bare(&["man", "--out", out.to_str().expect("UTF-8")]).expect(0);
    let page = std::fs::read_to_string(out.join("keepgate-user-import.1")).expect("it is written");
    assert!(page.contains("skip"), "{page}");
    assert!(bare(&["man"]).expect(0).stdout.contains("Exit codes"));
}

#[test]
fn a_table_in_a_variable_is_answered_with_the_variables_that_can_say_it() {
    let gate = Gate::prepare_with_file("[[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n");
    let mut check = gate.subcommand(&["check"]);
    check.env("KEEPGATE_KEYS__MASTER_KEY", "{ env = \"FOO\" }");
    let said = run(check, "").expect(3);
    assert!(said.stderr.contains("KEEPGATE_KEYS__MASTER_KEY__ENV"), "{said:?}");
    assert!(!said.stderr.contains("FOO"), "{said:?}");
}
