//! The operator's words for what a service refused. Unlike an HTTP client, an operator may see
//! everything but secrets.

use super::super::control::reply::{Code, Failure};
use crate::auth::error::AuthError;
use crate::auth::keys::error::KeyError;
use crate::store::error::StoreError;

/// What `auth` refused.
pub(super) fn refused(error: AuthError) -> Failure {
    let code = match &error {
        AuthError::Invalid(faults) => {
            let faults: Vec<_> =
                faults.iter().map(|fault| format!("{}: {}", fault.field, fault.detail)).collect();
            return Failure::new(Code::Invalid, faults.join("; "));
        }
        AuthError::NotFound => Code::NotFound,
        AuthError::EmailTaken => Code::Conflict,
        AuthError::Unavailable(_) => Code::Unavailable,
        AuthError::Store(error) => return unreadable(error),
        AuthError::Internal(_) => Code::Internal,
        AuthError::LastAdministrator
        | AuthError::Credentials
        | AuthError::RegistrationClosed
        | AuthError::Invite
        | AuthError::InvalidRefreshToken(_)
        | AuthError::SessionEnded
        | AuthError::TooManyAttempts { .. } => Code::Refused,
    };
    Failure::new(code, error.to_string())
}

/// As [`refused`], with words of its own for what is not there.
pub(super) fn missing(error: AuthError, message: impl FnOnce() -> String) -> Failure {
    match error {
        AuthError::NotFound => Failure::new(Code::NotFound, message()),
        error => refused(error),
    }
}

/// What the key ring refused.
pub(super) fn key_refused(error: &KeyError) -> Failure {
    let code = match error {
        KeyError::Unknown(_) => Code::NotFound,
        KeyError::Commit(_) => Code::Unavailable,
        error if error.is_refusal() => Code::Refused,
        _ => Code::Internal,
    };
    Failure::new(code, error.to_string())
}

/// A store that could not be read.
pub(super) fn unreadable(error: &StoreError) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}
