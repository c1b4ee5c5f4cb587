//! `keepgate reload`: the daemon reads its configuration anew.
//!
//! A file that is wrong may be the very reason for asking, so all that is wanted of it here is where
//! the daemon is. What is wrong is for the daemon to say, which also puts it on record.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::place::Place;
use super::{open, output};
use crate::app::control::client::SendError;
use crate::app::control::command::Command;
use crate::app::control::reply::{Code, Failure, Reply};
use crate::config::problem::Problems;
use crate::config::read;

pub(super) fn run(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let (data_dir, wrong) = daemon(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(file) = place.named_file()? {
        runtime.block_on(its_own(&data_dir, &file))?;
    }
    let reply = match runtime.block_on(open::ask(&data_dir, Command::Reload)) {
        Ok(reply) => reply,
        Err(SendError::NotRunning(path)) => {
            // Then the file is all there is to speak of.
            return Err(match wrong {
                Some(problems) => problems.into(),
                None => anyhow::Error::new(SendError::NotRunning(path)).context("there is nothing to reload"),
            });
        }
        Err(error) => return Err(error.into()),
    };
    match reply {
        Reply::Misconfigured(problems) => Err(problems.into()),
        Reply::Reloaded(_) => {
            output::print(&output::render(&reply, json)?)?;
            Ok(ExitCode::SUCCESS)
        }
        other => Err(output::unexpected(&other)),
    }
}

/// Refuses another file than the daemon's own, which is the only one that it reads. A daemon that cannot say is
/// left to answer for itself.
async fn its_own(data_dir: &Path, file: &Path) -> Result<(), Failure> {
    let Ok(Reply::Status(status)) = open::ask(data_dir, Command::Status).await else { return Ok(()) };
    let Some(configuration) = status.configuration else { return Ok(()) };
    let known = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let runs = match &configuration.file {
        Some(own) if known(Path::new(own)) == known(file) => return Ok(()),
        Some(own) => format!("runs with {}", output::plain(own)),
        None => "runs without a file (serve --dev)".to_owned(),
    };
    let message =
        format!("the daemon in {} {runs}, and would not read {}", data_dir.display(), file.display());
    let remedy = "change the daemon's own file, or start it with the other; with --data alone, reload asks for \
                  whatever file it runs with";
    Err(Failure::new(Code::Refused, message).remedy(remedy))
}

/// The data folder of the daemon that is meant, and what is wrong with the file that should say so.
pub(super) fn daemon(place: &Place) -> anyhow::Result<(PathBuf, Option<Problems>)> {
    let (file, data) = place.file_and_data()?;
    if let Some(data) = data {
        return Ok((data, None));
    }
    match read::load(&file) {
        Ok(config) => Ok((config.data_dir, None)),
        Err(problems) => match read::data_dir(&file) {
            Some(data_dir) => Ok((data_dir, Some(problems))),
            None => Err(problems.into()),
        },
    }
}
