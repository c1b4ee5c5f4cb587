//! `keepgate user export` and `keepgate user import`: accounts as JSON, one object a line.
//!
//! An import reads everything first, bounded, and has it checked by the node; only when no line is at
//! fault does it begin. What it has begun and could not end can be run again with --skip-existing.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::exit::{CANNOT_READ, bad_file};
use super::line::{self, BadLine, BadLines};
use super::new_file::{NewFile, Signals};
use super::output::Reader;
use super::progress::Progress;
use super::{Console, output};
use crate::app::control::command::{Command, NewUser, PAGE};
use crate::app::control::reply::Reply;
use crate::app::control::transfer::Exported;

/// Accounts in one command: with the longest lines they fit into one request.
const BATCH: usize = 100;
/// Most lines that are read: what a machine holds in memory.
const MOST_LINES: usize = 1_000_000;

/// `user export …`
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// With the hashes of the passwords, so that people keep them elsewhere. Guard the file: hashes can
    /// be guessed at
    #[arg(long)]
    with_password_hashes: bool,
    /// Into a new file that only you can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let Some(path) = &self.out else {
            // A picture of progress between the lines would spoil both.
            let to_terminal = std::io::IsTerminal::is_terminal(&io::stdout());
            let progress = (!to_terminal).then(|| Progress::counting("exporting accounts"));
            self.pages(console, progress.as_ref(), |text| Ok(output::print(text)?)).await?;
            return Ok(ExitCode::SUCCESS);
        };
        let progress = Progress::counting("exporting accounts");
        let written = self.to_file(path, console, &progress).await;
        drop(progress);
        let count = written?;
        let text = if console.json {
            output::pretty(&json!({ "exported": count, "file": path }))?
        } else {
            format!("{} exported to {}\n", output::count(count, "account"), path.display())
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The file is there whole or not at all.
    async fn to_file(
        &self,
        path: &Path,
        console: &mut Console,
        progress: &Progress,
    ) -> anyhow::Result<usize> {
        let mut signals = Signals::caught()?;
        let mut file = NewFile::create(path, &signals)?;
        let pages = self.pages(console, Some(progress), |text| {
            file.write(text)?;
            Ok(Reader::There)
        });
        let count = signals.unless(path, pages).await?;
        file.finish()?;
        Ok(count)
    }

    /// Hands on every page as lines; gives how many accounts there were.
    async fn pages(
        &self,
        console: &mut Console,
        progress: Option<&Progress>,
        mut write: impl FnMut(&str) -> anyhow::Result<Reader>,
    ) -> anyhow::Result<usize> {
        let (mut after, mut count) = (None, 0);
        loop {
            let command = Command::UserExport { after, limit: PAGE, hashes: self.with_password_hashes };
            let page = match console.node.execute(command).await? {
                Reply::Exported(page) => page,
                other => return Err(output::unexpected(&other)),
            };
            let lines = page.iter().map(|user| serde_json::to_string(user).map(|line| line + "\n"));
            let text: String = lines.collect::<Result<_, _>>()?;
            count += page.len();
            if write(&text)? == Reader::Gone || page.len() < PAGE as usize {
                return Ok(count);
            }
            after = page.last().map(|user: &Exported| user.id.parse()).transpose()?;
            if let Some(progress) = progress {
                progress.advance(page.len());
            }
        }
    }
}

/// `user import …`
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// What `user export` wrote, or the like: one JSON object a line, of which only "email" must be
    /// there; - for standard input
    file: PathBuf,
    /// Leave out accounts that are there already, instead of refusing the file
    #[arg(long)]
    skip_existing: bool,
    /// Check the file only
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let (name, read) = self.read()?;
        let line::Lines { users, mut bad } = read;
        let total = users.len() as u64;
        let progress = Progress::steps("checking accounts", total);
        for batch in users.chunks(BATCH) {
            bad.extend(self.batch(console, batch, true).await?.bad);
            progress.advance(batch.len());
        }
        drop(progress);
        if !bad.is_empty() {
            bad.sort_by_key(|bad| bad.line);
            return Err(BadLines { file: name, bad, created: 0 }.into());
        }
        let mut sum = Done::default();
        let progress = Progress::steps("importing accounts", total);
        for batch in users.chunks(BATCH) {
            let done = self.batch(console, batch, self.dry_run).await;
            let done = done.with_context(|| {
                let created = output::count(sum.created, "account");
                format!("stopped after {created} (run it again with --skip-existing for the rest)")
            })?;
            if !done.bad.is_empty() {
                return Err(BadLines { file: name, bad: done.bad, created: sum.created }.into());
            }
            sum.created += done.created;
            sum.skipped += done.skipped;
            progress.advance(batch.len());
        }
        drop(progress);
        output::print(&self.said(&name, &sum, console.json)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn said(&self, name: &str, sum: &Done, json: bool) -> serde_json::Result<String> {
        let Done { created, skipped, .. } = sum;
        if json {
            let value = json!({ "created": created, "skipped": skipped, "dry_run": self.dry_run });
            return output::pretty(&value);
        }
        let would = if self.dry_run { " would be" } else { "" };
        let skipped = match skipped {
            0 => String::new(),
            n => format!(", {n}{would} left out because they are there already"),
        };
        Ok(format!("{name}: {}{would} created{skipped}\n", output::count(*created, "account")))
    }

    /// Everything in the file, and what to call it.
    fn read(&self) -> anyhow::Result<(String, line::Lines)> {
        let (name, from): (_, Box<dyn BufRead>) = if self.file.as_os_str() == "-" {
            ("standard input".to_owned(), Box::new(io::stdin().lock()))
        } else {
            let name = self.file.display().to_string();
            let file = File::open(&self.file).map_err(bad_file(CANNOT_READ, &self.file))?;
            (name, Box::new(BufReader::new(file)))
        };
        let lines = line::read(from, MOST_LINES).map_err(bad_file(CANNOT_READ, Path::new(&name)))?;
        Ok((name, lines))
    }

    async fn batch(
        &self,
        console: &mut Console,
        batch: &[(usize, NewUser)],
        check: bool,
    ) -> anyhow::Result<Done> {
        let users = batch.iter().map(|(_, user)| user.clone()).collect();
        let command = Command::UserImport { users, skip_existing: self.skip_existing, check };
        let found = match console.node.execute(command).await? {
            Reply::Imported(found) => found,
            other => return Err(output::unexpected(&other)),
        };
        let bad = found.faults.into_iter().map(|fault| {
            let at = usize::try_from(fault.index).ok().and_then(|index| batch.get(index));
            BadLine { line: at.map_or(0, |(line, _)| *line), field: fault.field, detail: fault.detail }
        });
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Done { created: count(found.created), skipped: count(found.skipped), bad: bad.collect() })
    }
}

/// What came of some batches.
#[derive(Default)]
struct Done {
    created: usize,
    skipped: usize,
    bad: Vec<BadLine>,
}
