//! Why the house could not be opened, served or closed.

use std::path::PathBuf;

use crate::audit::signer::SignError;
use crate::auth::keys::error::KeyError;
use crate::auth::keys::master::MasterKeyError;
use crate::auth::password::PasswordsError;
use crate::config::problem::Problem;
use crate::edge::EdgeError;
use crate::edge::certificates::TlsError;
use crate::edge::listen;
use crate::store::error::{CommitError, StoreError};

use super::control::server::BindError;

/// The house could not be opened, served or closed. The message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A folder or file of the data folder.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that tells outside witnesses.
    #[error("no thread can be had for the audit log's outside witnesses: {0}")]
    Outside(#[source] std::io::Error),
    /// The internal listener.
    #[error(
        "cannot listen on {address} for metrics and health: {source}; {}, or set listen.internal to another \
         (--internal)",
        listen::remedy(source)
    )]
    Internal {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another hold on what is open.
    #[error("no descriptors are left for what is handed over: {0}; raise the limit of open files")]
    Descriptors(std::io::Error),
    /// The stores.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A first write.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The hashing threads.
    #[error(transparent)]
    Passwords(#[from] PasswordsError),
    /// The signer of audit heads.
    #[error(transparent)]
    Audit(#[from] SignError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The edge.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] BindError),
    /// The first administrator.
    #[error("the first administrator could not be made: {0}")]
    FirstAdministrator(crate::auth::error::AuthError),
    /// The file of `[blacklist]`, which could be read a moment ago.
    #[error("blacklist.file cannot be used any more: run `keepgate check`")]
    Blacklist(Vec<Problem>),
    /// A part that should not fail did.
    #[error("{0}")]
    Broken(&'static str),
}

impl AppError {
    /// Whether another process has the stores.
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreError::InUse { .. }))
    }
}
