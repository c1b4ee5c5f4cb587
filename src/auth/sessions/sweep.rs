//! Clearing away sessions that expired: round and round through all of them, a few pages at a time,
//! so that neither a step nor a bundle grows with the store, and with rests, because a round reads
//! every page of the store through its cache. The engine is read on a thread that may wait for the disk.

use std::sync::Arc;
use std::time::Duration;

use super::Sessions;
use crate::auth::commands::Commands;
use crate::auth::error::AuthError;
use crate::model::id::SessionId;
use crate::model::time::{FORGOTTEN_LATE, Timestamp};

/// From the end of a round to the next: expired records wait for a day anyway.
const REST: Duration = Duration::from_secs(6 * 3600);

/// A round through the sessions, and how far it has come.
pub struct Sweep {
    commands: Arc<Commands>,
    after: Option<SessionId>,
    rested: Option<Timestamp>,
}

impl Sessions {
    /// A round that starts at the first session.
    pub fn sweep(&self) -> Sweep {
        Sweep { commands: Arc::clone(&self.commands), after: None, rested: None }
    }
}

impl Sweep {
    /// Looks at the next `pages` of at most `size` sessions each, in order of id, and removes the
    /// records of those that expired a day ago. Ends early, and says so with `true`, when the round
    /// is complete; the first step after a rest then starts another.
    ///
    /// # Errors
    /// Failures of the node; what was removed stays removed, and the next step goes on from there.
    pub async fn step(&mut self, pages: usize, size: usize) -> Result<bool, AuthError> {
        if self.rested.is_some_and(|rested| self.commands.now() < rested) {
            return Ok(true);
        }
        self.rested = None;
        for _ in 0..pages {
            self.after = self.page(size).await?;
            if self.after.is_none() {
                self.rested = Some(self.commands.now().plus(REST));
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn page(&self, size: usize) -> Result<Option<SessionId>, AuthError> {
        let (commands, after) = (Arc::clone(&self.commands), self.after);
        let read = tokio::task::spawn_blocking(move || commands.tokens.sessions(after, size));
        let page = read.await.map_err(|_| AuthError::Internal("reading the sessions was interrupted"))??;
        let before = self.commands.now().minus(FORGOTTEN_LATE);
        let expired: Vec<_> = page.iter().filter(|session| session.expires_at < before).collect();
        if !expired.is_empty() {
            // An expired session can no longer be rotated, so no read need be depended on; ending
            // one that has just been ended otherwise is nothing.
            self.commands
                .settle(|bundle| {
                    expired.iter().for_each(|it| self.commands.end(bundle, it.id, it.account));
                    Ok(Ok(()))
                })
                .await?;
        }
        Ok(page.last().filter(|_| page.len() == size).map(|session| session.id))
    }
}
