//! From failures to answers: the one map of [`AuthError`] to problem details (RFC 9457), and what
//! every answer of the API carries.
//!
//! A handler's failure does not know its request. It travels as a [`Failure`] in the response's
//! extensions and is written out by [`finish`], which does: there the request's id is filled in, and
//! the cause, which the client never sees, is logged with it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};

use crate::auth::error::{AuthError, FieldError};
use crate::model::caller::{Origin, RefusedToken};
use crate::model::problem::{self, FieldProblem, Problem};
use crate::model::unavailable::Unavailable;

/// How long clients wait while the node shuts down or cannot write: another node, or the next
/// start, may answer then.
const A_WHILE: Duration = Duration::from_secs(5);

/// An answer other than what was asked for.
#[derive(Clone, Debug)]
pub(in crate::api) struct Failure(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    problem: Problem,
    header: Option<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<String>,
}

impl Failure {
    /// A problem of the kind `urn:keepgate:problem:<word>`.
    pub fn new(
        status: StatusCode,
        word: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let problem = Problem::new(status.as_u16(), word, title).detail(detail.into());
        Self(Arc::new(Inner { problem, header: None, cause: None }))
    }

    /// 422: the input is well-formed, but these fields are at fault.
    pub fn fields(errors: Vec<FieldProblem>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.detail),
            several => format!("{} fields are at fault", several.len()),
        };
        let failure = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request is not valid",
            detail,
        );
        failure.with(|inner| inner.problem.errors = errors)
    }

    /// 401: no access token was sent. In the edge's words: clients see one Keepgate.
    pub fn unauthenticated() -> Self {
        let detail = "send an access token: 'Authorization: Bearer <token>'";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication required", detail).challenge()
    }

    /// 401: the access token that was sent is not good. In the edge's words too.
    pub fn invalid_token(refused: RefusedToken) -> Self {
        let RefusedToken { reason } = refused;
        let challenge =
            format!(r#"Bearer realm="keepgate", error="invalid_token", error_description="{reason}""#);
        let failure = Self::new(StatusCode::UNAUTHORIZED, "invalid-token", "Invalid access token", reason);
        match HeaderValue::try_from(challenge) {
            Ok(challenge) => failure.header(WWW_AUTHENTICATE, challenge),
            Err(_) => failure.challenge(),
        }
    }

    /// 404: nothing is there, or nothing the caller may know of.
    pub fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 500: our own fault. The cause is logged.
    pub fn internal(cause: impl ToString) -> Self {
        let detail = "the request failed here; the log has the reason under this request id";
        let failure = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail);
        failure.because(cause)
    }

    /// [`Failure::internal`], with everything that led to it in the log.
    pub fn broken(error: &dyn std::error::Error) -> Self {
        Self::internal(Chain(error))
    }

    /// 413: the body is longer than anything that is taken here.
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("this endpoint takes at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Request body too large", detail)
    }

    /// 401: the session is gone since its token was verified.
    pub fn session_ended() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "session-ended", "Session ended", "log in again").challenge()
    }

    /// 429: later. RFC 6585 §4.
    fn too_many_attempts(retry_after: Duration) -> Self {
        let detail = "too many attempts failed: wait as long as Retry-After says; after a login from this device \
                      or address it is not held up by others";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", "Too many attempts", detail)
            .header(RETRY_AFTER, seconds(retry_after))
    }

    fn unavailable(word: &'static str, detail: &'static str, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, "Service unavailable", detail)
            .header(RETRY_AFTER, seconds(retry_after))
    }

    /// RFC 9110 §11.6.1: a 401 names the scheme that would do.
    fn challenge(self) -> Self {
        self.header(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="keepgate""#))
    }

    /// With one header; a later one takes its place.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.with(|inner| inner.header = Some((name, value)))
    }

    fn because(self, cause: impl ToString) -> Self {
        self.with(|inner| inner.cause = Some(cause.to_string()))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        use StatusCode as S;
        match error {
            AuthError::Invalid(errors) => Self::fields(errors.into_iter().map(field).collect()),
            AuthError::Credentials => Self::new(
                S::UNAUTHORIZED,
                "invalid-credentials",
                "Wrong credentials",
                "the e-mail address or the password is wrong",
            )
            .challenge(),
            AuthError::InvalidRefreshToken(_) => Self::new(
                S::UNAUTHORIZED,
                "invalid-refresh-token",
                "Refresh token not valid",
                "this refresh token is not valid, or not any more: log in again",
            )
            .challenge(),
            AuthError::SessionEnded => Self::session_ended(),
            AuthError::RegistrationClosed => Self::new(
                S::FORBIDDEN,
                "registration-closed",
                "Registration is closed",
                "ask an administrator for an account",
            ),
            AuthError::Invite => {
                let detail = "registration needs an invitation that is valid for this e-mail address";
                let errors = vec![FieldProblem::new("invite", "invalid", detail)];
                Self::new(S::FORBIDDEN, "invalid-invite", "Invitation not valid", detail)
                    .with(|inner| inner.problem.errors = errors)
            }
            AuthError::EmailTaken => {
                let detail = "an account with this e-mail address exists";
                let errors = vec![FieldProblem::new("email", "taken", detail)];
                Self::new(S::CONFLICT, "email-taken", "E-mail address taken", detail)
                    .with(|inner| inner.problem.errors = errors)
            }
            AuthError::LastAdministrator => Self::new(
                S::CONFLICT,
                "last-administrator",
                "Last administrator",
                "this is the last active administrator: make another one first",
            ),
            AuthError::TooManyAttempts { retry_after } => Self::too_many_attempts(retry_after),
            AuthError::NotFound => Self::not_found("there is no such thing, or it is not yours"),
            AuthError::Unavailable(error) => error.into(),
            AuthError::Store(_) | AuthError::Internal(_) => Self::broken(&error),
        }
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Overloaded { retry_after } => {
                Self::unavailable("overloaded", "too many requests are being worked on", retry_after)
            }
            // Not in the log: anybody can ask for one as fast as they like, and the log says once why
            // the node is read-only.
            Unavailable::ReadOnly { .. } => {
                Self::unavailable("read-only", "this node takes no changes at the moment", A_WHILE)
            }
            Unavailable::Closing => Self::unavailable("shutting-down", "this node is shutting down", A_WHILE),
        }
    }
}

/// Whole seconds, rounded up and never zero: "now" is what just failed.
fn seconds(retry_after: Duration) -> HeaderValue {
    let seconds = retry_after.as_millis().div_ceil(1000).max(1);
    HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX))
}

fn field(error: FieldError) -> FieldProblem {
    FieldProblem::new(error.field, error.code, error.detail)
}

/// An error and what caused it, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source())
            .try_for_each(|source| write!(f, ": {source}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// What every answer of the API goes through: failures are written out, and nothing is cached but
/// what says so itself.
pub(in crate::api) async fn finish(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<Origin>().map(|origin| origin.request);
    let mut response = next.run(request).await;
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let Inner { mut problem, header, cause } = Arc::unwrap_or_clone(failure.0);
        if let Some(id) = id {
            problem = problem.instance(id);
        }
        if let Some(cause) = cause {
            let request = id.map(tracing::field::display);
            tracing::error!(request, status = problem.status, cause, "request failed");
        }
        write_out(&mut response, &problem, header);
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Headers that are on the response already (`Allow`) stay.
fn write_out(response: &mut Response, problem: &Problem, header: Option<(HeaderName, HeaderValue)>) {
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    response.headers_mut().extend(header);
    // A problem is text and numbers; it can always be written.
    *response.body_mut() = serde_json::to_vec(problem).unwrap_or_default().into();
}

/// The answer where no endpoint is.
pub(in crate::api) async fn no_such_path() -> Failure {
    Failure::not_found("there is no such endpoint")
}

/// The answer where the endpoint does not know the method; axum adds `Allow`.
pub(in crate::api) async fn no_such_method(method: Method) -> Failure {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let name = known.iter().find(|known| **known == method).map_or("this method", Method::as_str);
    let detail = format!("the endpoint does not take {name}; 'Allow' has those that it takes");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_takes_no_changes_logs_nothing_for_each_who_asks_for_one() {
        let failure = Failure::from(Unavailable::ReadOnly { reason: "the disk is short".into() });
        assert_eq!((failure.0.problem.status, failure.0.cause.as_deref()), (503, None));
    }
}
