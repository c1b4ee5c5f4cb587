//! `docs/configuration.md`, made of what the reader asks for and what the example says; the test
//! compares, and with `UPDATE_DOCS=1` (`make docs`) writes it.

use std::collections::BTreeSet;
use std::path::Path;

use super::catalog::{self, EXAMPLE, Entry};
use super::{examine, keys};
use crate::config::setting::Known;

const HEAD: &str = "\
# Configuration: every key

Made from the code and `config.example.toml` by `make docs`; a test compares. Change those, not this page.

One TOML file, `/etc/keepgate/config.toml` unless `--config` or `$KEEPGATE_CONFIG` names another. Keys that are left out
take their defaults; keys that do not exist are refused. The environment wins over the file for every key outside lists of
tables: `listen.https` is `KEEPGATE_LISTEN__HTTPS`, and lists are comma separated there.

- `keepgate init` writes a first configuration.
- `keepgate check` names everything that is wrong with one.
- `keepgate config show` shows each key's value and where it was set.

Durations are texts with a unit (`\"10s\"`, `\"1h 30m\"`, `\"30d\"`); sizes are bytes or texts with KiB, MiB or GiB.
";

/// The page.
fn page() -> String {
    let (_, problems, _) = examine(EXAMPLE, Vec::new());
    assert_eq!(problems, [], "config.example.toml is a good configuration");
    let (keys, entries) = (keys(), catalog::entries());
    let mut page = HEAD.to_owned();
    let mut told = 0;
    // In the order of the example, which is the order in which a person meets them.
    for section in sections_of_the_example() {
        page += &heading(&section, entries.get(&section));
        page += "\n| key | write | default | |\n|---|---|---|---|\n";
        for known in by_place_in_the_example(keys.iter().filter(|known| parent(&known.key) == section)) {
            page += &row(known);
            told += 1;
        }
    }
    assert_eq!(told, keys.len(), "a key stands in a section that the example does not have");
    page
}

fn parent(key: &str) -> String {
    key.rsplit_once('.').map_or("", |(parent, _)| parent).replace("[]", "")
}

/// `""`, `listen`, `tls.certificates`, `upstreams.*`, …
fn sections_of_the_example() -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in EXAMPLE.lines().filter(|line| line.starts_with('[')) {
        let name = line.trim_matches(['[', ']']);
        let name = if name.starts_with("upstreams.") { "upstreams.*" } else { name }.to_owned();
        if !sections.contains(&name) {
            sections.push(name);
        }
    }
    sections
}

fn by_place_in_the_example<'k>(keys: impl Iterator<Item = &'k Known>) -> Vec<&'k Known> {
    let place = |known: &Known| {
        let section = parent(&known.key);
        let head = format!("[{}", section.replace('*', "app"));
        let start = if section.is_empty() { 0 } else { EXAMPLE.find(&head).unwrap_or(0) };
        let name = name(&known.key);
        let found = ["\n", "\n#"].map(|before| EXAMPLE[start..].find(&format!("{before}{name} =")));
        found.into_iter().flatten().min()
    };
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by_key(|known| place(known));
    keys
}

/// The last part of a key.
fn name(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn heading(section: &str, entry: Option<&Entry>) -> String {
    let title = match section {
        "" => "At the top".to_owned(),
        "routes" | "filters" | "tls.certificates" => format!("`[[{section}]]`"),
        section => format!("`[{}]`", section.replace('*', "NAME")),
    };
    let comment = entry.map(|entry| entry.comment.as_str()).unwrap_or_default();
    let comment = if comment.is_empty() { String::new() } else { format!("\n{comment}\n") };
    format!("\n## {title}\n{comment}")
}

fn row(known: &Known) -> String {
    // The head of the page says how these two are written.
    let takes = known
        .takes
        .replace(
            "a number with a unit in quotes, such as \"10s\", \"5m\" or \"30d\", from",
            "a duration from",
        )
        .replace("bytes, or a number with KiB, MiB or GiB in quotes, such as \"32KiB\", from", "a size from");
    let cell = |text: &str| text.replace('|', "\\|");
    let default = known.default.as_ref().map(|value| format!("`{value}`")).unwrap_or_default();
    format!("| `{}` | {} | {default} | {} |\n", name(&known.key), cell(&takes), cell(&known.comment))
}

#[test]
fn the_configuration_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is not what the code says: run `make docs`");
}

#[test]
fn every_key_says_what_it_takes_and_what_it_is_for() {
    let keys = keys();
    let (_, _, known) = examine(EXAMPLE, Vec::new());
    assert_eq!(keys.iter().map(|key| key.key.clone()).collect::<BTreeSet<_>>(), known);
    for Known { key, takes, comment, .. } in keys {
        assert!(!takes.is_empty(), "{key} refuses nothing, or without saying what it takes");
        assert!(!comment.is_empty(), "{key} has no comment in config.example.toml");
    }
}
