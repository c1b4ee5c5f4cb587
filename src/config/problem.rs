//! What is wrong with a configuration, said so that it can be mended without reading the source.
//!
//! Every problem names the key, the place it was set, the offending value (never a secret's) and
//! the remedy; a report carries all of them, because whoever mends one at a time restarts ten times.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On this line of the file, counted from 1.
    Line(usize),
    /// In this environment variable.
    Environment(String),
    /// Nowhere: the key is missing, or holds its default.
    Unset,
    /// The value is fine, but not what it names on this machine.
    Machine,
}

/// Longest part of a name that is shown, characters.
const SHOWN: usize = 80;

/// A name from the file or the environment as a message shows it: a terminal obeys nothing in it, and it
/// fits a line.
pub fn legible(name: &str) -> String {
    let mut shown = String::new();
    for (at, c) in name.chars().enumerate() {
        match c {
            _ if at == SHOWN => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it was set.
    pub place: Place,
    /// The key's path, such as `limits.head_bytes`; empty where the file as a whole is at fault.
    pub key: String,
    /// The value as written, quoted and shortened; `None` for secrets and missing keys.
    pub value: Option<String>,
    /// What is wrong with it, in words that follow the value.
    pub message: String,
    /// What to do, in one line.
    pub remedy: String,
}

impl Problem {
    /// What is wrong and where, in one line; `file` is what was read.
    pub fn told(&self, file: &str) -> String {
        let Self { place, key, value, message, .. } = self;
        let place = match place {
            Place::Line(line) => format!("({file}:{line}): "),
            Place::Environment(name) => format!("(environment {name}): "),
            Place::Unset if key.is_empty() => String::new(),
            Place::Unset => "(not set): ".to_owned(),
            Place::Machine => "(on this machine): ".to_owned(),
        };
        let [key, value] = [Some(key.as_str()).filter(|key| !key.is_empty()), value.as_deref()]
            .map(|word| word.map(|word| format!("{word} ")).unwrap_or_default());
        format!("{key}{place}{value}{message}")
    }
}

/// Everything wrong with one configuration. Never empty when returned as an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problems {
    /// The file that was read, as it was named.
    pub file: String,
    /// In the order of the file, then the environment, then what is missing.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        writeln!(f, "{}: {count} {}", self.file, if count == 1 { "problem" } else { "problems" })?;
        for problem in &self.problems {
            writeln!(f, "\n{}\n    {}", problem.told(&self.file), problem.remedy)?;
        }
        Ok(())
    }
}
