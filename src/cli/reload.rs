//! `keepgate reload`: the daemon reads its configuration anew.
//!
//! A file that is wrong may be the very reason for asking, so all that is wanted of it here is where
//! the daemon is. What is wrong is for the daemon to say, which also puts it on record.

use std::path::PathBuf;
use std::process::ExitCode;

use super::place::Place;
use super::{open, output};
use crate::app::control::client::SendError;
use crate::app::control::command::Command;
use crate::app::control::reply::Reply;
use crate::config::problem::Problems;
use crate::config::read;

pub(super) fn run(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let (data_dir, wrong) = daemon(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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

/// The data folder of the daemon that is meant, and what is wrong with the file that should say so.
fn daemon(place: &Place) -> anyhow::Result<(PathBuf, Option<Problems>)> {
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
