//! `keepgate config`: the configuration as it is in force, key by key.

use std::process::ExitCode;

use serde_json::json;

use super::exit::Usage;
use super::output;
use super::place::Place;
use crate::config::read;
use crate::config::setting::{Known, Origin, Setting};

/// `config …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Config {
    /// Show every key, its value and where that was set; of secrets only the source
    Show,
    /// Tell of every key there is: what it takes, its default, what it is for
    Keys {
        /// Only those that begin so, such as `limits`
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
    },
}

impl Config {
    pub(super) fn run(&self, place: &Place, json: bool) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show => show(place, json),
            Self::Keys { prefix } => keys(prefix, json),
        }
    }
}

fn show(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let (settings, file) = (place.settings()?, place.name());
    let text = if json {
        let all: Vec<_> = settings.iter().map(|setting| object(setting, &file)).collect();
        output::pretty(&all)?
    } else {
        output::table(["KEY", "VALUE", "SET BY"], &settings, |setting| {
            [setting.key.clone(), shown(setting), origin(setting, &file).1]
        })
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The keys that this binary reads; no configuration is looked at.
fn keys(prefix: &str, json: bool) -> anyhow::Result<ExitCode> {
    let keys: Vec<_> = read::keys().into_iter().filter(|known| known.key.starts_with(prefix)).collect();
    if keys.is_empty() {
        let message = format!("no key begins with '{prefix}'");
        return Err(Usage { message, remedy: "`keepgate config keys` shows them all" }.into());
    }
    let text = if json {
        let all = keys.iter().map(|Known { key, takes, default, comment }| {
            json!({ "key": key, "takes": takes, "default": default, "comment": comment })
        });
        output::pretty(&all.collect::<Vec<_>>())?
    } else {
        keys.iter().map(paragraph).collect::<Vec<_>>().join("\n")
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn paragraph(known: &Known) -> String {
    let Known { key, takes, default, comment } = known;
    let default = match default {
        Some(value) => format!("default {}", written(value)),
        None => "no default".to_owned(),
    };
    format!("{key}\n    {takes}; {default}\n    {comment}\n")
}

/// A value as TOML would have it, near enough: texts quoted, lists in brackets.
fn shown(setting: &Setting) -> String {
    setting.value.as_ref().map_or_else(|| "(not set)".to_owned(), written)
}

fn written(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(source) => {
            let source: Vec<_> = source.iter().map(|(kind, value)| format!("{kind} = {value}")).collect();
            format!("{{ {} }}", source.join(", "))
        }
        serde_json::Value::Array(items) => {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        value => value.to_string(),
    }
}

fn object(setting: &Setting, file: &str) -> serde_json::Value {
    let (kind, at) = origin(setting, file);
    json!({ "key": setting.key, "value": setting.value, "source": kind, "at": at })
}

/// Who set it: a stable word, and where exactly.
fn origin(setting: &Setting, file: &str) -> (&'static str, String) {
    match &setting.origin {
        Origin::File(line) => ("file", format!("{file}:{line}")),
        Origin::Environment(name) => ("environment", format!("${name}")),
        Origin::Development => ("development", "--dev".to_owned()),
        Origin::Argument(name) => ("argument", (*name).to_owned()),
        Origin::Default => ("default", "default".to_owned()),
    }
}
