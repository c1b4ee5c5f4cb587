//! What a person meets: help, tables, JSON, errors; and what the arguments become.

use clap::CommandFactory as _;

use super::*;
use crate::app::control::client::SendError;
use crate::app::control::reply::{Code, Failure};
use crate::app::control::{ca, data, proof, upstream, view};
use crate::config::development::Listeners;
use crate::config::problem::Problems;
use crate::model::account::AccountStatus;
use crate::model::key::KeyState;
use crate::observe::health::Health;

fn help(path: &[&str]) -> String {
    let mut arguments = vec!["keepgate"];
    arguments.extend(path);
    arguments.push("--help");
    // A fixed width: help is wrapped to the terminal, and tests may have one.
    Cli::command().term_width(100).try_get_matches_from(arguments).unwrap_err().to_string()
}

fn usage(arguments: &[&str]) -> String {
    let error = Cli::try_parse_from(["keepgate"].iter().chain(arguments)).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(exit::USAGE));
    error.to_string()
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    insta::assert_snapshot!(help(&[]));
}

/// The words that lead to every command, in the order of the help.
fn commands(below: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
    let each = below.get_subcommands().filter(|command| command.get_name() != "help");
    each.flat_map(|command| {
        let path: Vec<_> = path.iter().cloned().chain([command.get_name().to_owned()]).collect();
        std::iter::once(path.clone()).chain(commands(command, &path))
    })
    .collect()
}

#[test]
fn every_command_has_help() {
    let shown = |path: Vec<String>| {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        // The options that every command has stand in keepgate's own help.
        let help = help(&path);
        let own = help.split("\nGlobal options:").next().unwrap_or_default();
        format!("$ keepgate {} --help\n{}\n", path.join(" "), own.trim_end())
    };
    let all: Vec<_> = commands(&Cli::command(), &[]).into_iter().map(shown).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_wrong_argument_is_named_with_what_is_right() {
    let wrong: [&[&str]; 16] = [
        &[],
        &["user", "export", "extra"],
        &["init", "--domain", "https://id.example.com"],
        &["init", "--environment", "live", "--http", "80"],
        &["init", "--certificate", "/c.pem"],
        &["completions", "tcsh"],
        &["user", "add", "ada"],
        &["user", "add", "ada@example.com", "--role", "Admin"],
        &["user", "add", "ada@example.com", "--generate", "--password-stdin"],
        &["user", "roles", "ada@example.com"],
        &["session", "revoke", "7"],
        &["blacklist", "add", "example.com"],
        &["serve", "--https", "8443"],
        &["ca", "issue", "--name", "app.internal:443", "--out", "/tls"],
        &["ca", "issue", "--name", "app", "--out", "/tls", "--days", "826"],
        &["ca", "show", "--pem", "--json"],
    ];
    let all: String =
        wrong.iter().map(|line| format!("$ keepgate {}\n{}\n", line.join(" "), usage(line))).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_code_and_a_next_step() {
    use std::io::ErrorKind as Kind;
    let cases = [
        (Kind::NotFound, "cannot read", exit::USAGE, "name one that is there"),
        (Kind::NotFound, "cannot write", exit::USAGE, "name one in a folder that is there"),
        (Kind::NotADirectory, "cannot write", exit::USAGE, "name one in a folder that is there"),
        (Kind::IsADirectory, "cannot read", exit::USAGE, "name a file"),
        (Kind::AlreadyExists, "cannot write", exit::REFUSED, "nothing is written over: name another"),
        (Kind::PermissionDenied, "cannot read", exit::FAILED, "run it as a user who may"),
        (Kind::StorageFull, "cannot write", exit::FAILED, "make room"),
    ];
    for (kind, what, code, remedy) in cases {
        let error = exit::bad_file(what, std::path::Path::new("/x"))(std::io::Error::from(kind)).into();
        let text = exit::as_text(&error);
        assert_eq!(exit::code(&error), code, "{text}");
        assert!(text.starts_with(&format!("keepgate: {what} /x: ")), "{text}");
        assert!(text.contains(&format!("\n    {remedy}")), "{text}");
        assert_eq!(
            exit::as_json(&error).matches(&std::io::Error::from(kind).to_string()).count(),
            1,
            "{text}"
        );
    }
}

#[test]
fn a_password_cannot_be_an_argument() {
    usage(&["user", "add", "ada@example.com", "--password", "hunter2"]);
    usage(&["user", "set-password", "ada@example.com", "hunter2"]);
}

fn place(arguments: &[&str]) -> Place {
    Cli::try_parse_from(["keepgate"].iter().chain(arguments).chain(&["status"])).unwrap().place
}

#[test]
fn a_data_folder_alone_is_a_development_node_but_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    assert!(place(&["--data", folder]).config().is_err(), "a folder that is no node's");
    std::fs::create_dir(dir.path().join("store")).unwrap();
    let config = place(&["--data", folder]).config().unwrap();
    assert_eq!(config.environment, crate::config::Environment::Development);
    assert_eq!(config.data_dir, dir.path());
    let missing = format!("{folder}/mistyped");
    let error = place(&["--data", &missing]).config().unwrap_err();
    assert!(exit::as_text(&error).contains("mistyped is not there"), "{error:#}");
    assert_eq!(exit::code(&error), exit::USAGE);
    std::fs::write(dir.path().join("plain"), "").unwrap();
    let error = place(&["--data", &format!("{folder}/plain")]).config().unwrap_err();
    assert!(exit::as_text(&error).contains("plain is a file, not the data folder"), "{error:#}");
    assert!(!dir.path().join("mistyped").exists());
}

#[test]
fn a_data_folder_replaces_that_of_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "environment = \"development\"\n[[routes]]\npath = \"/\"\napi = true\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--data", "relative"];
    let config = place(&arguments).config().unwrap();
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("relative"));
    let error = place(&arguments).development(&Listeners::default()).unwrap_err();
    assert_eq!(exit::code(&error), exit::USAGE, "--dev and --config exclude each other");
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const AT: &str = "2026-11-22T10:53:05.12Z";

fn user(email: &str, name: &str, roles: &[&str]) -> view::User {
    view::User {
        id: ID.into(),
        email: email.into(),
        name: name.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        status: AccountStatus::Active,
        created_at: AT.into(),
        password_set_at: Some(AT.into()),
        throttle: None,
    }
}

fn attacked(user: view::User) -> view::User {
    let throttle = view::Throttle {
        strangers_failures: 12,
        strangers_until: Some(AT.into()),
        known_failures: 1,
        known_waiting: 0,
    };
    view::User { throttle: Some(throttle), ..user }
}

fn status() -> Reply {
    let health = Health::new();
    health.register("journal", || Ok("position 42".into()));
    health.register("disk", || Err("2 % free: make room, or the node turns read-only".into()));
    Reply::Status(Box::new(view::Status {
        version: "0.1.0".into(),
        running: true,
        pid: Some(4711),
        started_at: AT.into(),
        environment: "production".into(),
        data_dir: "/var/lib/keepgate".into(),
        listeners: vec!["https://0.0.0.0:443".into(), "http://0.0.0.0:80".into()],
        seq: 42,
        accounts: 2,
        bans: 1,
        signing_key: "kid".into(),
        audit_records: 7,
        configuration: Some(view::Configuration {
            file: Some("/etc/keepgate/config.toml".into()),
            loaded_at: AT.into(),
            refused_at: Some(AT.into()),
            refused_because: Some("2 problems in it".into()),
        }),
        restart: Some(view::Restart {
            before: Some(4711),
            failed_at: Some("2026-07-01T09:40:00.000Z".into()),
            failed_because: Some("it ended before it was ready".into()),
        }),
        health: health.ready(),
    }))
}

fn documents() -> Vec<Reply> {
    vec![
        Reply::Documents(vec![document("settings", 17)]),
        Reply::Document(data::DocumentBody {
            document: document("evil", 24),
            body: "{\"\u{9b}2J\":\n \"\u{202e}\"}".into(),
        }),
    ]
}

fn authority() -> Reply {
    Reply::Authority(Box::new(ca::Authority {
        name: "Keepgate local CA 01020304".into(),
        from: AT.into(),
        until: AT.into(),
        fingerprint: "AB:CD".into(),
        file: "/var/lib/keepgate/tls/ca.pem".into(),
        pem: "-----BEGIN CERTIFICATE-----".into(),
    }))
}

fn upstreams() -> Reply {
    let server = |address: &str, zone: Option<&str>, backup| upstream::UpstreamServer {
        upstream: "app".into(),
        server: address.into(),
        weight: 2,
        backup,
        zone: zone.map(str::to_owned),
        health: "up".into(),
        in_flight: 3,
        since: None,
        why: String::new(),
    };
    Reply::Upstreams(vec![server("10.0.1.1:80", Some("fsn1"), false), server("unix:/s", None, true)])
}

fn document(key: &str, bytes: u64) -> data::Document {
    data::Document { key: key.into(), bytes, version: 3, updated_at: AT.into() }
}

fn reloaded(file: Option<&str>, changed: &[&str], restart: &[&str]) -> Reply {
    let owned = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect();
    Reply::Reloaded(view::Reloaded {
        file: file.map(str::to_owned),
        changed: owned(changed),
        restart: owned(restart),
    })
}

fn verified(findings: &[&str], pruned: Option<proof::Pruned>) -> Reply {
    let records = 7 - findings.len() as u64;
    Reply::Verified(proof::Verification {
        intact: findings.is_empty(),
        records,
        heads: 1,
        hash: "ab".into(),
        signed: records,
        public_key: "ab".repeat(32),
        findings: findings.iter().map(|&finding| finding.to_owned()).collect(),
        pruned,
    })
}

fn replies() -> Vec<Reply> {
    let (at, id) = (|| AT.to_owned(), || ID.to_owned());
    let event = view::Event {
        index: 7,
        at: at(),
        actor: "anonymous".into(),
        address: Some("192.0.2.7".into()),
        subject: None,
        personal: crate::model::event::Fields::Open,
        intent: "login".into(),
        outcome: "denied".into(),
        target: String::new(),
        reason: "wrong_password".into(),
        request: Some(id()),
        count: 3,
    };
    let mut replies = vec![
        Reply::Done,
        Reply::User(user("ada@example.com", "Ada", &["admin", "member"])),
        Reply::User(attacked(user("ada@example.com", "Ada", &[]))),
        Reply::Users(vec![user("ada@example.com", "Ada", &["admin"]), user("bob@example.com", "Bob ß", &[])]),
        Reply::Users(Vec::new()),
        Reply::Invited {
            invite: view::Invite {
                id: id(),
                email: None,
                roles: vec!["member".into()],
                author: "console:0".into(),
                created_at: at(),
                expires_at: at(),
            },
            code: "kgi_CODE".into(),
        },
        Reply::Sessions(vec![view::Session {
            id: id(),
            account: id(),
            device: "evil \u{1b}[2J\u{202e}phone".into(),
            address: Some("2001:db8::7".into()),
            generation: 12,
            created_at: at(),
            used_at: at(),
            expires_at: at(),
        }]),
        Reply::Bans(vec![
            view::Ban {
                network: "192.0.2.0/24".into(),
                reason: "scans".into(),
                source: "command".into(),
                author: Some("console:0".into()),
                created_at: Some(at()),
                expires_at: None,
            },
            view::Ban::configured("10.0.0.0/8".parse().unwrap(), "blacklist.file"),
        ]),
        Reply::Keys(vec![view::Key {
            id: "kid".into(),
            algorithm: "EdDSA".into(),
            state: KeyState::Active,
            created_at: at(),
            changed_at: at(),
        }]),
        Reply::Events(view::Events { events: vec![event], unreadable: vec![1, 99], last: 99, more: false }),
        verified(&["record 7 was changed"], None),
        verified(&[], Some(proof::Pruned { through: 3, at: at(), older_than: Some(at()) })),
        status(),
        reloaded(Some("/etc/keepgate/config.toml"), &["routes", "upstreams.app"], &["tokens.issuer"]),
        reloaded(Some("/etc/keepgate/config.toml"), &[], &[]),
        reloaded(None, &[], &[]),
    ];
    replies.extend(documents());
    replies.extend([authority(), upstreams()]);
    replies
}

#[test]
fn replies_are_tables_for_people() {
    let all: String = replies().iter().map(|reply| output::render(reply, false).unwrap() + "---\n").collect();
    assert!(!all.contains('\u{1b}') && !all.contains('\u{202e}'), "control characters must be escaped");
    insta::assert_snapshot!(all);
}

#[test]
fn replies_are_json_for_scripts() {
    let all: String = replies().iter().map(|reply| output::render(reply, true).unwrap() + "---\n").collect();
    insta::assert_snapshot!(all);
}

#[test]
fn an_error_is_json_for_scripts_with_the_same_words() {
    let bad = line::BadLine { line: 7, field: "email".into(), detail: "is missing".into() };
    let errors: [anyhow::Error; 4] = [
        Failure::new(Code::Conflict, "that e-mail address is taken").into(),
        exit::Usage { message: "/x is not there".into(), remedy: "name another" }.into(),
        line::BadLines { file: "people.jsonl".into(), bad: vec![bad], created: 0 }.into(),
        Problems { file: "config.toml".into(), problems: Vec::new() }.into(),
    ];
    let codes: Vec<_> = errors.iter().map(exit::code).collect();
    assert_eq!(codes, [exit::REFUSED, exit::USAGE, exit::REFUSED, exit::CONFIGURATION]);
    let all: String = errors.iter().map(exit::as_json).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn an_error_says_cause_and_next_step_and_ends_with_its_code() {
    let no_account =
        || Failure::new(Code::NotFound, "no account x@example.com").remedy("see `keepgate user list`");
    let path = || "/var/lib/keepgate/run/control.sock".into();
    let errors: [anyhow::Error; 6] = [
        no_account().into(),
        SendError::Failed(no_account()).into(),
        Failure::new(Code::Unavailable, "this node is read-only: disk full").into(),
        SendError::Forbidden(path()).into(),
        SendError::Broken { path: path(), detail: "timed out".into() }.into(),
        anyhow::Error::new(std::io::Error::other("no space left")).context("the data folder /x"),
    ];
    let codes: Vec<_> = errors.iter().map(exit::code).collect();
    assert_eq!(codes, [exit::REFUSED, exit::REFUSED, exit::FAILED, exit::FAILED, exit::FAILED, exit::FAILED]);
    let problems = Problems { file: "config.toml".into(), problems: Vec::new() };
    assert_eq!(exit::code(&problems.into()), exit::CONFIGURATION);
    let all: String = errors.iter().map(exit::as_text).collect();
    insta::assert_snapshot!(all);
}
