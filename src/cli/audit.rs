//! `keepgate audit`: what was decided, and the proof that nobody has changed it since.

use std::process::ExitCode;
use std::time::Duration;

use super::exit::{FAILED, Usage};
use super::output::Reader;
use super::progress::Progress;
use super::{Console, output};
use crate::app::control::command::{Command, PAGE};
use crate::app::control::reply::Reply;
use crate::app::control::view::Events;

/// Between two looks for new events. A look is one command on the socket; holding a connection open
/// instead would hold one of its few places.
const PAUSE: Duration = Duration::from_millis(500);

/// `audit …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// Show the last events; with --json one object a line
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
        lines: u32,
        /// Then show new ones as they come, until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// Prove the whole chain; exit code 1 if anything was changed, dropped, reordered or truncated
    Verify,
}

impl Audit {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        match self {
            Self::Tail { lines, follow } => tail(console, lines, follow).await,
            Self::Verify => verify(console).await,
        }
    }
}

async fn tail(console: &mut Console, lines: u32, follow: bool) -> anyhow::Result<ExitCode> {
    let mut command = Command::AuditTail { after: None, limit: lines };
    loop {
        let found = match console.node.execute(command).await? {
            Reply::Events(found) => found,
            other => return Err(output::unexpected(&other)),
        };
        if follow && !console.node.is_running() {
            let message = "there is nothing to follow: no daemon runs".to_owned();
            return Err(Usage { message, remedy: "leave out --follow, or start the daemon" }.into());
        }
        let text = if console.json { json_lines(&found)? } else { output::event_lines(&found) };
        if output::print(&text)? == Reader::Gone || !follow {
            return Ok(ExitCode::SUCCESS);
        }
        command = Command::AuditTail { after: Some(found.last), limit: PAGE };
        if found.events.len() + found.unreadable.len() < PAGE as usize {
            // An idle log writes nothing by which a closed pipe would be noticed.
            if output::wait(PAUSE) == Reader::Gone {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// One object a line; a record that cannot be read has its index and says so.
fn json_lines(found: &Events) -> serde_json::Result<String> {
    let unreadable =
        |index: &u64| (*index, Ok(serde_json::json!({ "index": index, "unreadable": true }).to_string()));
    let events = found.events.iter().map(|event| (event.index, serde_json::to_string(event)));
    let mut lines: Vec<_> = events.chain(found.unreadable.iter().map(unreadable)).collect();
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line.map(|line| line + "\n")).collect()
}

async fn verify(console: &mut Console) -> anyhow::Result<ExitCode> {
    let progress = Progress::waiting("proving the audit log");
    let reply = console.node.execute(Command::AuditVerify).await?;
    drop(progress);
    let Reply::Verified(found) = &reply else { return Err(output::unexpected(&reply)) };
    let intact = found.intact;
    console.show(&reply)?;
    Ok(if intact { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
