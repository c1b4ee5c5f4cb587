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

use tokio::sync::mpsc;

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

    /// As [`Self::open`], with what was found open.
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
        let core = Core::open_with(config, Views::new(Arc::new(SystemClock)), beneath).await?;
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
