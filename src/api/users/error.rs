//! The one map of [`UsersError`] to problem details.
//!
//! Quotas are 413: the request's content is more than this account may still store, which its owner
//! can mend. 507 (RFC 4918 §11.5) would say that the server failed, wake whoever watches for that,
//! and invite proxies to try elsewhere.

use http::StatusCode;

use crate::api::error::Failure;
use crate::users::error::UsersError;

impl From<UsersError> for Failure {
    fn from(error: UsersError) -> Self {
        use StatusCode as S;
        let detail = error.to_string();
        match error {
            UsersError::Invalid(faults) => Self::fields(faults),
            UsersError::NoDocument => Self::not_found("there is no such document"),
            UsersError::NoAccount => Self::not_found("there is no such account"),
            UsersError::SessionEnded => Self::session_ended(),
            UsersError::NotAdministrator => Self::new(S::FORBIDDEN, "forbidden", "Forbidden", detail),
            UsersError::Unmet(_) => {
                Self::new(S::PRECONDITION_FAILED, "precondition-failed", "Precondition failed", detail)
            }
            UsersError::DocumentTooLarge { limit } => Self::body_too_large(limit),
            UsersError::TooManyDocuments { .. } | UsersError::TooManyBytes { .. } => {
                Self::new(S::PAYLOAD_TOO_LARGE, "quota-exceeded", "Quota exceeded", detail)
            }
            UsersError::Unavailable(error) => error.into(),
            UsersError::Store(_) => Self::broken(&error),
        }
    }
}
