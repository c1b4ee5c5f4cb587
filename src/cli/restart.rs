//! `keepgate restart`: the daemon has another process of its own take over.
//!
//! The daemon answers once that process has checked its configuration; what came of the rest, `status` tells,
//! which waits at the same socket for whoever serves then.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::place::Place;
use super::{open, output, reload};
use crate::app::control::client::SendError;
use crate::app::control::command::Command;
use crate::app::control::reply::{Code, Failure, Reply};
use crate::app::control::view::{Restart as Told, Status};

/// `restart`
#[derive(Debug, clap::Args)]
pub(super) struct Restart {
    /// Even if a process that was replaced before still has something open: that is cut
    #[arg(long)]
    force: bool,
}

/// For the daemon to hand over, or to go back: longer than it waits itself.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

impl Restart {
    pub(super) fn run(self, place: &Place, json: bool) -> anyhow::Result<ExitCode> {
        let (data_dir, _) = reload::daemon(place)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let pid = match open::ask(&data_dir, Command::Restart { force: self.force }).await {
                Ok(Reply::Restarting { pid }) => pid,
                Ok(other) => return Err(output::unexpected(&other)),
                Err(error @ SendError::NotRunning(_)) => {
                    return Err(anyhow::Error::new(error).context("there is nothing to restart"));
                }
                Err(error) => return Err(error.into()),
            };
            let until = Instant::now() + PATIENCE;
            loop {
                // Between the two processes there may be nobody who can answer.
                if let Ok(Reply::Status(status)) = open::ask(&data_dir, Command::Status).await
                    && let Some(told) = ended(&status, pid)
                {
                    output::print(&told.map(|told| shown(&told, pid, json))?)?;
                    return Ok(ExitCode::SUCCESS);
                }
                if Instant::now() >= until {
                    let message = format!("process {pid} was started, and whether it serves is not known");
                    return Err(Failure::new(Code::Internal, message)
                        .remedy("see `keepgate status` and the log")
                        .into());
                }
                sleep(PAUSE).await;
            }
        })
    }
}

/// What came of it, once something has.
fn ended(status: &Status, pid: u32) -> Option<Result<Told, Failure>> {
    let told = status.restart.clone()?;
    if status.pid == Some(pid) {
        return Some(Ok(told));
    }
    let why = told.failed_because?;
    let remedy = "the process before serves on; see its log, mend the cause and restart again";
    Some(Err(Failure::new(Code::Unavailable, format!("process {pid} does not serve: {why}")).remedy(remedy)))
}

fn shown(told: &Told, pid: u32, json: bool) -> String {
    if json {
        return format!("{}\n", json!({"pid": pid, "before": told.before}));
    }
    let before = told.before.map(|before| {
        format!("Process {before} finishes what it has open, for limits.handover_timeout at most.\n")
    });
    format!("Process {pid} serves.\n{}", before.unwrap_or_default())
}
