//! Control: what an operator can tell a node to do, and how the words reach it.
//!
//! A [`command::Command`] is executed by an [`Executor`] and answered with a [`reply::Reply`] or a
//! [`reply::Failure`]. The daemon executes what comes over a socket in its data folder; the command
//! line, finding nobody there, opens the stores itself and executes the same way. This folder knows
//! the words and the wire and nothing of what a command does.

pub mod ca;
pub mod certificate;
pub mod client;
pub mod command;
pub mod data;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod proof;
pub mod reply;
pub mod server;
#[cfg(test)]
mod tests;
pub mod transfer;
pub mod upstream;
pub mod view;
mod wire;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use command::Command;
use reply::{Failure, Reply};

use crate::model::caller::Actor;

/// What a command comes to.
pub type Outcome = Result<Reply, Failure>;

/// Whoever can do what commands say.
pub trait Executor: Send + Sync + 'static {
    /// Does it, on behalf of `actor`, who may do everything: whoever can open the socket or the
    /// data folder could also change the files. Returns when the effect is durable.
    fn execute(&self, command: Command, actor: Actor) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

/// The socket of the node whose data folder this is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("run/control.sock")
}
