//! `keepgate certificate`: what TLS is terminated with.

use std::process::ExitCode;

use super::Console;
use super::progress::Progress;
use crate::app::control::command::Command;
use crate::model::certificate::RevocationReason;

/// `certificate …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Certificate {
    /// List the certificates that are served: where each is from, until when, and what orders came to
    List,
    /// Order a certificate of [tls.acme] anew, now, and wait for it
    Renew {
        /// One of its names
        name: String,
    },
    /// Have a certificate of [tls.acme] revoked by its CA. It is served no longer; another is ordered
    Revoke {
        /// One of its names
        name: String,
        /// What the CA is told: unspecified, key-compromise, affiliation-changed, superseded or
        /// cessation-of-operation
        #[arg(long, value_parser = reason, default_value = "unspecified")]
        reason: RevocationReason,
    },
}

impl Certificate {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let waiting = !matches!(self, Self::List);
        let command = match self {
            Self::List => Command::CertificateList,
            Self::Renew { name } => Command::CertificateRenew { name },
            Self::Revoke { name, reason } => Command::CertificateRevoke { name, reason },
        };
        let progress = waiting.then(|| Progress::waiting("waiting for the CA"));
        let reply = console.node.execute(command).await?;
        drop(progress);
        console.show(&reply)
    }
}

fn reason(text: &str) -> Result<RevocationReason, &'static str> {
    let found = RevocationReason::WORDS.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, reason)| *reason)
        .ok_or("write unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation")
}
