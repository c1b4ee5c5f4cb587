//! `keepgate status`: whether the node runs and is ready, and its figures.

use std::process::ExitCode;

use super::exit::FAILED;
use super::{Console, output};
use crate::app::control::command::Command;
use crate::app::control::reply::Reply;

pub(super) async fn run(console: &mut Console) -> anyhow::Result<ExitCode> {
    let mut status = match console.node.execute(Command::Status).await? {
        Reply::Status(status) => status,
        other => return Err(output::unexpected(&other)),
    };
    // Whoever executes cannot know whether it is a daemon; whoever asked does.
    status.running = console.node.is_running();
    // This command's is nobody's to signal.
    status.pid = status.pid.filter(|_| status.running);
    let good = status.running && status.health.is_ready();
    console.show(&Reply::Status(status))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
