//! Every key as `config.example.toml` tells of it: its default and its comment. The example is the one
//! place where both are written for people; tests hold it against the reader and the structs.
//!
//! How it is read: the comment of a key is the lines with `# ` right above it. The value written is the
//! default, unless the comment says "(example", or says "the default is …" itself. `#key = value` is a
//! key that cannot stand beside another; it has a default only if its comment says so.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::section::Asked;
use super::tree::{self, Node, Value};
use crate::config::problem::Place;
use crate::config::setting::{Origin, Setting};

/// The example, at build time.
pub(super) const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// What the example says of a key or of a section.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// In one line.
    pub(super) comment: String,
    /// What it is if nobody sets it.
    pub(super) default: Option<Json>,
}

/// What was asked for, with defaults where nothing was found.
pub(super) fn settings(asked: Vec<Asked>) -> Vec<Setting> {
    let catalog = entries();
    let setting = |asked: Asked| {
        let Asked { path: key, pattern, found } = asked;
        match found {
            Some((place, value)) => {
                let default = catalog.get(&pattern).and_then(|entry| entry.default.as_ref());
                let value = if matches!(place, Place::Environment(_)) { like(default, value) } else { value };
                Some(Setting { key, value: Some(value), origin: origin(place) })
            }
            None => {
                let value = catalog.get(&pattern).and_then(|entry| entry.default.clone());
                // Of an entry in a list only what is there: the rest would drown it.
                (value.is_some() || !pattern.contains("[]")).then_some(Setting {
                    key,
                    value,
                    origin: Origin::Default,
                })
            }
        }
    };
    asked.into_iter().filter_map(setting).collect()
}

/// A text from the environment as what its key takes, going by the default.
fn like(default: Option<&Json>, value: Json) -> Json {
    let Some(text) = value.as_str() else { return value };
    let parsed = match default {
        Some(Json::Number(_)) => text.parse::<i64>().ok().map(Json::from),
        Some(Json::Bool(_)) => text.parse::<bool>().ok().map(Json::from),
        Some(Json::Array(_)) if text.trim().is_empty() => Some(Json::Array(Vec::new())),
        Some(Json::Array(_)) => Some(text.split(',').map(|item| Json::from(item.trim())).collect()),
        _ => None,
    };
    parsed.unwrap_or(value)
}

fn origin(place: Place) -> Origin {
    match place {
        Place::Line(line) => Origin::File(line),
        Place::Environment(name) => Origin::Environment(name),
        Place::Unset | Place::Machine => Origin::Default,
    }
}

/// The example by key pattern (`routes[].path`, `upstreams.*.servers`) and section.
pub(super) fn entries() -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    // A test reads the example; if it could not be parsed there would be no release.
    if let Ok(root) = tree::parse(&with_commented_keys(EXAMPLE)) {
        let lines: Vec<&str> = EXAMPLE.lines().collect();
        collect(&root, "", &lines, &mut entries);
    }
    entries
}

/// The text with `#key = value` lines in force. Prose has a space after the `#`.
pub(super) fn with_commented_keys(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn collect(node: &Node, path: &str, lines: &[&str], entries: &mut BTreeMap<String, Entry>) {
    let Value::Table(table) = &node.value else { return };
    for (key, child) in table {
        let below = match path {
            "" => key.clone(),
            "upstreams" => "upstreams.*".to_owned(),
            path => format!("{path}.{key}"),
        };
        // The first that is written of a list is the one with the comments.
        if !entries.contains_key(&below) {
            entries.insert(below.clone(), entry(child, &below, lines));
        }
        match &child.value {
            Value::Table(_) => collect(child, &below, lines, entries),
            Value::List(items) => {
                items.iter().for_each(|item| collect(item, &format!("{below}[]"), lines, entries));
            }
            _ => {}
        }
    }
}

fn entry(node: &Node, pattern: &str, lines: &[&str]) -> Entry {
    let at = match &node.place {
        Place::Line(line) => line.saturating_sub(1),
        _ => return Entry::default(),
    };
    let above = lines.get(..at).unwrap_or_default().iter().rev();
    let prose = |line: &&&str| line.starts_with("# ");
    let mut comment: Vec<_> = above.take_while(prose).map(|line| line.trim_start_matches("# ")).collect();
    comment.reverse();
    let comment = comment.join(" ");
    let in_force = lines.get(at).is_some_and(|line| !line.starts_with('#'));
    let written = in_force && !comment.contains("(example") && !pattern.contains("[]");
    let default = said(&comment).or_else(|| written.then(|| node.json()));
    Entry { comment, default: default.filter(|_| !matches!(node.value, Value::Table(_))) }
}

/// The default that a comment names: `the default is "x"` or `"x" (the default)`.
fn said(comment: &str) -> Option<Json> {
    if let Some((_, text)) = comment.split_once("the default is ") {
        let end = match text.chars().next()? {
            '"' => text.get(1..)?.find('"')? + 2,
            '[' => text.find(']')? + 1,
            _ => text.find([' ', ',', ';', ')', '.']).unwrap_or(text.len()),
        };
        return value(text.get(..end)?);
    }
    let before = comment.split_once(" (the default)")?.0;
    value(before.get(before.trim_end_matches('"').rfind('"')?..)?)
}

fn value(text: &str) -> Option<Json> {
    let root = tree::parse(&format!("value = {text}")).ok()?;
    let Value::Table(table) = &root.value else { return None };
    table.get("value").map(Node::json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_what_the_comment_says_else_what_is_written() {
        let entries = entries();
        let default = |key: &str| entries[key].default.clone();
        assert_eq!(default("tls.source"), Some("local-ca".into()));
        assert_eq!(default("tokens.issuer"), Some("https://localhost".into()));
        assert_eq!(default("listen.https"), Some(vec!["0.0.0.0:443"].into()));
        assert_eq!(default("limits.connections"), Some(10_000.into()));
        assert_eq!(default("log.keep"), Some(14.into()));
        assert_eq!(default("tls.names"), Some(vec!["localhost", "127.0.0.1", "::1"].into()));
        assert_eq!(default("routes[].auth"), Some("required".into()));
        assert_eq!(default("upstreams.*.idle_timeout"), Some("30s".into()));
        for none in ["keys.master_key", "routes[].path", "upstreams.*.servers", "tls.certificates[].key"] {
            assert_eq!(default(none), None, "{none}");
        }
        assert_eq!(entries["limits.head_bytes"].comment, "Request line and headers (431 past it).");
    }
}
