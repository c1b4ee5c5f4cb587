//! The house rules that a compiler does not check: who may import whom, which crate lives in which
//! folder, that every file says what it is for, and that none grows past its bound.
//!
//! The rules read the source as text. Test code (`tests.rs`, `tests/`, and what follows
//! `#[cfg(test)]`) may import what it likes; headers and lengths bind it too.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test stops at whatever is wrong")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const LONGEST: usize = 400;

/// Each module of `src/` and the modules it may import besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("files", &[]),
    ("config", &["model"]),
    ("observe", &["model", "config"]),
    ("store", &["model", "config", "observe"]),
    ("audit", &["model", "config", "observe", "store"]),
    ("auth", &["model", "files", "config", "observe", "store", "audit", "keepgate_guard"]),
    ("users", &["model", "config", "observe", "store", "audit"]),
    ("api", &["model", "config", "observe", "audit", "auth", "users"]),
    ("edge", &["model", "files", "config", "observe", "audit", "keepgate_guard"]),
    (
        "app",
        &[
            "model",
            "files",
            "config",
            "observe",
            "store",
            "audit",
            "auth",
            "users",
            "api",
            "edge",
            "keepgate_guard",
        ],
    ),
    ("cli", &["model", "config", "observe", "app"]),
    // The fuzz targets, compiled for tests and fuzzers alone: they see all, nobody may see them.
    ("fuzzing", &[]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Crates that belong to one folder.
const LIVES_IN: &[(&str, &str)] = &[
    ("rusqlite", "src/store/sqlite"),
    ("redb", "src/store/redb"),
    ("moka", "src/store"),
    ("axum", "src/api"),
    ("utoipa", "src/api"),
    ("utoipa_axum", "src/api"),
    ("clap", "src/cli"),
    ("clap_complete", "src/cli"),
    ("clap_mangen", "src/cli"),
    ("indicatif", "src/cli"),
    ("anyhow", "src/cli"),
    ("rcgen", "src/edge"),
    ("instant_acme", "src/edge/acme"),
    ("hickory_resolver", "src/edge"),
    ("argon2", "src/auth"),
    ("tracing_appender", "src/observe"),
    ("brotli", "src/edge/compress"),
    ("flate2", "src/edge/compress"),
    ("zstd", "src/edge/compress"),
];

/// Every breach of the rules under `root`, one sentence each.
fn breaches(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust_files(root) {
        let text = fs::read_to_string(root.join(&file)).expect("source files are readable");
        shape(&file, &text, &mut found);
        if file.starts_with("src") {
            imports(&file, &text, &mut found);
        }
        if file.starts_with("crates") && text.contains("keepgate::") {
            found.push(format!("{}: the guard crate imports Keepgate", file.display()));
        }
    }
    found
}

/// Header and length.
fn shape(file: &Path, text: &str, found: &mut Vec<String>) {
    let name = file.display();
    if !text.starts_with("//!") {
        found.push(format!("{name}: does not open with `//!` saying what it is for"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{name}: {lines} lines, more than {LONGEST}: split it by concern"));
    }
}

/// Imports of one source file.
fn imports(file: &Path, text: &str, found: &mut Vec<String>) {
    let name = file.display();
    let module = module_of(file);
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(known, _)| *known == module) else {
        found.push(format!("{name}: `{module}` is not a room of the house: list it in MAY_IMPORT"));
        return;
    };
    if is_test_file(file) {
        return;
    }
    for (number, line) in production_lines(text) {
        let at = format!("{name}:{number}");
        for target in paths_after(line, "crate::") {
            if target != module && !allowed.contains(&target) && is_room(target) {
                found.push(format!("{at}: `{module}` may not import `{target}`"));
            }
        }
        if line.contains("keepgate_guard::") && !allowed.contains(&"keepgate_guard") {
            found.push(format!("{at}: `{module}` may not import the guard crate"));
        }
        if line.trim_start().starts_with("pub use ") {
            found.push(format!("{at}: `pub use` gives a thing two names: import it where it lives"));
        }
        for (krate, folder) in LIVES_IN {
            if mentions_crate(line, krate) && !file.starts_with(folder) {
                found.push(format!("{at}: `{krate}` belongs in {folder}"));
            }
        }
    }
}

/// `src/edge/proxy/pool.rs` → `edge`; `src/app.rs` → `app`.
fn module_of(file: &Path) -> String {
    let room = file.iter().nth(1).unwrap_or_default().to_string_lossy().into_owned();
    room.trim_end_matches(".rs").to_owned()
}

fn is_room(name: &str) -> bool {
    MAY_IMPORT.iter().any(|(known, _)| *known == name)
}

fn is_test_file(file: &Path) -> bool {
    file.iter().any(|part| {
        let part = part.to_string_lossy();
        ["tests.rs", "tests", "conformance", "disk_model.rs", "fuzzing", "fuzz.rs"].contains(&&*part)
    })
}

/// Lines of code that ship, numbered from 1: not comments, and nothing from `#[cfg(test)] mod` on.
fn production_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let inline_tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].trim_end().ends_with('{')
    });
    let end = inline_tests.unwrap_or(lines.len());
    lines
        .into_iter()
        .take(end)
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The identifiers that follow `prefix` in a line, braces opened: `use crate::{a::X, b}` gives a, b.
fn paths_after<'a>(line: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let ident = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let mut names = BTreeSet::new();
    for (at, _) in line.match_indices(prefix) {
        let rest = &line[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group.split(',').map(|part| ident(part.trim_start()))),
            None => {
                names.insert(ident(rest));
            }
        }
    }
    names
}

fn mentions_crate(line: &str, krate: &str) -> bool {
    line.match_indices(krate).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
        starts && line[at + krate.len()..].starts_with("::")
    })
}

fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "crates", "benches", "fuzz/fuzz_targets"].iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let path = folder.join(entry.expect("folders are readable").file_name());
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(rust_files(root).len() > 20, "the scan found the source tree");
    let found = breaches(root);
    let mut report = String::new();
    for breach in &found {
        let _ = writeln!(report, "  {breach}");
    }
    assert!(found.is_empty(), "{} breaches:\n{report}", found.len());
}

/// A tree with one file, and what the rules say of it.
fn verdict_on(file: &str, text: &str) -> Vec<String> {
    let root = tempfile::tempdir().expect("a temp dir");
    let path = root.path().join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(path, text).expect("writable");
    breaches(root.path())
}

#[test]
fn each_seeded_violation_is_found() {
    let seeds = [
        ("src/edge/proxy.rs", "//! x\nuse crate::store::Stores;\n", "`edge` may not import `store`"),
        ("src/api/x.rs", "//! x\nfn f() { crate::store::open() }\n", "`api` may not import `store`"),
        ("src/api/y.rs", "//! x\nuse crate::{model::id, store::Stores};\n", "`api` may not import `store`"),
        ("src/model/x.rs", "//! x\nuse keepgate_guard::claims::Claims;\n", "guard crate"),
        ("src/model/y.rs", "//! x\nuse crate::config::Config;\n", "`model` may not import `config`"),
        ("src/auth/x.rs", "//! x\nuse rusqlite::Connection;\n", "`rusqlite` belongs in src/store/sqlite"),
        ("src/store/redb/x.rs", "//! x\nuse rusqlite::Connection;\n", "`rusqlite` belongs in"),
        ("src/edge/x.rs", "//! x\nuse axum::Router;\n", "`axum` belongs in src/api"),
        ("src/app.rs", "//! x\npub use crate::edge::Edge;\n", "`pub use`"),
        ("src/cellar/mod.rs", "//! x\n", "not a room of the house"),
        ("src/model/z.rs", "pub struct Z;\n", "does not open with `//!`"),
        ("tests/it/z.rs", "fn z() {}\n", "does not open with `//!`"),
        ("crates/keepgate-guard/src/x.rs", "//! x\nuse keepgate::model;\n", "guard crate imports Keepgate"),
    ];
    for (file, text, expected) in seeds {
        let found = verdict_on(file, text);
        assert!(found.iter().any(|breach| breach.contains(expected)), "{file}: {found:?}");
    }
    let long = format!("//! x\n{}", "// y\n".repeat(LONGEST));
    assert!(verdict_on("src/model/long.rs", &long)[0].contains("split it by concern"));
}

#[test]
fn what_is_allowed_is_let_be() {
    let fine = [
        ("src/edge/x.rs", "//! x\nuse crate::audit::Trail;\nuse keepgate_guard::claims::Claims;\n"),
        ("src/edge/y.rs", "//! x\n// crate::store is off limits\n"),
        ("src/edge/z.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use crate::store::Stores;\n}\n"),
        ("src/store/sqlite/x.rs", "//! x\nuse rusqlite::Connection;\nuse super::view;\n"),
    ];
    for (file, text) in fine {
        assert_eq!(verdict_on(file, text), Vec::<String>::new(), "{file}");
    }
}

/// Whether a page has `name` as a word of its own: `serde` is not in `serde_json`.
fn names(page: &str, name: &str) -> bool {
    page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).any(|word| word == name)
}

#[test]
fn every_dependency_is_accounted_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/dependencies.md")).expect("the page");
    for manifest in ["Cargo.toml", "crates/keepgate-guard/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).expect("a manifest");
        let mut of = false;
        let mut seen = 0;
        for line in text.lines() {
            if let Some(section) = line.strip_prefix('[') {
                of = ["dependencies]", "dev-dependencies]"].contains(&section);
            } else if of && let Some((name, _)) = line.split_once(" = ") {
                seen += 1;
                let known = name == "keepgate-guard" || names(&page, name);
                assert!(known, "{name} of {manifest} is not in docs/dependencies.md: say what it is for");
            }
        }
        assert!(seen > 5, "{manifest} was read");
    }
}
