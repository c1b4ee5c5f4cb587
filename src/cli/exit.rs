//! How a command ended: its exit code, and the words on standard error.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::line::BadLines;
use super::output;
use crate::app::control::client::SendError;
use crate::app::control::reply::{Code, Failure};
use crate::app::setup::SetupError;
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

/// A file or folder that was named, or one that a command makes, does not do.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {cause}", path.display())]
pub(super) struct BadFile {
    what: &'static str,
    path: PathBuf,
    /// Not its source: the message has said it.
    cause: io::Error,
}

/// How the errors of files begin that should be there.
pub(super) const CANNOT_READ: &str = "cannot read";

/// For `map_err`: what was tried, such as "cannot read", and on what.
pub(super) fn bad_file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BadFile + use<> {
    let path = path.to_owned();
    move |cause| BadFile { what, path: path.clone(), cause }
}

/// What the system said of a file, if that is what is wrong, and whether it was to be written.
fn of_a_file(error: &anyhow::Error) -> Option<(ErrorKind, bool)> {
    let bad =
        error.downcast_ref::<BadFile>().map(|bad| (bad.cause.kind(), !bad.what.starts_with(CANNOT_READ)));
    bad.or_else(|| error.downcast_ref::<SetupError>().map(|error| (error.source.kind(), true)))
}

/// A name that does not do is the command line's fault, a file that stands there already is kept by a rule,
/// and the rest (no room, no permission, a broken disk) is how the machine is.
const fn file_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::AlreadyExists => REFUSED,
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => USAGE,
        _ => FAILED,
    }
}

const fn file_remedy(kind: ErrorKind, written: bool) -> &'static str {
    match kind {
        ErrorKind::AlreadyExists => "nothing is written over: name another, or move that one away",
        ErrorKind::NotFound | ErrorKind::NotADirectory if written => "name one in a folder that is there",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "name one that is there",
        ErrorKind::IsADirectory | ErrorKind::InvalidInput | ErrorKind::InvalidFilename => "name a file",
        ErrorKind::PermissionDenied => "run it as a user who may, or name another",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room, or name one on another disk",
        ErrorKind::ReadOnlyFilesystem => "name one on a disk that can be written",
        _ => "",
    }
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
    } else if let Some((kind, _)) = of_a_file(error) {
        file_code(kind)
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
    let text = chain(error);
    let next = if remedy.is_empty() { String::new() } else { format!("\n    {remedy}") };
    format!("keepgate: {text}{next}\n")
}

/// An error and its causes, but not a cause that has been said already.
fn chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

pub(super) fn as_json(error: &anyhow::Error) -> String {
    let value = if let Some(problems) = error.downcast_ref::<Problems>() {
        json!({ "code": "configuration", "file": problems.file, "problems": problems.problems })
    } else if let Some(lines) = error.downcast_ref::<BadLines>() {
        let (message, remedy) = (lines.summary(), BadLines::REMEDY);
        json!({ "code": Code::Invalid, "message": message, "remedy": remedy, "faults": lines.told() })
    } else {
        let other = match self::code(error) {
            USAGE => "usage",
            REFUSED => "conflict",
            _ => "internal",
        };
        let code = failure(error).map(|failure| json!(failure.code));
        let message = chain(error);
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
    if let Some((kind, written)) = of_a_file(error) {
        return file_remedy(kind, written).to_owned();
    }
    match error.downcast_ref::<SendError>() {
        Some(SendError::Forbidden(_)) => "run it with sudo, or as the user that keepgate runs as".to_owned(),
        Some(SendError::NotRunning(_)) => {
            "start it; one that was started with another data folder is reached by \
                                           --data DIR, whatever the file says now"
                .to_owned()
        }
        Some(SendError::Broken { .. }) => "look at `keepgate status` and the daemon's log".to_owned(),
        _ if is_full(error) => {
            "make room on the disk that it is on, and try again (docs/maintenance.md)".to_owned()
        }
        _ => String::new(),
    }
}

/// Whether something met a full disk: the system says so in its way, SQLite in its own.
fn is_full(error: &anyhow::Error) -> bool {
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| full(error.kind()))
            || ["database or disk is full", "No space left on device", "Disk quota exceeded"]
                .iter()
                .any(|words| cause.to_string().contains(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_meets_a_full_disk_is_told_to_make_room() {
        let full = io::Error::from(ErrorKind::StorageFull);
        let wrapped = anyhow::Error::new(full).context("cannot write store/journal");
        let sqlite = anyhow::anyhow!("the auth store failed: database or disk is full");
        for error in [wrapped, sqlite] {
            assert!(as_text(&error).contains("make room on the disk"), "{}", as_text(&error));
        }
        assert!(!as_text(&anyhow::anyhow!("something else")).contains("make room"));
    }
}
