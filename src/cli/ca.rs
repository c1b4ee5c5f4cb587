//! `keepgate ca`: the CA of one's own, for application servers, gates and other nodes.
//!
//! The key is made here and stays here. Nothing is asked for before there is room for it: the files are opened, and
//! written, by a thread that was begun before the node was reached: a command that opens the stores itself becomes their
//! owner, who may have no business in the folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::Context as _;
use serde_json::json;

use super::{Console, output};
use crate::app::ca::{FILES, Waiting};
use crate::app::control::ca::{Issued, MOST_DAYS, Order};
use crate::app::control::command::Command;
use crate::app::control::reply::{Code, Failure, Reply};
use crate::app::outbox::{Outbox, OutboxError};
use crate::model::certificate::{Purpose, SubjectName};

/// `ca …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Ca {
    /// Issue a certificate by the local CA, which is made if there is none yet
    Issue(Issue),
    /// Show the local CA: its name, fingerprint, life and file
    Show {
        /// Print its certificate, for whoever is to trust it
        #[arg(long, conflicts_with = "json")]
        pem: bool,
    },
}

/// `ca issue`
#[derive(Debug, clap::Args)]
pub(super) struct Issue {
    /// What it names: a DNS name, a wildcard such as *.app.internal, or an IP address. More than one may be given
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<SubjectName>,
    /// For a client, such as the gate before servers that ask who it is; else for a server
    #[arg(long)]
    client: bool,
    /// How many days it is good, if the CA is for as long
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = days)]
    days: u32,
    /// Folder for key.pem, certificate.pem and ca.pem; made if need be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write over those that are there
    #[arg(long)]
    force: bool,
}

impl Ca {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        match self {
            Self::Issue(issue) => issue.run(console).await,
            Self::Show { pem: false } => console.run(Command::CaShow).await,
            Self::Show { pem: true } => match console.node.execute(Command::CaShow).await? {
                Reply::Authority(authority) => {
                    output::print(&authority.pem)?;
                    Ok(ExitCode::SUCCESS)
                }
                other => Err(output::unexpected(&other)),
            },
        }
    }
}

impl Issue {
    async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let folder = std::path::absolute(&self.out)?;
        let key = Waiting::new()?;
        let purpose = if self.client { Purpose::Client } else { Purpose::Server };
        let request = key.request().to_owned();
        let order = Order { names: self.names, purpose, days: self.days, request };
        order.check()?;
        let (give, take) = mpsc::channel::<Box<Issued>>();
        let (tell, told) = mpsc::channel();
        let (target, over) = (folder.clone(), self.force);
        let writer = std::thread::spawn(move || {
            let outbox = match Outbox::prepare(&target, &FILES, over) {
                Ok(outbox) => outbox,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return None;
                }
            };
            let _ = tell.send(Ok(()));
            // What was prepared is undone if nothing comes.
            take.recv().ok().map(|issued| key.put(outbox, &issued).map(|()| issued))
        });
        // Before anything is issued and on record.
        told.recv().context("the files were not prepared")?.map_err(unprepared)?;
        let issued = match console.node.execute(Command::CaIssue(Box::new(order))).await {
            Ok(Reply::Issued(issued)) => Ok(issued),
            Ok(other) => Err(output::unexpected(&other)),
            Err(error) => Err(error),
        };
        match issued {
            // If it has ended, joining it says why.
            Ok(issued) => drop(give.send(issued)),
            Err(error) => {
                drop(give);
                // Once it has undone what it had prepared.
                let _ = writer.join();
                return Err(error);
            }
        }
        let written = writer.join().ok().flatten().context("the files were not written")?;
        output::print(&report(&folder, &*written?, console.json)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn unprepared(error: OutboxError) -> anyhow::Error {
    let remedy = match error {
        OutboxError::There(_) => "name another folder, or say --force to write over it",
        OutboxError::Shared(_) => "wait until that has ended",
        OutboxError::Io(error) => return error.into(),
    };
    Failure::new(Code::Conflict, error.to_string()).remedy(remedy).into()
}

fn report(folder: &Path, issued: &Issued, json: bool) -> anyhow::Result<String> {
    let [ca, certificate, key] = FILES.map(|file| folder.join(file.name));
    let Issued { until, authority, .. } = issued;
    if json {
        let told = json!({
            "key": key, "certificate": certificate, "ca": ca, "until": until,
            "issuer": authority.name, "ca_fingerprint": authority.fingerprint,
        });
        return Ok(output::pretty(&told)?);
    }
    let rows = [
        ("key", key.display().to_string()),
        ("certificate", certificate.display().to_string()),
        ("ca", ca.display().to_string()),
        ("until", until.clone()),
        ("issuer", authority.name.clone()),
    ];
    Ok(output::fields(&rows))
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days));
    days.ok_or_else(|| format!("write a number of days from 1 to {MOST_DAYS}"))
}
