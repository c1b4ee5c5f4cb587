//! What every command of `auth` stands on: the two namespaces it owns, the audit trail, time,
//! randomness, and the one loop that decides and commits.
//!
//! The rule that keeps every command right under concurrency: *decide from reads that the bundle
//! depends on, commit, and if the commit conflicts decide afresh.* A decision function is therefore
//! called any number of times; it must do nothing but read and stage. A refusal is a decision too:
//! its audit event is committed with the reads it rests on, and only then answered. But a refusal
//! that costs the asker next to nothing is not worth a commit each: it is folded with others like it
//! ([`crate::audit::folded`]) and rests on reads alone, each of which was true when it was made.

use std::sync::Arc;
use std::time::Duration;

use super::error::AuthError;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::audit::folded::Folded;
use crate::config::tokens::Tokens;
use crate::model::change::TokenChange;
use crate::model::id::{AccountId, SessionId};
use crate::model::random::SharedRng;
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::session::Session;
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::commit::{Committer, Receipt};
use crate::store::error::CommitError;
use crate::store::namespace::{AuthStore, TokenStore};

/// Conflicts borne before a command gives up as overloaded. Each means that somebody else's command
/// went through, so a command that loses this often meets a storm on one record.
pub(in crate::auth) const ATTEMPTS: u32 = 16;

/// The longest `access_ttl` that the configuration allows. Revocations outlive even such a token:
/// the operator may have lowered `access_ttl` a minute ago, and tokens of the longer life are about.
const LONGEST_ACCESS: Duration = Duration::from_secs(3600);

/// Added to a revocation's life: the time between taking `now` and the commit that fixes the order,
/// for tokens granted in between. Generous, because a record that stays a minute longer costs
/// nothing and one that goes too early lets a revoked token back in.
const REVOCATION_MARGIN: Duration = Duration::from_secs(60);

/// What a decision came to: a value to answer with, or a refusal whose audit event is staged.
pub(in crate::auth) type Verdict<T> = Result<T, AuthError>;

/// Why a decision was not made.
pub(in crate::auth) enum Setback {
    /// Slow work done before the decision (a password's hash) is about a state that is gone: do it
    /// again.
    Overtaken,
    /// The node failed.
    Failed(AuthError),
}

impl<E: Into<AuthError>> From<E> for Setback {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Why a decision wrote nothing.
pub(in crate::auth) enum Unwritten {
    /// It is a refusal that costs next to nothing: its event is folded with others like it.
    Refused(Box<Draft>, AuthError),
    /// The node failed.
    Failed(AuthError),
}

impl Unwritten {
    pub fn refused(draft: Draft, error: AuthError) -> Self {
        Self::Refused(Box::new(draft), error)
    }
}

impl<E: Into<AuthError>> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The stores and their surroundings.
pub(in crate::auth) struct Commands {
    pub auth: AuthStore,
    pub tokens: TokenStore,
    pub committer: Committer,
    pub trail: Trail,
    pub denials: Arc<Folded<Trail>>,
    pub clock: SharedClock,
    pub rng: SharedRng,
    /// How long after now the last access token that exists now can be good.
    pub horizon: Duration,
}

impl Commands {
    /// How long a revocation must be remembered.
    pub fn horizon(tokens: &Tokens) -> Duration {
        // Leeway counts twice: a verifier's clock may be behind, and it allows that much again.
        tokens.access_ttl.max(LONGEST_ACCESS) + tokens.leeway * 2 + REVOCATION_MARGIN
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Decides and commits, afresh as often as what was read had changed meanwhile. The outer error
    /// means that nothing was decided; the verdict is durable, refusals included.
    pub async fn decide<T, E: From<CommitError>>(
        &self,
        mut decision: impl FnMut(&mut Bundle) -> Result<Verdict<T>, E>,
    ) -> Result<(Verdict<T>, Receipt), E> {
        for _ in 0..ATTEMPTS {
            let mut bundle = Bundle::new();
            let verdict = decision(&mut bundle)?;
            match self.committer.commit(bundle).await {
                Ok(receipt) => return Ok((verdict, receipt)),
                // What was missed is visible by now (`Committer::commit`), so there is nothing to wait for.
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// As [`Self::decide`], for commands whose answer does not need the position.
    pub async fn settle<T>(
        &self,
        decision: impl FnMut(&mut Bundle) -> Result<Verdict<T>, AuthError>,
    ) -> Result<T, AuthError> {
        self.decide(decision).await?.0
    }

    /// As [`Self::decide`], for commands that can be refused for next to nothing.
    pub async fn decide_or_fold<T>(
        &self,
        decision: impl FnMut(&mut Bundle) -> Result<Verdict<T>, Unwritten>,
    ) -> Result<(T, Receipt), AuthError> {
        match self.decide(decision).await {
            Ok((verdict, receipt)) => Ok((verdict?, receipt)),
            Err(Unwritten::Refused(draft, error)) => self.deny(*draft, error).await,
            Err(Unwritten::Failed(error)) => Err(error),
        }
    }

    /// Answers a refusal that costs next to nothing, once an event that covers it is written.
    pub async fn deny<T>(&self, draft: Draft, error: AuthError) -> Result<T, AuthError> {
        self.denials.denied(draft, None).await?;
        Err(error)
    }

    /// Stages the audit event of a refusal and gives the refusal as the verdict.
    pub fn refuse<T>(&self, bundle: &mut Bundle, draft: Draft, error: AuthError) -> Verdict<T> {
        self.trail.attach(bundle, draft);
        Err(error)
    }

    /// Stages the end of a session without revoking its access tokens.
    pub fn end(&self, bundle: &mut Bundle, session: SessionId, account: AccountId) {
        self.tokens.stage(bundle, TokenChange::SessionEnded { session, account });
    }

    /// Stages the end of a session and of every access token it gave.
    pub fn end_and_revoke(
        &self,
        bundle: &mut Bundle,
        session: &Session,
        cause: RevocationCause,
        now: Timestamp,
    ) {
        self.end(bundle, session.id, session.account);
        self.revoke(bundle, RevokedSubject::Session(session.id), cause, now);
    }

    /// Stages the end of all of an account's sessions and of every access token it was granted
    /// before this bundle. One record for all of them: each is older than the bundle, and a session
    /// opened meanwhile makes the bundle conflict.
    pub fn end_all(
        &self,
        bundle: &mut Bundle,
        account: AccountId,
        cause: RevocationCause,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        for session in self.tokens.read_sessions_of(bundle, account)? {
            self.end(bundle, session.id, account);
        }
        self.revoke(bundle, RevokedSubject::Account(account), cause, now);
        Ok(())
    }

    /// Stages a revocation, to be remembered as long as a token it affects can be good.
    pub fn revoke(
        &self,
        bundle: &mut Bundle,
        subject: RevokedSubject,
        cause: RevocationCause,
        now: Timestamp,
    ) {
        let revocation = Revocation { subject, cause, at: now, expires_at: now.plus(self.horizon) };
        self.tokens.stage(bundle, TokenChange::Revoked(revocation));
    }
}
