//! `keepgate upstream`: the application servers.

use std::process::ExitCode;

use super::Console;
use crate::app::control::command::Command;

/// `upstream …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Upstream {
    /// List the application servers: whether each is in service, since when, and why not
    List,
    /// Give a server no more requests; those under way end. Lasts over reloads, until a restart
    Drain(Which),
    /// Let a drained server have requests again
    Undrain(Which),
}

/// A server.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Its group, as in [upstreams.NAME]
    name: String,
    /// Its address, as the configuration writes it
    address: String,
}

impl Upstream {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let drain = |Which { name: upstream, address: server }, drained| Command::UpstreamDrain {
            upstream,
            server,
            drained,
        };
        let command = match self {
            Self::List => Command::UpstreamList,
            Self::Drain(which) => drain(which, true),
            Self::Undrain(which) => drain(which, false),
        };
        console.run(command).await
    }
}
