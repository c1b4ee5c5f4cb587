//! What a throttled try leaves behind: the answer, and an audit event folded with others like it.
//!
//! Strangers are folded by the account they are after, not by their addresses: an attack from a
//! thousand addresses is one event a minute that names the account. What a prefix or somebody known is
//! refused is folded by where it comes from, with a count for each account. Accounts that do not exist
//! are told apart in the same way, so that the time of the answer does not tell them.

use std::sync::Arc;

use super::counts::From;
use super::{Throttle, Throttled};
use crate::audit::draft::Draft;
use crate::auth::commands::Commands;
use crate::auth::error::AuthError;
use crate::model::caller::Origin;
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;

/// What a try was about.
pub(in crate::auth) struct About<'a> {
    pub intent: Intent,
    pub email: &'a Email,
    /// The account, if there is one.
    pub account: Option<AccountId>,
}

impl Commands {
    /// Records that a try was throttled; gives what to answer.
    pub async fn throttled(
        &self,
        throttle: &Throttle,
        throttled: Throttled,
        about: &About<'_>,
        origin: &Origin,
    ) -> AuthError {
        let Throttled { retry_after, by } = throttled;
        let target = about.account.map_or_else(String::new, |account| account.to_string());
        let draft = Draft::new(about.intent, Outcome::Denied).reason("throttled");
        let draft = draft.target(target);
        let from = |draft: Draft| match about.account {
            Some(account) => draft.at(origin).about(account),
            None => draft.at(origin),
        };
        let of_account = || Some(Arc::from(format!("{:032x}", throttle.account_hash(about.email))));
        let (draft, scope): (_, Option<Arc<str>>) = match by {
            From::Stranger => (draft, of_account()),
            From::Device | From::Address | From::Session => (from(draft), of_account()),
            // One window for the prefix, whichever accounts it is after: it chooses how many.
            From::Prefix => (from(draft), None),
        };
        match self.denials.denied(draft, scope).await {
            Ok(()) => AuthError::TooManyAttempts { retry_after },
            Err(error) => error.into(),
        }
    }

    /// As [`Self::throttled`], for a registration.
    pub async fn registration_throttled(&self, throttled: Throttled, origin: &Origin) -> AuthError {
        let draft = Draft::new(Intent::Register, Outcome::Denied).reason("throttled").at(origin);
        match self.denials.denied(draft, None).await {
            Ok(()) => AuthError::TooManyAttempts { retry_after: throttled.retry_after },
            Err(error) => error.into(),
        }
    }
}
