//! `keepgate session`: who is logged in.

use std::process::ExitCode;

use super::Console;
use crate::app::control::command::Command;
use crate::model::id::SessionId;

/// `session …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Session {
    /// List an account's sessions
    List {
        /// E-mail address or id
        user: String,
    },
    /// End a session; its tokens are refused at once
    Revoke {
        /// Its id
        session: SessionId,
    },
}

impl Session {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let command = match self {
            Self::List { user } => Command::SessionList { user },
            Self::Revoke { session } => Command::SessionRevoke { session },
        };
        console.run(command).await
    }
}
