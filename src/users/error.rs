//! What the service answers when it does not do what was asked. Exhaustive, so that each surface
//! (HTTP, control socket) decides on every case. Nothing in here is secret but the source of
//! [`UsersError::Store`].

use super::condition::Unmet;
use crate::model::problem::FieldProblem;
use crate::model::unavailable::Unavailable;
use crate::store::error::{CommitError, StoreError};

/// A command was not done, and nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UsersError {
    /// The input breaks rules; every fault is listed.
    #[error("the input is not valid")]
    Invalid(Vec<FieldProblem>),
    /// There is no such document.
    #[error("there is no such document")]
    NoDocument,
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// The caller's own account is gone or locked since the token was verified.
    #[error("the session has ended")]
    SessionEnded,
    /// Only administrators may.
    #[error("only an administrator may do that")]
    NotAdministrator,
    /// It is not, or no longer, as the caller said it was.
    #[error("{0}")]
    Unmet(#[from] Unmet),
    /// One document is larger than `users.document_bytes`.
    #[error("a document may have at most {limit} bytes")]
    DocumentTooLarge {
        /// `users.document_bytes`
        limit: usize,
    },
    /// The account has as many documents as `users.documents` allows.
    #[error("an account may have at most {limit} documents: delete one first")]
    TooManyDocuments {
        /// `users.documents`
        limit: u64,
    },
    /// The account's documents would be larger together than `users.account_bytes` allows.
    #[error(
        "the documents of an account may have at most {limit} bytes together; \
         with this one it would be {would_be}: delete or shrink some first"
    )]
    TooManyBytes {
        /// `users.account_bytes`
        limit: u64,
        /// What they would have.
        would_be: u64,
    },
    /// The node does nothing for anybody at the moment.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A store could not be read.
    #[error("a store could not be read")]
    Store(#[from] StoreError),
}

impl From<CommitError> for UsersError {
    fn from(error: CommitError) -> Self {
        Self::Unavailable(error.into())
    }
}
