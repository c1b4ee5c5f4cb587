//! `keepgate key`: what tokens are signed with.

use std::process::ExitCode;

use super::Console;
use crate::app::control::command::Command;
use crate::model::key::KeyId;

/// `key …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Key {
    /// List all signing keys
    List,
    /// Let the next key sign. The one before verifies until its last token has expired
    Rotate {
        /// Even if the next key was published so recently that verifiers may not know it yet
        #[arg(long)]
        force: bool,
    },
    /// Take a key out of use
    Retire {
        /// Its id, as `key list` shows it; after `--` if it begins with a dash
        key: String,
        /// Someone else may have it: everything it signed is revoked at once
        #[arg(long)]
        compromised: bool,
    },
}

impl Key {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let command = match self {
            Self::List => Command::KeyList,
            Self::Rotate { force } => Command::KeyRotate { force },
            Self::Retire { key, compromised } => Command::KeyRetire { key: KeyId(key), compromised },
        };
        console.run(command).await
    }
}
