//! The configuration as a tree of values that remember where they were set: the TOML file, with the
//! environment's overrides laid over it. No key is known here; meaning is the sections' business.
//!
//! Invariant: every node has the place it came from, so that every message can name it. Nodes have
//! no `Debug`, because a secret given by value is one of them until it is read.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Place, Problem, legible};

/// What overrides are called: `KEEPGATE_LISTEN__HTTPS` is `listen.https`.
const PREFIX: &str = "KEEPGATE_";
/// Variables with the prefix that are not keys: read by the command line.
const NOT_KEYS: [&str; 1] = ["KEEPGATE_CONFIG"];

/// More parts than any key has. Tables within tables are walked by recursion, so their depth is bounded
/// (in the file by the parser).
const DEEPEST: usize = 8;

/// One value and where it was set.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value before anyone has asked for its type.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// From the environment: text that becomes whatever its key wants.
    Loose(String),
    /// A TOML type that no key takes (float, date), or a number out of range; how it was written.
    Odd(String),
}

impl Node {
    /// The value as a message shows it: quoted, shortened, containers by name only.
    pub(super) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        match &self.value {
            Value::Text(text) | Value::Loose(text) => {
                let cut: String = text.chars().take(LONGEST).collect();
                let more = if cut.len() < text.len() { "…" } else { "" };
                format!("{cut:?}{more}")
            }
            Value::Integer(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Odd(text) => text.chars().take(LONGEST).collect(),
        }
    }

    /// The value as it was written, for whoever may see it.
    pub(super) fn json(&self) -> Json {
        match &self.value {
            Value::Text(text) | Value::Loose(text) | Value::Odd(text) => Json::from(text.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Flag(flag) => Json::from(*flag),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Table(table) => table.iter().map(|(key, node)| (key.clone(), node.json())).collect(),
        }
    }

    /// Of a secret: where it was said to be, and where that was said. Never the secret.
    pub(super) fn source(&self) -> (Place, Json) {
        let Value::Table(table) = &self.value else { return (self.place.clone(), Json::Null) };
        let shown = |(kind, node): (&String, &Self)| {
            let open = ["file", "env", "credential"].contains(&kind.as_str());
            (kind.clone(), if open { node.json() } else { Json::from("(hidden)") })
        };
        let place = table.values().next().map_or(&self.place, |node| &node.place);
        (place.clone(), table.iter().map(shown).collect())
    }

    /// A value of a table.
    pub(super) fn into_child(self, key: &str) -> Option<Self> {
        let Value::Table(mut table) = self.value else { return None };
        table.remove(key)
    }

    /// Where the value at a path such as `routes[1].path` was set; its nearest ancestor's place if
    /// the key itself is missing, `Unset` if that is the root.
    pub(super) fn place_of(&self, path: &str) -> Place {
        let (mut node, mut place) = (self, Place::Unset);
        for part in path.split(['.', '[']) {
            let next = match (&node.value, part.strip_suffix(']')) {
                (Value::Table(table), None) => table.get(part),
                (Value::List(list), Some(index)) => index.parse().ok().and_then(|at: usize| list.get(at)),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
            place = node.place.clone();
        }
        place
    }
}

/// Parses TOML. All syntax errors at once, each with its line and without the line's content, which
/// may be a secret.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Lines::of(text).table(table.get_ref(), 0));
    }
    let lines = Lines::of(text);
    let problem = |error: toml::de::Error| Problem {
        place: lines.at(error.span().map_or(0, |span| span.start)),
        key: String::new(),
        value: None,
        message: format!("not valid TOML: {}", error.message().replace('\n', " ")),
        remedy: "see config.example.toml for every key as it is written".to_owned(),
    };
    let mut problems: Vec<_> = errors.into_iter().map(problem).collect();
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Err(problems)
}

/// Lays `KEEPGATE_SECTION__KEY=value` variables over the tree, in the order of their names.
pub(super) fn overlay(root: &mut Node, environment: Vec<(String, String)>) -> Vec<Problem> {
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !NOT_KEYS.contains(&name.as_str()))
        .collect();
    variables.sort();
    variables.into_iter().filter_map(|(name, value)| override_one(root, name, value).err()).collect()
}

fn override_one(root: &mut Node, name: String, value: String) -> Result<(), Problem> {
    let key = name.strip_prefix(PREFIX).unwrap_or(&name).to_lowercase().replace("__", ".");
    let place = Place::Environment(legible(&name));
    let refuse = |message: &str, remedy: &str| Problem {
        place: place.clone(),
        key: legible(&key),
        value: None,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    };
    if key.split('.').nth(DEEPEST).is_some() {
        return Err(refuse(
            "goes deeper than any key",
            "unset it; config.example.toml has every key there is",
        ));
    }
    let mut node = root;
    for part in key.split('.') {
        let Value::Table(table) = &mut node.value else {
            return Err(refuse("goes below a key that is not a table", "unset it, or set the key itself"));
        };
        node = table
            .entry(part.to_owned())
            .or_insert_with(|| Node { place: place.clone(), value: Value::Table(BTreeMap::new()) });
    }
    let tables = match &node.value {
        Value::Table(table) => !table.is_empty(),
        Value::List(list) => list.iter().any(|item| matches!(item.value, Value::Table(_))),
        _ => false,
    };
    if tables || key == "routes" {
        return Err(refuse("cannot be set by the environment", "set it in the file, and unset the variable"));
    }
    *node = Node { place, value: Value::Loose(value) };
    Ok(())
}

/// Byte offsets to line numbers.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn at(&self, offset: usize) -> Place {
        Place::Line(self.0.partition_point(|end| *end < offset) + 1)
    }

    fn table(&self, table: &DeTable<'_>, offset: usize) -> Node {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            // A key's own line says more than its value's, which may start lines below.
            (String::from(AsRef::<str>::as_ref(key.get_ref())), self.node(value, key.span().start))
        };
        let entries: BTreeMap<String, Node> = table
            .iter()
            .map(|(key, value): (&Spanned<std::borrow::Cow<'_, str>>, _)| entry((key, value)))
            .collect();
        Node { place: self.at(offset), value: Value::Table(entries) }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, offset: usize) -> Node {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                i64::from_str_radix(&digits, number.radix()).map_or(Value::Odd(digits), Value::Integer)
            }
            DeValue::Float(number) => Value::Odd(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(date) => Value::Odd(date.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item, item.span().start)).collect())
            }
            DeValue::Table(table) => return self.table(table, offset),
        };
        Node { place: self.at(offset), value }
    }
}
