//! Commands about the audit log.

use std::path::{Path, PathBuf};

use super::super::control::Outcome;
use super::super::control::command::{PAGE, Wanted};
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use super::Who;
use super::refused::{refused, unreadable};
use crate::audit::draft::Draft;
use crate::audit::search::{Found, Search};
use crate::audit::verify::{Evidence, verify};
use crate::audit::witness;
use crate::auth::error::AuthError;
use crate::model::event::{self, Intent};
use crate::model::id::AccountId;
use crate::store::error::StoreError;
use crate::store::query::{About, LogQuery};

impl Core {
    /// Waits for what was committed until now to be in the audit log, which commits do not wait for.
    pub(super) async fn log_is_complete(&self) {
        let committer = &self.stores.committer;
        if committer.failed().is_none()
            && let Err(error) = self.stores.logs.reached(committer.durable()).await
        {
            // What there is can be read all the same, and is wanted now more than ever.
            tracing::warn!(%error, "the audit log lags behind");
        }
    }

    pub(super) async fn audit_tail(&self, after: Option<u64>, limit: u32) -> Outcome {
        self.log_is_complete().await;
        let (reader, limit) = (self.trail.reader(), limit.min(PAGE) as usize);
        events(move || match after {
            Some(after) => reader.following(after, limit),
            None => reader.tail(limit),
        })
        .await
    }

    pub(super) async fn audit_search(
        &self,
        wanted: Wanted,
        beyond: Option<u64>,
        newest_first: bool,
        limit: u32,
    ) -> Outcome {
        let Wanted { subject, address, intent, outcome, since, until } = wanted;
        let about = subject.map(|subject| self.about(subject)).transpose()?;
        let mut query =
            LogQuery { since, until, intent, outcome, about, newest_first, ..LogQuery::default() };
        match beyond {
            Some(before) if newest_first => query.before = before,
            Some(after) => query.after = after,
            None => self.log_is_complete().await,
        }
        let reader = self.trail.reader();
        let search = Search { query, from: address };
        events(move || reader.search(&search, limit.min(PAGE) as usize)).await
    }

    /// What an operator's word for a subject means. An account that was deleted is found by its id.
    fn about(&self, subject: String) -> Result<About, Failure> {
        if let Ok(account) = subject.parse::<AccountId>() {
            return Ok(About { account: Some(account), target: account.to_string() });
        }
        match self.auth.accounts.find(&subject) {
            Ok(account) => Ok(About { account: Some(account.id), target: account.id.to_string() }),
            Err(AuthError::NotFound) if subject.contains('@') => {
                let message = format!("there is no account '{subject}'");
                let remedy = "one that was deleted is found by its id; `keepgate user list` shows the others";
                Err(Failure::new(Code::NotFound, message).remedy(remedy))
            }
            Err(AuthError::NotFound) => Ok(About { account: None, target: subject }),
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) async fn audit_verify(&self, copy: Option<PathBuf>) -> Outcome {
        self.log_is_complete().await;
        let (logs, history) = (self.stores.logs.clone(), self.stores.history.clone());
        let (own, key) = (witness::path(&self.config.data_dir), self.heads.public_key());
        let proof = tokio::task::spawn_blocking(move || {
            if let Some(copy) = &copy {
                // On a mount that hangs this waits for long.
                usable(copy)?;
            }
            let (witness, copy) = (copy.as_deref().unwrap_or(&own), copy.is_some());
            let proof = verify(&Evidence { logs: &logs, history: &history, witness, copy, key });
            proof.map_err(|error| Failure::new(Code::Internal, error.to_string()))
        });
        match proof.await {
            Ok(report) => Ok(Reply::Verified((&report?).into())),
            Err(_) => Err(Failure::new(Code::Internal, "the proof was interrupted: try again")),
        }
    }

    /// On record before it is done: whoever renews a witness also takes away what it contradicted.
    pub(super) async fn audit_renew_witness(&self, Who { actor, origin }: Who) -> Outcome {
        let draft = |outcome| Draft::new(Intent::WitnessRenew, outcome).by(actor.clone()).at(&origin);
        let record = self.trail.record(draft(event::Outcome::Granted)).await;
        record.map_err(|error| refused(error.into()))?;
        match self.heads.renew().await {
            Ok(old) => Ok(Reply::WitnessRenewed { old }),
            Err(error) => {
                if let Err(error) = self.trail.record(draft(event::Outcome::Failed)).await {
                    tracing::error!(%error, "that the witness was not renewed is not in the audit log");
                }
                Err(Failure::new(Code::Internal, error.to_string()))
            }
        }
    }
}

/// Whether a copy of the witness can prove anything.
fn usable(copy: &Path) -> Result<(), Failure> {
    let place = copy.display();
    let remedy = "name a copy of DATA_DIR/audit/heads.jsonl or of audit.witness_file";
    let failure = |message: String| Failure::new(Code::Invalid, message).remedy(remedy);
    match witness::holds_a_head(copy) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failure(format!("{place} holds no signed head: it can prove nothing"))),
        Err(error) => Err(failure(format!("the witness {place} cannot be read: {error}"))),
    }
}

/// Reads events where waiting for the disk is fine.
async fn events(read: impl FnOnce() -> Result<Found, StoreError> + Send + 'static) -> Outcome {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(found)) => Ok(Reply::Events(found.into())),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(Failure::new(Code::Internal, "reading was interrupted: try again")),
    }
}
