//! The wiring of the house: the only room that knows every other.
//!
//! [`App::open`] makes the house without its doors ([`core`]); [`App::serve`] opens the doors
//! (the edge, the control socket, the internal listener) and keeps the clockwork running until it is
//! told to stop. A command line that finds no daemon opens, executes and closes.

pub mod ca;
mod certificates;
pub mod control;
mod core;
mod descriptors;
mod disk;
mod doors;
mod echo;
pub mod error;
mod execute;
mod first_administrator;
mod front;
pub mod handover;
mod house;
pub mod mark;
mod measures;
mod memory;
#[cfg(test)]
mod month;
pub mod outbox;
mod people;
pub mod ready;
pub mod reload;
mod replace;
mod serve;
pub mod setup;
mod told;
mod upkeep;
mod views;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;

use self::control::command::Command;
use self::control::{Executor as _, Outcome};
use self::core::{Beneath, Core};
use self::error::AppError;
use self::handover::feed;
use self::handover::inherited::Inherited;
use self::handover::program::Program;
use self::ready::Ready;
use self::reload::Source;
use self::views::Views;
use crate::config::Config;
use crate::model::caller::Actor;
use crate::model::time::SystemClock;

/// For whoever has the stores to let them go: a command, which has them for moments, or a daemon that is stopping.
const BETWEEN: Duration = Duration::from_secs(5);
/// Between two tries. Shorter than what commands wait for: a daemon that starts comes before them.
const AGAIN: Duration = Duration::from_millis(20);

/// What tells a serving house from outside what to do.
#[derive(Debug)]
pub struct Orders<S> {
    /// Where another configuration comes from.
    pub source: Source,
    /// Each message asks for a reload.
    pub reload: mpsc::Receiver<()>,
    /// Each message asks for a restart by a process that takes over.
    pub restart: mpsc::Receiver<()>,
    /// What that process is started with.
    pub program: Program,
    /// Ends it.
    pub shutdown: S,
}

/// The house, opened.
pub struct App(Core, Inherited);

/// Makes the data folder, or an empty one private, before anything comes into it.
///
/// # Errors
/// [`AppError`] with what and where.
pub fn make_data_folder(config: &Config) -> Result<(), AppError> {
    core::make_private(&config.data_dir)
}

impl App {
    /// Opens everything durable and starts the services on it.
    ///
    /// # Errors
    /// [`AppError`] with what, where and what to do; nothing is half-opened then.
    pub async fn open(config: Config) -> Result<Self, AppError> {
        let core = Core::open(config).await?;
        // A command goes by it like a daemon, whose clockwork looks.
        upkeep::steps::room(&core).await;
        Ok(Self(core, Inherited::default()))
    }

    /// As [`Self::open`], with what was found open. Stores that another process has are waited for, for some seconds.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with(config: Config, mut found: Inherited) -> Result<Self, AppError> {
        let mut beneath = Beneath::default();
        if let Some(before) = &mut found.before {
            beneath.lock = before.lock.take();
            beneath.follower =
                before.feed.take().map(|stream| feed::follower(stream, Arc::clone(&before.process)));
        }
        let mut told = false;
        let began = Instant::now();
        let core = loop {
            // A lock that was handed over is nobody else's.
            let beneath = std::mem::take(&mut beneath);
            match Core::open_with(config.clone(), Views::new(Arc::new(SystemClock)), beneath).await {
                Err(error) if error.is_in_use() && began.elapsed() < BETWEEN => {
                    if !told {
                        tracing::warn!(seconds = BETWEEN.as_secs(), "waiting for the stores: {error}");
                        told = true;
                    }
                    sleep(AGAIN).await;
                }
                opened => break opened?,
            }
        };
        Ok(Self(core, found))
    }

    /// Serves until the orders' `shutdown` resolves and everything is drained and closed. `on_ready` is
    /// called once every door is open.
    pub async fn serve(
        self,
        orders: Orders<impl Future<Output = ()> + Send>,
        on_ready: impl FnOnce(&Ready) + Send,
    ) -> Result<(), AppError> {
        serve::serve(self.0, self.1, orders, on_ready).await
    }

    /// Executes a command in this process.
    pub async fn execute(&self, command: Command, actor: Actor) -> Outcome {
        self.0.execute(command, actor).await
    }

    /// Signs the audit chain's head, checkpoints the stores and lets the folder go.
    pub async fn close(self) -> Result<(), AppError> {
        self.0.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::development::Listeners;

    #[tokio::test]
    async fn a_start_waits_for_a_command_that_has_the_stores_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let config = || Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
        let command = App::open(config()).await.unwrap();
        // Looked at in this order: the start finds the stores taken before the command lets them go.
        let start = App::open_with(config(), Inherited::default());
        let (started, closed) = tokio::join!(biased; start, command.close());
        closed.unwrap();
        started.unwrap().close().await.unwrap();

        let daemon = App::open(config()).await.unwrap();
        let refused = App::open_with(config(), Inherited::default()).await.err().unwrap();
        assert!(refused.is_in_use(), "{refused}");
        daemon.close().await.unwrap();
    }
}
