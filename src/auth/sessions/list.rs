//! Looking at sessions, and clearing away those that expired.

use crate::auth::commands::KEPT_EXPIRED;
use crate::auth::error::AuthError;
use crate::model::caller::Caller;
use crate::model::id::{AccountId, SessionId};
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

    /// Looks at up to `limit` sessions after `after` in order of id and removes the records of
    /// those that expired a day ago. Gives where to go on, or `None` at the end. For a timer: a
    /// page at a time, so that no bundle grows with the store.
    ///
    /// # Errors
    /// Failures of the node; what was removed stays removed.
    pub async fn sweep(
        &self,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Option<SessionId>, AuthError> {
        let commands = &self.commands;
        let before = commands.now().minus(KEPT_EXPIRED);
        let page = commands.tokens.sessions(after, limit)?;
        let expired: Vec<_> = page.iter().filter(|session| session.expires_at < before).collect();
        if !expired.is_empty() {
            // An expired session can no longer be rotated, so no read need be depended on; ending
            // one that has just been ended otherwise is nothing.
            commands
                .settle(|bundle| {
                    expired.iter().for_each(|session| commands.end(bundle, session.id, session.account));
                    Ok(Ok(()))
                })
                .await?;
        }
        Ok(page.last().filter(|_| page.len() == limit).map(|session| session.id))
    }
}
