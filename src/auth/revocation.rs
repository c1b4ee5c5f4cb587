//! The way of a revocation from the journal to the verifiers of this process: as a follower of the
//! committer it is in force before the command that caused it is answered (invariant 3), and after
//! a restart the kept records are loaded before anything is verified.
//!
//! The guard crate decides what a revocation refuses; here its words are only translated.

use std::sync::Arc;

use keepgate_guard::revocation as guard;
use keepgate_guard::view::RevocationView;

use crate::model::change::{Change, TokenChange};
use crate::model::id::Seq;
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::time::{FORGOTTEN_LATE, Timestamp};
use crate::store::bundle::Committed;
use crate::store::commit::Follower;
use crate::store::error::StoreError;
use crate::store::namespace::TokenStore;

/// Feeds a revocation view from the journal. Cheap to clone; clones feed the same.
#[derive(Clone)]
pub struct Revocations {
    view: Arc<RevocationView>,
}

impl Revocations {
    /// Feeds `view`.
    pub const fn new(view: Arc<RevocationView>) -> Self {
        Self { view }
    }

    /// The view that verifiers ask.
    pub fn view(&self) -> Arc<RevocationView> {
        Arc::clone(&self.view)
    }

    /// A follower to open the stores with.
    pub fn follower(&self) -> Follower {
        let this = self.clone();
        Box::new(move |committed| this.follow(committed))
    }

    /// Takes in what one bundle revoked.
    pub fn follow(&self, committed: &Committed) {
        for change in &committed.changes {
            if let Change::Token(TokenChange::Revoked(revocation)) = change {
                self.view.apply(&to_guard(committed.seq, revocation));
            }
        }
    }

    /// Takes in what the store has kept and what has not expired by `now`: once, after the stores are open and before anything is
    /// verified. What is committed meanwhile comes by the follower; taking one in twice is nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(&self, tokens: &TokenStore, now: Timestamp) -> Result<(), StoreError> {
        for (seq, revocation) in tokens.live_revocations(now.minus(FORGOTTEN_LATE))? {
            self.view.apply(&to_guard(seq, &revocation));
        }
        Ok(())
    }
}

/// A revocation as the feed carries it.
pub fn to_guard(seq: Seq, revocation: &Revocation) -> guard::Revocation {
    guard::Revocation {
        seq: seq.0,
        subject: match &revocation.subject {
            RevokedSubject::Token(id) => guard::Subject::Token(id.0),
            RevokedSubject::Session(id) => guard::Subject::Session(id.0),
            RevokedSubject::Account(id) => guard::Subject::Account(id.0),
            RevokedSubject::Key(id) => guard::Subject::Key(id.0.clone()),
            RevokedSubject::Everything => guard::Subject::Everything,
        },
        cause: word(revocation.cause).to_owned(),
        at: revocation.at.as_millis(),
        expires_at: revocation.expires_at.as_millis(),
    }
}

/// The stable word for a cause.
pub const fn word(cause: RevocationCause) -> &'static str {
    match cause {
        RevocationCause::Logout => "logout",
        RevocationCause::LogoutAll => "logout_all",
        RevocationCause::PasswordChanged => "password_changed",
        RevocationCause::RolesChanged => "roles_changed",
        RevocationCause::AccountDisabled => "account_disabled",
        RevocationCause::AccountDeleted => "account_deleted",
        RevocationCause::RefreshTokenReused => "refresh_token_reused",
        RevocationCause::Administrator => "administrator",
        RevocationCause::KeyCompromised => "key_compromised",
        RevocationCause::Restored => "restored",
        RevocationCause::SessionLimit => "session_limit",
    }
}

#[cfg(test)]
mod tests {
    use keepgate_guard::view;

    use super::*;

    #[test]
    fn the_view_in_memory_and_the_stores_keep_what_has_lapsed_equally_long() {
        assert_eq!(u128::try_from(view::KEPT_LONGER_MS), Ok(FORGOTTEN_LATE.as_millis()));
    }
}
