//! Looking at sessions.

use crate::auth::error::AuthError;
use crate::model::caller::Caller;
use crate::model::id::AccountId;
use crate::model::session::Session;

use super::Sessions;

impl Sessions {
    /// The caller's live sessions, most recently used first.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list(&self, caller: &Caller) -> Result<Vec<Session>, AuthError> {
        self.list_for(caller.account)
    }

    /// An account's live sessions, most recently used first; for administrators.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list_for(&self, account: AccountId) -> Result<Vec<Session>, AuthError> {
        let now = self.commands.now();
        let mut sessions = self.commands.tokens.sessions_of(account)?;
        sessions.retain(|session| now < session.expires_at);
        sessions.sort_unstable_by_key(|session| std::cmp::Reverse((session.used_at, session.id)));
        Ok(sessions)
    }
}
