//! What the services of `auth` answer when they do not do what was asked. Exhaustive, so that each
//! surface (HTTP, control socket) decides on every case. Nothing in here is secret: messages may be
//! shown to whoever asked, except the sources of [`AuthError::Store`] and [`AuthError::Internal`].

use std::time::Duration;

use super::tokens::Unsigned;
use crate::model::unavailable::Unavailable;
use crate::store::error::{CommitError, StoreError};

/// One field of the input is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name in the request.
    pub field: &'static str,
    /// A stable word for what is wrong with it.
    pub code: &'static str,
    /// What to do about it, in a sentence.
    pub detail: String,
}

impl FieldError {
    /// A fault of one field.
    pub fn new(field: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field, code, detail: detail.into() }
    }
}

/// Why a refresh token was refused. For the audit log and metrics; a client learns only *that* it
/// was (RFC 6749 §5.2 `invalid_grant`), so that a thief learns nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefreshRefusal {
    /// Not a refresh token of ours by its form.
    Malformed,
    /// The form is right, but this deployment never issued it.
    Forged,
    /// Its session has ended, or never had this token.
    Unknown,
    /// Its session has expired.
    Expired,
    /// It was exchanged before: the family ended now.
    Reused,
    /// Its account is disabled or gone.
    Account,
}

impl RefreshRefusal {
    /// A stable word for logs, metrics and audit events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Reused => "reused",
            Self::Account => "account",
        }
    }
}

/// A command was not done; nothing but its audit event was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The input breaks rules; every fault is listed.
    #[error("the input is not valid")]
    Invalid(Vec<FieldError>),
    /// No such account, wrong password, or a disabled account: indistinguishable on purpose
    /// (OWASP Authentication Cheat Sheet, "Authentication and Error Messages").
    #[error("the e-mail address or the password is wrong")]
    Credentials,
    /// Nobody may register here.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The invitation is missing, unknown, used, lapsed, or for another address.
    #[error("the invitation is missing or not valid")]
    Invite,
    /// Another account has that address.
    #[error("that e-mail address is taken")]
    EmailTaken,
    /// There is no such thing, or it is not the caller's.
    #[error("not found")]
    NotFound,
    /// It would leave no active administrator.
    #[error("this is the last active administrator: make another one first")]
    LastAdministrator,
    /// The refresh token is not good; log in again.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken(RefreshRefusal),
    /// The caller's own session has ended while the command was under way.
    #[error("the session has ended")]
    SessionEnded,
    /// Too many tries at a password failed; nothing was tried now.
    #[error("too many attempts; try again in {} s", retry_after.as_millis().div_ceil(1000))]
    TooManyAttempts {
        /// When to try again (`Retry-After`).
        retry_after: Duration,
    },
    /// The node does nothing for anybody at the moment.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A store could not be read.
    #[error("a store could not be read")]
    Store(#[from] StoreError),
    /// A part that should not fail did: a hash, a signature.
    #[error("{0}")]
    Internal(&'static str),
}

impl AuthError {
    /// One fault of one field.
    pub fn field(field: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, code, detail)])
    }
}

impl From<CommitError> for AuthError {
    fn from(error: CommitError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<Unsigned> for AuthError {
    fn from(_: Unsigned) -> Self {
        Self::Internal("the access token could not be signed")
    }
}
