//! Why an order failed, in the operator's words and in one stable word for the audit log.
//!
//! The words come from a CA, who is not trusted with a terminal or a log: they are cut, and control
//! characters in them are replaced.

use std::fmt;
use std::time::Duration;

use instant_acme::Error;

/// Longest text of a failure, characters.
const LONGEST: usize = 600;

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The CA could not be reached, or broke off.
    Unreachable,
    /// The CA did not find what it looked for at a name.
    Challenge,
    /// The CA refused.
    Refused,
    /// The CA, or our own limit, has had enough of us for now.
    Limited,
    /// The CA does not know the account.
    NoAccount,
    /// What the CA sent is not what it should be.
    Unusable,
    /// Something on this machine is amiss.
    Setup,
}

impl Why {
    /// A stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Challenge => "challenge_failed",
            Self::Refused => "refused",
            Self::Limited => "rate_limited",
            Self::NoAccount => "no_account",
            Self::Unusable => "unusable_answer",
            Self::Setup => "setup",
        }
    }
}

/// An order, or something else asked of a CA, that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which kind.
    pub why: Why,
    text: String,
    /// How long the CA wants us to wait.
    pub retry_after: Option<Duration>,
    for_all: bool,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(why: Why, text: impl ToString) -> Self {
        let tame = |c: char| if c.is_control() { ' ' } else { c };
        let text = text.to_string().chars().take(LONGEST).map(tame).collect();
        Self { why, text, retry_after: None, for_all: false }
    }

    /// With what the CA said of waiting.
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = self.retry_after.or(retry_after);
        self
    }

    /// It is about the account.
    pub const fn for_all(mut self) -> Self {
        self.for_all = true;
        self
    }

    /// Whether any other order at this CA would fail like this one: it need not be asked to know.
    pub const fn is_for_all(&self) -> bool {
        let of_a_name = matches!(self.why, Why::Challenge | Why::Refused | Why::Unusable);
        self.for_all || !of_a_name || self.retry_after.is_some()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => {
                let kind = problem.r#type.as_deref().unwrap_or_default();
                let why = match kind.strip_prefix("urn:ietf:params:acme:error:") {
                    Some("rateLimited") => Why::Limited,
                    Some("accountDoesNotExist") => Why::NoAccount,
                    _ => Why::Refused,
                };
                Self::new(why, format!("the CA refused: {problem}"))
            }
            Error::Other(error) => {
                Self::new(Why::Unreachable, format!("the CA could not be asked: {}", chain(&*error)))
            }
            Error::Timeout(_) => Self::new(Why::Unreachable, "the CA did not finish in time"),
            Error::Crypto | Error::KeyRejected => Self::new(Why::Setup, "the account's key cannot be used"),
            error => Self::new(Why::Unusable, format!("the CA's answer makes no sense: {error}")),
        }
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Some say their cause themselves.
        if !text.ends_with(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cas_words_are_cut_and_tamed() {
        let failure = Failure::new(Why::Refused, format!("a\x1b[2J\n{}", "x".repeat(5000)));
        let text = failure.to_string();
        assert!(text.starts_with("a [2J x") && text.len() == LONGEST, "{text}");
    }
}
