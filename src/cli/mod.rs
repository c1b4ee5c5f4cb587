//! The command line: arguments, one file per subcommand, exit codes. It holds no rule of what a
//! command does; it words the command, has it executed by the daemon or in this process, and shows
//! what came of it.

mod ask;
mod audit;
mod blacklist;
mod ca;
mod certificate;
mod check;
mod config;
mod exit;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generate;
mod init;
mod key;
mod line;
mod new_file;
mod open;
mod output;
mod password;
mod place;
mod progress;
mod reload;
mod restart;
mod serve;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod transfer;
mod upstream;
mod user;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::control::command::{Command, PAGE};
use crate::app::control::reply::Reply;
use crate::model::time::LONGEST_LIFE;
use open::Node;
use place::Place;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed: it broke, or is not possible now; trying again may help
  2  the command line is wrong
  3  the configuration is wrong
  4  refused: a rule forbids it, a value breaks one, it is there already, or there is no such thing

Commands reach the running daemon through DATA_DIR/run/control.sock, as root or as keepgate's own
user. When no daemon runs, they open the stores themselves.";

/// TLS edge, identity and durable stores for the applications behind it, in one binary.
#[derive(Debug, Parser)]
#[command(name = "keepgate", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set up a first node: configuration, folders, administrator
    Init(Box<init::Init>),
    /// Run the gate
    Serve(serve::Serve),
    /// Name everything that is wrong with the configuration
    Check,
    /// The configuration: every key, its value and where that was set
    #[command(subcommand)]
    Config(config::Config),
    /// Accounts and invitations
    #[command(subcommand)]
    User(user::User),
    /// Sessions
    #[command(subcommand)]
    Session(session::Session),
    /// Banned addresses
    #[command(subcommand, visible_alias = "ban")]
    Blacklist(blacklist::Blacklist),
    /// Signing keys
    #[command(subcommand)]
    Key(key::Key),
    /// Certificates
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// The CA of one's own, for application servers, gates and other nodes
    #[command(subcommand)]
    Ca(ca::Ca),
    /// Application servers
    #[command(subcommand)]
    Upstream(upstream::Upstream),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Have the daemon read its configuration anew, without dropping a connection
    Reload,
    /// Have another process take over from the daemon: no connection is refused, open ones are finished
    Restart(restart::Restart),
    /// How the node stands; exit code 1 unless it runs and is ready
    Status,
    /// Print completions for a shell
    Completions(generate::Completions),
    /// Print the manual page of keepgate, or write those of all commands
    Man(generate::Manual),
}

/// Runs the command line, arguments beginning with the program's name, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version are no errors, but come this way; clap knows stream and code.
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(exit::FAILED);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let json = cli.json;
    let ended = match cli.what {
        What::Init(init) => init.run(&cli.place, json),
        What::Serve(serve) => serve.run(&cli.place),
        What::Check => check::run(&cli.place, json),
        What::Config(config) => config.run(&cli.place, json),
        What::Completions(completions) => completions.run(&mut Cli::command()),
        What::Man(manual) => manual.run(Cli::command()),
        What::Reload => reload::run(&cli.place, json),
        What::Restart(restart) => restart.run(&cli.place, json),
        other => command(&cli.place, json, other),
    };
    match ended {
        Ok(code) => code,
        Err(error) => exit::report(&error, json),
    }
}

/// Commands to a node need one thread: the daemon does the work, or the stores' own threads.
fn command(place: &Place, json: bool, what: What) -> anyhow::Result<ExitCode> {
    let node = Node::at(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut console = Console { node, json };
        let ended = match what {
            What::User(user) => user.run(&mut console).await,
            What::Session(session) => session.run(&mut console).await,
            What::Blacklist(blacklist) => blacklist.run(&mut console).await,
            What::Key(key) => key.run(&mut console).await,
            What::Certificate(certificate) => certificate.run(&mut console).await,
            What::Ca(ca) => ca.run(&mut console).await,
            What::Upstream(upstream) => upstream.run(&mut console).await,
            What::Audit(audit) => audit.run(&mut console).await,
            // The rest has been run without a node.
            What::Status
            | What::Init(_)
            | What::Serve(_)
            | What::Check
            | What::Config(_)
            | What::Reload
            | What::Restart(_)
            | What::Completions(_)
            | What::Man(_) => status::run(&mut console).await,
        };
        let closed = console.node.close().await;
        // What the command came to matters more than how the stores were closed.
        let code = ended?;
        closed.map(|()| code)
    })
}

/// Where commands are given and replies shown.
struct Console {
    node: Node,
    json: bool,
}

impl Console {
    /// Has a command executed and shows its reply.
    async fn run(&mut self, command: Command) -> anyhow::Result<ExitCode> {
        let reply = self.node.execute(command).await?;
        self.show(&reply)
    }

    /// All pages of a list: `ask` words the command for what comes after an entry, `of` takes the entries
    /// from the reply.
    async fn pages<T>(
        &mut self,
        ask: impl Fn(Option<&T>) -> anyhow::Result<Command>,
        of: impl Fn(Reply) -> anyhow::Result<Vec<T>>,
    ) -> anyhow::Result<Vec<T>> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let reply = self.node.execute(ask(all.last())?).await?;
            let page = of(reply)?;
            let more = page.len() >= PAGE as usize;
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }

    fn show(&self, reply: &Reply) -> anyhow::Result<ExitCode> {
        output::print(&output::render(reply, self.json)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How long something is good, as arguments say it.
fn life(text: &str) -> Result<Duration, &'static str> {
    let bounds = Duration::from_secs(1)..=LONGEST_LIFE;
    let life = humantime::parse_duration(text).ok().filter(|life| bounds.contains(life));
    life.ok_or("write a time from 1s to 3650d, such as 30m, 24h or 7d")
}

/// An address as arguments name it.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443")
}

/// An address, or none on purpose.
#[derive(Clone, Copy, Debug)]
struct Address(Option<SocketAddr>);

fn address_or_off(text: &str) -> Result<Address, &'static str> {
    match text {
        "off" => Ok(Address(None)),
        text => text
            .parse()
            .map(|address| Address(Some(address)))
            .map_err(|_| "write an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443, or off"),
    }
}
