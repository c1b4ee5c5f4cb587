//! What a file changes in a running node, and that the manual says the same.

use super::*;
use crate::config::read::parse;

const FILE: &str = r#"
environment = "stage"
data_dir = "/d"
[tls]
source = "files"
[[tls.certificates]]
certificate = "/c.pem"
key = "/k.pem"
[keys]
master_key = { value = "hunter2" }
[tokens]
issuer = "https://id.example.com"
[[routes]]
path = "/"
upstream = "app"
[upstreams.app]
servers = ["127.0.0.1:3000"]
[upstreams.old]
servers = ["127.0.0.1:3001"]
"#;

fn read(text: &str) -> Config {
    parse(text, "test", Vec::new()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn changes(edits: &[(&str, &str)]) -> Changes {
    let edited = edits.iter().fold(FILE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    compare(&read(FILE), &read(&edited))
}

#[test]
fn the_same_file_changes_nothing() {
    let same = changes(&[]);
    assert_eq!((same.changed, same.restart), (Vec::new(), Vec::new()));
}

#[test]
fn what_takes_a_reload_is_taken_and_what_takes_a_restart_is_named_and_left() {
    let found = changes(&[
        (
            "[tls]",
            "[limits]\nbody_bytes = 5\n[log]\nlevel = \"debug\"\ntarget = \"files\"\n[tls]\nhsts = \"1d\"",
        ),
        ("/c.pem", "/new.pem"),
        ("id.example.com", "new.example.com"),
        ("/d", "/e"),
        ("3000", "3002"),
        ("upstreams.old", "upstreams.new"),
        ("path = \"/\"", "path = \"/app\""),
        ("hunter2", "hunter3"),
    ]);
    let changed = [
        "tls.certificates",
        "tls.hsts",
        "limits.body_bytes",
        "log.level",
        "routes",
        "upstreams.app",
        "upstreams.new",
        "upstreams.old",
    ];
    assert_eq!(found.changed, changed);
    assert_eq!(found.restart, ["data_dir", "tokens.issuer", "keys.master_key", "log.target"]);
    let (next, before) = (&found.next, read(FILE));
    assert_eq!((next.limits.body_bytes, next.routes[0].path.as_str()), (5, "/app"));
    assert!(next.upstreams.contains_key("new") && !next.upstreams.contains_key("old"));
    assert_eq!((&next.data_dir, &next.tokens.issuer), (&before.data_dir, &before.tokens.issuer));
    assert_eq!(next.log.target, before.log.target);
    let again = compare(next, next);
    assert_eq!((again.changed, again.restart), (Vec::new(), Vec::new()));
}

#[test]
fn what_production_forbids_is_not_taken_from_a_file_that_says_development() {
    let production =
        FILE.replace("\"stage\"", "\"production\"").replace("{ value = \"hunter2\" }", "{ file = \"/m\" }");
    let cors = "[cors]\norigins = [\"http://page.example.com\"]\n[tls]";
    let running = read(&production);
    let next = production.replace("production", "development").replace("[tls]", cors);
    let refused = checked(&running, &read(&next)).unwrap_err();
    let [Problem { key, message, remedy, .. }] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(key, "cors.origins");
    assert!(message.ends_with("until a restart this node keeps its old environment"), "{message}");
    assert!(remedy.contains("restart the node"), "{remedy}");
    // Each by itself is taken.
    assert!(checked(&running, &read(&production.replace("production", "development"))).is_ok());
    assert!(checked(&read(FILE), &read(&FILE.replace("[tls]", cors))).is_ok());
}

/// The page is what an operator plans by.
#[test]
fn the_manual_names_exactly_the_keys_that_take_a_reload() {
    let page = include_str!("../../../docs/cli.md");
    let (_, table) = page.split_once("| takes a reload | from when on |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let words: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let covers = |word: &str, key: &str| {
        key.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    for key in TABLE.iter().copied().flatten() {
        let named = key.names.iter().any(|name| words.iter().any(|word| covers(word, name)));
        assert_eq!(named, key.take.is_some(), "docs/cli.md, table of reloads: {:?}", key.names);
    }
    for word in &words {
        let known = classified().into_iter().any(|name| covers(word, name));
        assert!(known, "docs/cli.md, table of reloads: there is no key {word}");
    }
}

#[test]
fn another_source_of_certificates_needs_a_restart_and_takes_nothing_with_it() {
    let pair = "[[tls.certificates]]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";
    let found = changes(&[("source = \"files\"", "source = \"local-ca\""), (pair, "")]);
    assert_eq!((found.changed, found.restart), (Vec::new(), vec!["tls.source".to_owned()]));
    assert!(matches!(found.next.tls.source, CertificateSource::Files(_)));
}
