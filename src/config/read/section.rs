//! Reading one table key by key: a key that is asked for becomes known, what nobody has
//! asked for at the end is unknown and reported with the nearest known name.
//!
//! Reading never stops at a problem: it is reported, the default stays, and the next key is read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::kind::{self, Read};
use super::tree::{Node, Value};
use crate::config::problem::{Place, Problem, legible};
use crate::config::secret::SecretSource;

/// What was found so far, over all sections.
#[derive(Default)]
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
    asked: RefCell<Vec<Asked>>,
    /// What each key takes, if anybody wants to know.
    words: Option<RefCell<BTreeMap<String, String>>>,
}

/// A key that was asked for, and what was found.
pub(super) struct Asked {
    /// As messages call it (`routes[1].path`).
    pub(super) path: String,
    /// As it is in the list of known keys (`routes[].path`).
    pub(super) pattern: String,
    /// Where it is set and to what; of a secret only where it comes from.
    pub(super) found: Option<(Place, serde_json::Value)>,
}

impl Report {
    /// A report that also asks each kind what it takes.
    pub(super) fn asking() -> Self {
        Self { words: Some(RefCell::default()), ..Self::default() }
    }

    /// What each key takes, for a report that asked.
    pub(super) fn words(&self) -> BTreeMap<String, String> {
        self.words.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// Every key that was asked for, in that order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.take()
    }

    pub(super) fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn extend(&self, problems: Vec<Problem>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// Whether something is wrong with a key already: its value is then only a stand-in.
    pub(super) fn has(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == key)
    }

    /// The problems in the order of the file.
    pub(super) fn finish(&self) -> Vec<Problem> {
        let mut problems = self.problems.take();
        problems.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.key.cmp(&b.key)));
        problems
    }

    /// The pattern of every key that was asked for.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.take()
    }
}

/// A table being read. `finish` it, or its unknown keys go unnoticed.
#[must_use = "unknown keys are only reported by finish()"]
pub(super) struct Section<'t> {
    /// Path for messages (`routes[1]`).
    path: String,
    /// Path in the list of known keys (`routes[]`).
    pattern: String,
    place: Place,
    entries: BTreeMap<&'t str, &'t Node>,
    asked: BTreeSet<&'static str>,
    report: &'t Report,
}

impl<'t> Section<'t> {
    /// The whole file.
    pub(super) fn root(root: &'t Node, report: &'t Report) -> Self {
        Self::new(root, String::new(), String::new(), report)
    }

    fn new(node: &'t Node, path: String, pattern: String, report: &'t Report) -> Self {
        let entries = match &node.value {
            Value::Table(table) => table.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            _ => BTreeMap::new(),
        };
        let section =
            Self { path, pattern, place: node.place.clone(), entries, asked: BTreeSet::new(), report };
        if !matches!(node.value, Value::Table(_)) {
            // The value is not shown: a section's place may have been given a secret by mistake.
            section.problem("", None, "is not a table", "write it as a [section] of keys");
        }
        section
    }

    /// This section's path, or that of a key in it.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports a problem with a key of this section, or with the section if `key` is empty.
    pub(super) fn problem(&self, key: &str, value: Option<String>, message: &str, remedy: &str) {
        self.report.push(Problem {
            place: self.entries.get(key).map_or_else(|| self.place.clone(), |node| node.place.clone()),
            key: self.path_of(key),
            value,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// Reads a key if it is set and good.
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: impl Fn(&Node) -> Read<T>) -> Option<T> {
        if let Some(words) = &self.report.words {
            words.borrow_mut().insert(join(&self.pattern, key), wanted(&kind));
        }
        let node = self.take(key, |node| (node.place.clone(), node.json()))?;
        match kind(node) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                let problem = |wrong: kind::Wrong| Problem {
                    place: wrong.place,
                    key: self.path_of(key),
                    value: Some(wrong.value),
                    message: wrong.message,
                    remedy: wrong.remedy,
                };
                self.report.extend(wrongs.into_iter().map(problem).collect());
                None
            }
        }
    }

    /// Reads a key over its default.
    pub(super) fn set<T>(&mut self, key: &'static str, kind: impl Fn(&Node) -> Read<T>, into: &mut T) {
        if let Some(value) = self.optional(key, kind) {
            *into = value;
        }
    }

    /// Reads a key that has no default.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        kind: impl Fn(&Node) -> Read<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.asked(key);
            self.problem(key, None, "is missing", remedy);
            return None;
        }
        self.optional(key, kind)
    }

    /// Whether a key is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether no key is set in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A table below this one; empty if it is not there.
    pub(super) fn child(&mut self, key: &'static str) -> Section<'t> {
        let (path, pattern) = (self.path_of(key), join(&self.pattern, key));
        self.asked.insert(key);
        match self.entries.get(key) {
            Some(node) => Section::new(node, path, pattern, self.report),
            None => Section {
                path,
                pattern,
                place: Place::Unset,
                entries: BTreeMap::new(),
                asked: BTreeSet::new(),
                report: self.report,
            },
        }
    }

    /// The tables of a list such as `[[routes]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'t>> {
        self.asked.insert(key);
        let Some(node) = self.entries.get(key).copied() else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.problem(key, None, "is not a list of tables", &format!("write [[{}]]", self.path_of(key)));
            return Vec::new();
        };
        let pattern = format!("{}[]", join(&self.pattern, key));
        let at = |(index, item)| {
            Section::new(item, format!("{}[{index}]", self.path_of(key)), pattern.clone(), self.report)
        };
        items.iter().enumerate().map(at).collect()
    }

    /// The tables below this one by name, such as `[upstreams.NAME]`; this section is used up.
    pub(super) fn named(self) -> Vec<(&'t str, Section<'t>)> {
        let pattern = join(&self.pattern, "*");
        let child = |(name, node): (&'t str, &'t Node)| {
            (name, Section::new(node, join(&self.path, name), pattern.clone(), self.report))
        };
        self.entries.iter().map(|(name, node)| child((name, node))).collect()
    }

    /// A secret: exactly one of its four sources. No message ever shows what was written.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<SecretSource> {
        let path = self.path_of(key);
        if let Some(words) = &self.report.words {
            words.borrow_mut().insert(join(&self.pattern, key), SECRET.to_owned());
        }
        let node = self.take(key, Node::source)?;
        if let (Value::Loose(_), Place::Environment(name)) = (&node.value, &node.place) {
            self.report.push(Problem {
                place: node.place.clone(),
                key: path,
                value: None,
                message: "is a table, which a variable cannot hold".to_owned(),
                remedy: format!(
                    "unset it, and set {name}__ENV, {name}__FILE or {name}__CREDENTIAL to the source"
                ),
            });
            return None;
        }
        let quiet = Report::default();
        let mut inner = Section::new(node, path, String::new(), &quiet);
        let sources = [
            inner.optional("value", kind::text).map(|text| SecretSource::Value(text.into())),
            inner.optional("file", kind::path).map(SecretSource::File),
            inner.optional("env", kind::text).map(SecretSource::Env),
            inner.optional("credential", kind::text).map(SecretSource::Credential),
        ];
        inner.finish();
        let problems = quiet.finish();
        let bad = !problems.is_empty();
        self.report.extend(problems.into_iter().map(|p| Problem { value: None, ..p }).collect());
        let mut given = sources.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(source), None) => Some(source),
            _ if bad => None,
            _ => {
                self.report.push(Problem {
                    place: node.place.clone(),
                    key: self.path_of(key),
                    value: None,
                    message: "does not name exactly one source".to_owned(),
                    remedy: format!("write {SECRET}"),
                });
                None
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, node) in self.entries.iter().filter(|(key, _)| !self.asked.contains(**key)) {
            let near = nearest(key, &self.asked);
            let hint = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            let remedy = match &node.place {
                Place::Environment(_) => "unset the variable, or name a key that config.example.toml has",
                _ => "remove it; config.example.toml has every key there is",
            };
            self.report.push(Problem {
                place: node.place.clone(),
                key: self.path_of(key),
                value: None,
                message: format!("unknown key `{}`{hint}", legible(key)),
                remedy: remedy.to_owned(),
            });
        }
    }

    fn take(
        &mut self,
        key: &'static str,
        show: impl Fn(&Node) -> (Place, serde_json::Value),
    ) -> Option<&'t Node> {
        self.asked(key);
        let node = self.entries.get(key).copied();
        let (path, pattern) = (self.path_of(key), join(&self.pattern, key));
        self.report.asked.borrow_mut().push(Asked { path, pattern, found: node.map(show) });
        node
    }

    fn asked(&mut self, key: &'static str) {
        self.asked.insert(key);
        self.report.known.borrow_mut().insert(join(&self.pattern, key));
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => legible(key),
        (path, "") => path.to_owned(),
        (path, key) => format!("{path}.{}", legible(key)),
    }
}

/// What a secret takes.
const SECRET: &str = "one of { credential = \"NAME\" }, { file = \"/PATH\" }, { env = \"NAME\" } or, outside \
                      production, { value = \"…\" }";

/// What a kind takes, in the words with which it refuses something else.
fn wanted<T>(kind: &impl Fn(&Node) -> Read<T>) -> String {
    let refusal = |value: Value| {
        let wrongs = kind(&Node { place: Place::Unset, value }).err()?;
        let remedy = wrongs.into_iter().next()?.remedy;
        Some(remedy.strip_prefix("write ").unwrap_or(&remedy).to_owned())
    };
    // A blank is a text, so that a kind of text says what it wants of one; a number out of range is
    // nothing at all.
    let odd = || [Value::Text(" ".to_owned()), Value::Odd(String::new())];
    let whole = odd().into_iter().find_map(refusal).unwrap_or_default();
    if !whole.starts_with("a list") {
        return whole;
    }
    let item = |value| Value::List(vec![Node { place: Place::Unset, value }]);
    let each = odd().into_iter().find_map(|value| refusal(item(value))).unwrap_or_default();
    format!("a list, each item: {each}")
}

/// The known name that a typing slip away from `key`, if there is one.
fn nearest(key: &str, known: &BTreeSet<&'static str>) -> Option<&'static str> {
    let close = |name: &&'static str| {
        // Far by their lengths alone: a key of a megabyte is not worth comparing.
        key.len().abs_diff(name.len()) <= 3 && distance(key, name) <= (name.len() / 3).clamp(1, 3)
    };
    known.iter().copied().filter(close).min_by_key(|name| distance(key, name))
}

/// Levenshtein's distance, in bytes: keys are ASCII.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let best = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
