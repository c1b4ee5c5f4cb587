//! `init`: from nothing to a gate that starts; and whatever stops it leaves nothing behind.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::cli::{Said, run};
use crate::harness::gate::binary;
use crate::harness::person::PASSWORD;

const CHEAP: [(&str, &str); 3] = [
    ("KEEPGATE_PASSWORDS__MEMORY_KIB", "64"),
    ("KEEPGATE_PASSWORDS__ITERATIONS", "1"),
    ("KEEPGATE_STORE__SEGMENT_BYTES", "1MiB"),
];

/// A command on the node in `folder`.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--config").arg(folder.join("etc/config.toml"));
    command.env_clear().envs(CHEAP);
    command
}

fn init(folder: &Path, more: &[&str]) -> Said {
    init_with(folder, more, PASSWORD)
}

fn init_with(folder: &Path, more: &[&str], password: &str) -> Said {
    let mut command = command(folder, &["init"]);
    command.arg("--data-dir").arg(folder.join("data"));
    command.args(["--domain", "id.example.com", "--admin", "root@example.com", "--password-stdin"]);
    command.args(["--https", "127.0.0.1:0", "--http", "off", "--internal", "off"]).args(more);
    run(command, password)
}

fn left_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_init_makes_is_checked_and_starts_and_has_its_administrator() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let said = init(folder.path(), &["--environment", "stage", "--upstream", "127.0.0.1:3000"]).expect(0);
    let shown = said.stdout.replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(shown);
    let mode =
        |name: &str| folder.path().join(name).metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("etc/config.toml"), mode("etc"), mode("data")), (0o600, 0o700, 0o700));
    let checked = run(command(folder.path(), &["check"]), "").expect(0);
    assert!(checked.stdout.ends_with("is good: 4 routes, 1 upstream\n"), "{checked:?}");
    let list = run(command(folder.path(), &["user", "list", "--json"]), "").expect(0).json();
    assert_eq!((&list[0]["email"], &list[0]["roles"]), (&json!("root@example.com"), &json!(["admin"])));

    let mut serving = command(folder.path(), &["serve"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let out = std::io::BufReader::new(serving.stdout.take().expect("piped"));
    let ready = std::io::BufRead::lines(out).map_while(Result::ok).any(|line| line.contains("is ready"));
    let status = run(command(folder.path(), &["status"]), "").code;
    serving.kill().expect("it is ours");
    serving.wait().expect("it is ours");
    assert!(ready && status == 0, "ready: {ready}, status: {status}");

    let again = init(folder.path(), &["--environment", "stage", "--json"]).expect(4).failure();
    assert_eq!(again["code"], "conflict");
    let text = again["message"].as_str().expect("text");
    assert!(text.contains("config.toml") && text.contains("master.key"), "{text}");
    let list_again = run(command(folder.path(), &["user", "list", "--json"]), "").expect(0).json();
    assert_eq!(list_again, list);
}

#[test]
fn production_wants_certificates_and_gets_what_it_was_given() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let made = rcgen::generate_simple_self_signed(vec!["id.example.com".to_owned()]).expect("it is made");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    };
    let (certificate, key) =
        (file("leaf.pem", &made.cert.pem()), file("leaf.key", &made.signing_key.serialize_pem()));
    let real = [("KEEPGATE_PASSWORDS__MEMORY_KIB", "19456"), ("KEEPGATE_PASSWORDS__ITERATIONS", "2")];
    let init = |more: &[&str]| {
        let mut command =
            command(folder.path(), &["init", "--domain", "id.example.com", "--generate", "--yes"]);
        command.args(["--admin", "root@example.com", "--data"]).arg(folder.path().join("data")).args(more);
        run(
            {
                command.envs(real);
                command
            },
            "",
        )
    };
    let refused = init(&[]).expect(3);
    assert!(refused.stderr.contains("tls.source") && refused.stderr.contains("local CA"), "{refused:?}");
    assert!(refused.stderr.contains("--certificate FILE") && !refused.stderr.contains(":19"), "{refused:?}");
    let missing = init(&["--certificate", &certificate, "--key", "/nowhere/key.pem"]).expect(3);
    assert!(missing.stderr.contains("/nowhere/key.pem"), "{missing:?}");
    assert_eq!(left_in(folder.path()), ["leaf.key", "leaf.pem"]);
    let dry = init(&["--certificate", &certificate, "--key", &key, "--dry-run"]).expect(0);
    assert!(dry.stdout.contains("issuer = \"https://id.example.com\""), "{dry:?}");
    assert_eq!(left_in(folder.path()), ["leaf.key", "leaf.pem"]);
    let said = init(&["--certificate", &certificate, "--key", &key]).expect(0);
    assert!(said.stdout.contains("shown this once: "), "{said:?}");
    let mut check = command(folder.path(), &["check"]);
    check.envs(real);
    run(check, "").expect(0);
}

#[test]
fn whatever_stops_it_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let stage = ["--environment", "stage"];
    let short = init_with(folder.path(), &stage, "short\n").expect(4);
    assert!(short.stderr.contains("password"), "{short:?}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
    let silent = init_with(folder.path(), &stage, "").expect(2);
    assert!(silent.stderr.contains("standard input gave no password"), "{silent:?}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
    // A folder that was there stays, with nothing in it.
    std::fs::create_dir(folder.path().join("data")).expect("writable");
    init_with(folder.path(), &stage, "short\n").expect(4);
    assert_eq!(left_in(folder.path()), ["data"]);
    assert_eq!(left_in(&folder.path().join("data")), Vec::<String>::new());
    // Without a terminal nothing is asked, but named.
    let said = run(command(folder.path(), &["init"]), "").expect(2);
    assert!(said.stderr.contains("--admin is not given"), "{said:?}");
    init(folder.path(), &["--environment", "stage", "--upstream", "example.com"]).expect(3);
    assert_eq!(left_in(folder.path()), ["data"]);
}

#[test]
fn on_a_terminal_it_asks_for_what_is_missing() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let (config, data) = (folder.path().join("config.toml"), folder.path().join("data"));
    let line = format!(
        "{} init --environment stage --https 127.0.0.1:0 --config {} --data {}",
        binary().display(),
        config.display(),
        data.display()
    );
    let mut script = Command::new("/usr/bin/script");
    script.args(["--quiet", "--return", "--echo", "never", "--command", &line, "/dev/null"]);
    script.env_clear().envs(CHEAP).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut session = script.spawn().expect("it starts");
    let mut keyboard = session.stdin.take().expect("piped");
    let mut screen = std::io::BufReader::new(session.stdout.take().expect("piped"));
    // Each answer once its question stands there, as a person would.
    let answers = [
        ("id.example.com: ", "https://wrong"),
        ("id.example.com: ", "id.example.com"),
        ("local CA: ", ""),
        ("none yet: ", "127.0.0.1:3000"),
        ("administrator: ", "root@example.com"),
        ("New password: ", PASSWORD),
        ("Again: ", PASSWORD),
        ("[y/N]: ", "y"),
    ];
    let mut seen = String::new();
    for (question, answer) in answers {
        let start = seen.len();
        while !seen[start..].ends_with(question) {
            let mut byte = [0];
            let read = std::io::Read::read(&mut screen, &mut byte).expect("readable");
            assert!(read == 1, "it ended without asking {question:?}: {seen}");
            seen.push(char::from(byte[0]));
        }
        writeln!(keyboard, "{answer}").expect("it listens");
    }
    std::io::Read::read_to_string(&mut screen, &mut seen).expect("UTF-8");
    assert!(session.wait().expect("it is ours").success(), "{seen}");
    assert!(
        seen.contains("write a host name") && seen.contains("The first administrator is root@"),
        "{seen}"
    );
    assert!(!seen.contains(PASSWORD), "{seen}");
    let text = std::fs::read_to_string(config).expect("it is written");
    assert!(
        text.contains("127.0.0.1:3000") && text.contains("issuer = \"https://id.example.com\""),
        "{text}"
    );
}

#[test]
fn development_is_not_served_on_the_folder_of_a_configured_node() {
    let folder = tempfile::tempdir().expect("a temp dir");
    init(folder.path(), &["--environment", "stage"]).expect(0);
    let mut serve = Command::new(binary());
    serve.args(["serve", "--dev", "--data"]).arg(folder.path().join("data")).env_clear().envs(CHEAP);
    let said = run(serve, "").expect(4);
    for words in ["/data is the data folder of a node with a configuration (stage)", "serve --config"] {
        assert!(said.stderr.contains(words), "{words} not in {said:?}");
    }
}

#[test]
fn a_folder_alone_opens_no_stopped_node_of_a_configuration() {
    let folder = tempfile::tempdir().expect("a temp dir");
    init(folder.path(), &["--environment", "stage"]).expect(0);
    let keys = || run(command(folder.path(), &["key", "list", "--json"]), "").expect(0).json();
    let before = keys();
    for arguments in ["user list", "status", "check", "config show"] {
        let mut by_data = Command::new(binary());
        by_data.args(arguments.split(' ')).arg("--data").arg(folder.path().join("data"));
        by_data.env_clear().envs(CHEAP);
        let said = run(by_data, "").expect(4);
        for words in ["/data is the data folder of a node with a configuration (stage)", "--config FILE"] {
            assert!(said.stderr.contains(words), "{arguments}: {words} not in {said:?}");
        }
    }
    assert_eq!(keys(), before);
}
