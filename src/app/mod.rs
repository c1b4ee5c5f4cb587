//! The wiring of the house.

pub mod control;

use std::future::Future;
use std::pin::Pin;

use control::command::Command;
use control::reply::{Code, Failure};
use control::{Executor, Outcome};

use crate::config::Config;
use crate::model::caller::Actor;

/// The house, opened.
pub struct App {
    config: Config,
}

/// The house could not be opened or closed.
#[derive(Debug, thiserror::Error)]
#[error("the house is not wired yet")]
pub struct AppError;

impl App {
    /// Opens the stores.
    pub async fn open(config: Config) -> Result<Self, AppError> {
        std::future::ready(Ok(Self { config })).await
    }

    /// Serves.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AppError> {
        shutdown.await;
        self.close().await
    }

    /// Closes the stores.
    pub async fn close(self) -> Result<(), AppError> {
        std::future::ready(Ok(())).await
    }
}

impl Executor for App {
    fn execute(&self, command: Command, _: Actor) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        let message = format!("{command:?} in {}", self.config.data_dir.display());
        Box::pin(std::future::ready(Err(Failure::new(Code::Unavailable, message))))
    }
}
