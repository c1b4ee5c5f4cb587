//! How a command ended: its exit code, and the words on standard error.

use std::process::ExitCode;

use serde_json::json;

use super::line::BadLines;
use super::output;
use crate::app::control::client::SendError;
use crate::app::control::reply::{Code, Failure};
use crate::config::problem::Problems;

/// It broke, or is not possible now.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong: clap's own code.
pub(super) const USAGE: u8 = 2;
/// The configuration is wrong.
pub(super) const CONFIGURATION: u8 = 3;
/// A rule forbids it, a value breaks a rule, or there is no such thing.
pub(super) const REFUSED: u8 = 4;

/// The command line asks for what cannot be, in a way that clap does not see.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Usage {
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// Writes why to standard error (as JSON if asked for) and gives the exit code.
pub(super) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let text = if json { as_json(error) } else { as_text(error) };
    output::complain(&text);
    ExitCode::from(code(error))
}

pub(super) fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Problems>() {
        CONFIGURATION
    } else if error.is::<Usage>() {
        USAGE
    } else if error.is::<BadLines>() {
        REFUSED
    } else if let Some(failure) = failure(error) {
        match failure.code {
            Code::Invalid | Code::NotFound | Code::Conflict | Code::Refused => REFUSED,
            Code::Unavailable | Code::Internal => FAILED,
        }
    } else {
        FAILED
    }
}

/// A cause in one line, and the next step below it.
pub(super) fn as_text(error: &anyhow::Error) -> String {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return problems.to_string();
    }
    if let Some(lines) = error.downcast_ref::<BadLines>() {
        return lines.to_string();
    }
    let remedy = remedy(error);
    // The chain, but not a cause that the line before it has said already.
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let next = if remedy.is_empty() { String::new() } else { format!("\n    {remedy}") };
    format!("keepgate: {text}{next}\n")
}

pub(super) fn as_json(error: &anyhow::Error) -> String {
    let value = if let Some(problems) = error.downcast_ref::<Problems>() {
        json!({ "code": "configuration", "file": problems.file, "problems": problems.problems })
    } else if let Some(lines) = error.downcast_ref::<BadLines>() {
        let (message, remedy) = (lines.summary(), BadLines::REMEDY);
        json!({ "code": Code::Invalid, "message": message, "remedy": remedy, "faults": lines.told() })
    } else {
        let other = if error.is::<Usage>() { "usage" } else { "internal" };
        let code = failure(error).map(|failure| json!(failure.code));
        let message = format!("{error:#}");
        json!({ "code": code.unwrap_or_else(|| json!(other)), "message": message, "remedy": remedy(error) })
    };
    format!("{value}\n")
}

fn failure(error: &anyhow::Error) -> Option<&Failure> {
    match error.downcast_ref::<SendError>() {
        Some(SendError::Failed(failure)) => Some(failure),
        _ => error.downcast_ref::<Failure>(),
    }
}

fn remedy(error: &anyhow::Error) -> String {
    if let Some(failure) = failure(error) {
        return failure.remedy.clone();
    }
    if let Some(usage) = error.downcast_ref::<Usage>() {
        return usage.remedy.to_owned();
    }
    match error.downcast_ref::<SendError>() {
        Some(SendError::Forbidden(_)) => "run it with sudo, or as the user that keepgate runs as".to_owned(),
        Some(SendError::Broken { .. }) => "look at `keepgate status` and the daemon's log".to_owned(),
        _ => String::new(),
    }
}
