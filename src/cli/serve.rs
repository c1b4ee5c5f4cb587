//! `keepgate serve`: checks everything that can be checked before, starts logging, runs the house
//! until a signal.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::exit::FAILED;
use super::place::{Place, refuse_configured};
use super::{Address, address, address_or_off, open, output};
use crate::app::handover::inherited::{Inherited, Predecessor};
use crate::app::handover::program::Program;
use crate::app::ready::{FirstAdministrator, Ready};
use crate::app::reload::{Read, Source};
use crate::app::{Orders, make_data_folder};
use crate::config::development::{Door, Listeners};
use crate::config::probe::needed;
use crate::config::survey::{survey, with_files};
use crate::config::{Config, read};
use crate::observe::logging;

/// `serve`
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Run everything from an empty folder, for development: local CA, open registration, an echo
    /// upstream [default --data: ./keepgate-dev]
    #[arg(long)]
    dev: bool,
    /// Listen here for HTTPS, in place of `listen.https`; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", value_parser = address)]
    https: Option<SocketAddr>,
    /// Listen here for plain HTTP, in place of `listen.http`; or off
    #[arg(long, value_name = "ADDR", value_parser = address_or_off)]
    http: Option<Address>,
    /// Answer metrics and health here, in place of `listen.internal`; or off
    #[arg(long, value_name = "ADDR", value_parser = address_or_off)]
    internal: Option<Address>,
}

impl Serve {
    pub(super) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        // Early: where the binary is replaced later, nobody knows where it was.
        let program = Program::own();
        if Predecessor::starts_another(&program)? {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(before) = Predecessor::find()? else { return self.serve(place, program, None) };
        let told = before.share()?;
        let ended = self.serve(place, program, Some(before));
        if let Err(error) = &ended {
            // It serves on, and tells whoever asked for a restart.
            told.refuse(&format!("{error:#}"));
        }
        ended
    }

    fn serve(self, place: &Place, program: Program, before: Option<Predecessor>) -> anyhow::Result<ExitCode> {
        let (file, read) = self.source(place)?;
        let config = read()?;
        make_data_folder(&config)?;
        // Made before the runtime's threads, flushed after they are gone.
        let log = logging::init(&config.log, &config.data_dir)?;
        // The process before this one writes there too, until it has ended.
        log.handle().set_shared(before.is_some());
        let found = match before {
            Some(before) => before.take_over().context("the process before this one did not hand over")?,
            None => Inherited::from_service_manager(&config)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let source = Source { file, read, log: log.handle() };
            let reload = on(SignalKind::hangup(), "SIGHUP")?;
            let restart = on(SignalKind::user_defined2(), "SIGUSR2")?;
            let orders = Orders { source, reload, restart, program, shutdown: shutdown()? };
            open::serve(config, found, orders, |ready| {
                // Whoever closed standard output does not want to know.
                let _ = output::print(&banner(ready));
            })
            .await
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The file, if there is one, and how to read and check the configuration, now and again: from the same
    /// file, with the same arguments, and with the process's own environment, which nobody else can change.
    fn source(&self, place: &Place) -> anyhow::Result<(Option<String>, Read)> {
        let door = |given: Option<Address>| match given {
            None => Door::AsConfigured,
            Some(Address(None)) => Door::Off,
            Some(Address(Some(address))) => Door::At(address),
        };
        let listeners = Listeners { https: self.https, http: door(self.http), internal: door(self.internal) };
        if self.dev {
            let (data, name) = (place.development(&listeners)?.data_dir, place.name());
            // It opens registration to everybody and trusts a CA of its own.
            refuse_configured(&data)?;
            let read = move || {
                let config = Config::development(&data, &listeners, read::environment()?)?;
                with_files(config, &name, Vec::new(), needed)
            };
            return Ok((None, Arc::new(read)));
        }
        let (path, data) = place.file_and_data()?;
        // Whoever asks for the name later may stand in another folder.
        let name = std::path::absolute(&path)?.display().to_string();
        let read = move || {
            let arguments = |config: &mut Config| {
                if let Some(data) = &data {
                    config.data_dir.clone_from(data);
                }
                listeners.apply(config);
            };
            survey(&path, arguments, needed)
        };
        Ok((Some(name), Arc::new(read)))
    }
}

/// Signals of a kind; those that come while one is being answered are one.
fn on(kind: SignalKind, name: &'static str) -> anyhow::Result<mpsc::Receiver<()>> {
    let mut signals = signal(kind).with_context(|| format!("{name} cannot be caught"))?;
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            // A full channel holds one that was not looked at yet.
            if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                return;
            }
        }
    });
    Ok(told)
}

/// What a person who started it wants to see: where it is, and how to come in.
fn banner(ready: &Ready) -> String {
    let mut text = String::from("Keepgate is ready\n");
    for line in ready.listeners.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("  data in {}\n", ready.data_dir.display()));
    if let Some(ca) = &ready.ca {
        text.push_str(&format!("  certificates by the local CA: {}\n", ca.display()));
    }
    if let Some(FirstAdministrator { email, password }) = &ready.administrator {
        let password = password.expose_secret();
        text.push_str(&format!("  first administrator {email}, password (shown this once): {password}\n"));
    }
    text
}

/// Resolves at the first SIGTERM or SIGINT. The second ends the process at once: the journal holds
/// everything that was acknowledged, so there is nothing to lose but open requests.
fn shutdown() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    Ok(async move {
        let name = either(&mut term, &mut int).await;
        tracing::info!(
            signal = name,
            "stopping: open requests are finished first; a second signal stops at once"
        );
        tokio::spawn(async move {
            let name = either(&mut term, &mut int).await;
            tracing::warn!(signal = name, "stopped at once by a second signal");
            std::process::exit(i32::from(FAILED));
        });
    })
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}
