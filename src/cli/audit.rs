//! `keepgate audit`: what was decided, and the proof that nobody has changed it since.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::value::{Error as NotAWord, StrDeserializer};
use serde_json::json;

use super::exit::{FAILED, Usage, bad_file};
use super::export::{self, Export, Format};
use super::new_file::Signals;
use super::output::Reader;
use super::progress::Progress;
use super::{Console, output};
use crate::app::control::command::{Command, PAGE, Wanted};
use crate::app::control::reply::Reply;
use crate::app::control::view::Events;
use crate::model::event::{Intent, Outcome};
use crate::model::time::{Clock as _, SystemClock, Timestamp};

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
    /// Show the newest events that meet all conditions, oldest first; with --json one object a line
    Search {
        #[command(flatten)]
        wanted: Conditions,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Write all events that meet all conditions, oldest first
    Export {
        #[command(flatten)]
        wanted: Conditions,
        /// JSON, one object a line, or ArcSight's Common Event Format
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// A new file to write to (mode 600), in place of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Prove the whole chain; exit code 1 if anything was changed, dropped, reordered or truncated
    Verify {
        /// Compare with this copy of the witness file, in place of the node's own; keepgate's user
        /// must be able to read it
        #[arg(long, value_name = "FILE")]
        witness: Option<PathBuf>,
    },
    /// Begin the node's witness file anew with the log's signed heads, after it was lost or damaged and
    /// nobody is suspected; the old file stays beside it, and the audit log says who did it
    RenewWitness,
}

/// Which events.
#[derive(Debug, clap::Args)]
pub(super) struct Conditions {
    /// What an account (e-mail address or id) did and what was done to it; or, if it is neither, the
    /// exact target
    #[arg(long, value_name = "USER|TARGET")]
    subject: Option<String>,
    /// From this address or network. Reads every event that the other conditions leave
    #[arg(long, value_name = "ADDRESS|NETWORK", value_parser = network)]
    address: Option<IpNet>,
    /// What was intended: login, refresh, account_delete …
    #[arg(long, value_name = "INTENT", value_parser = word::<Intent>)]
    kind: Option<Intent>,
    /// How it ended: granted, denied or failed
    #[arg(long, value_parser = word::<Outcome>)]
    outcome: Option<Outcome>,
    /// From this time on: RFC 3339 (2026-11-22T10:00:00Z), or so long ago (2h, 30d)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Up to this time, written the same way
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl From<Conditions> for Wanted {
    fn from(conditions: Conditions) -> Self {
        let Conditions { subject, address, kind, outcome, since, until } = conditions;
        Self { subject, address, intent: kind, outcome, since, until }
    }
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or("write an address, or a network such as 192.0.2.0/24")
}

/// One of an enum's words, as the log spells them.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    T::deserialize(StrDeserializer::<NotAWord>::new(text)).map_err(|error| {
        // serde's "unknown variant `x`, expected one of `y`, `z`": the second half is what helps.
        let text = error.to_string();
        text.split_once("expected ").map_or_else(|| text.clone(), |(_, words)| format!("write {words}"))
    })
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    let ago = || humantime::parse_duration(text).ok().map(|ago| SystemClock.now().minus(ago));
    Timestamp::from_rfc3339(text)
        .or_else(ago)
        .ok_or("write RFC 3339 such as 2026-11-22T10:00:00Z, or how long ago, such as 2h")
}

impl Audit {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        match self {
            Self::Tail { lines, follow } => tail(console, lines, follow).await,
            Self::Search { wanted, limit } => search(console, wanted.into(), limit as usize).await,
            Self::Export { wanted, format, out } => export(console, wanted.into(), format, out).await,
            Self::Verify { witness } => verify(console, witness).await,
            Self::RenewWitness => {
                let reply = console.node.execute(Command::AuditRenewWitness).await?;
                console.show(&reply)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn events(console: &mut Console, command: Command) -> anyhow::Result<Events> {
    match console.node.execute(command).await? {
        Reply::Events(found) => Ok(found),
        other => Err(output::unexpected(&other)),
    }
}

async fn tail(console: &mut Console, lines: u32, follow: bool) -> anyhow::Result<ExitCode> {
    let mut command = Command::AuditTail { after: None, limit: lines };
    loop {
        let found = events(console, command).await?;
        if follow && !console.node.is_running() {
            let message = "there is nothing to follow: no daemon runs".to_owned();
            return Err(Usage { message, remedy: "leave out --follow, or start the daemon" }.into());
        }
        let text = if console.json { export::json_lines(&found)? } else { output::event_lines(&found) };
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

/// The newest events first, until there are as many as asked for; shown in the order of the chain.
async fn search(console: &mut Console, wanted: Wanted, limit: usize) -> anyhow::Result<ExitCode> {
    let mut all = Events::default();
    let mut beyond = None;
    let progress = Progress::counting("events found");
    loop {
        let left = limit - all.events.len() - all.unreadable.len();
        let page = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let wanted = wanted.clone();
        let found =
            events(console, Command::AuditSearch { wanted, beyond, newest_first: true, limit: page }).await?;
        progress.advance(found.events.len());
        beyond = Some(found.last);
        all.events.extend(found.events);
        all.unreadable.extend(found.unreadable);
        if !found.more || all.events.len() + all.unreadable.len() >= limit {
            break;
        }
    }
    drop(progress);
    let text = if console.json { export::json_lines(&all)? } else { output::event_lines(&all) };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn export(
    console: &mut Console,
    wanted: Wanted,
    format: Format,
    out: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let Some(path) = &out else {
        let mut export = Export::to(None, format)?;
        return pages(console, wanted, &mut export).await.map(|()| ExitCode::SUCCESS);
    };
    let mut signals = Signals::caught()?;
    let mut export = Export::to(Some((path, &signals)), format)?;
    signals.unless(path, pages(console, wanted, &mut export)).await?;
    if let Some((count, path)) = export.finish()? {
        let text = if console.json {
            output::pretty(&json!({ "exported": count, "file": path }))?
        } else {
            format!("{} exported to {}\n", output::count(count, "event"), path.display())
        };
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn pages(console: &mut Console, wanted: Wanted, export: &mut Export) -> anyhow::Result<()> {
    let progress = Progress::counting("events exported");
    let mut beyond = None;
    loop {
        let wanted = wanted.clone();
        let command = Command::AuditSearch { wanted, beyond, newest_first: false, limit: PAGE };
        let found = events(console, command).await?;
        beyond = Some(found.last);
        if export.write(&found)? == Reader::Gone || !found.more {
            return Ok(());
        }
        progress.advance(found.events.len());
    }
}

async fn verify(console: &mut Console, witness: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // The daemon stands in another folder.
    let witness = witness.map(std::path::absolute).transpose()?;
    if let Some(witness) = &witness {
        std::fs::metadata(witness).map_err(bad_file("cannot read the witness", witness))?;
    }
    let progress = Progress::waiting("proving the audit log");
    let reply = console.node.execute(Command::AuditVerify { witness }).await?;
    drop(progress);
    let Reply::Verified(found) = &reply else { return Err(output::unexpected(&reply)) };
    let intact = found.intact;
    console.show(&reply)?;
    Ok(if intact { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
