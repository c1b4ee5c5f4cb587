//! What every command stands on, and the one loop that decides and commits; see `auth::commands`,
//! whose rule it is.
//!
//! Every write that grows an account's documents depends on all of them, for the quota, so an
//! application that saves many at once conflicts with itself. Who has lost once therefore waits for
//! a turn among the account's others. That keeps them from wearing each other out; what is right is
//! decided by the committer alone.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::error::UsersError;
use super::{Parts, People};
use crate::audit::Trail;
use crate::audit::folded::Folded;
use crate::model::account::{Account, AccountStatus};
use crate::model::id::AccountId;
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::{CommitError, StoreError};
use crate::store::namespace::UserStore;

/// Conflicts borne before a command gives up as overloaded.
const ATTEMPTS: u32 = 16;
/// Turns that are waited for separately: accounts that share one wait for each other a little.
const TURNS: usize = 64;

/// What a decision came to: a value to answer with, or a refusal, which rests on the bundle's reads
/// as much as the value does.
pub(in crate::users) type Verdict<T> = Result<T, UsersError>;

/// The store and its surroundings.
pub(in crate::users) struct Commands {
    pub user: UserStore,
    pub people: Arc<dyn People>,
    pub trail: Trail,
    pub denials: Arc<Folded<Trail>>,
    committer: Committer,
    clock: SharedClock,
    turns: [Mutex<()>; TURNS],
}

impl Commands {
    pub fn new(parts: Parts) -> Self {
        let Parts { user, people, committer, trail, denials, clock } = parts;
        let turns = std::array::from_fn(|_| Mutex::default());
        Self { user, people, trail, denials, committer, clock, turns }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Decides about an account's data and commits, afresh as often as what was read had changed
    /// meanwhile. `decision` is called any number of times: it must do nothing but read and stage.
    pub async fn decide<T>(
        &self,
        account: AccountId,
        mut decision: impl FnMut(&mut Bundle) -> Result<Verdict<T>, UsersError>,
    ) -> Result<T, UsersError> {
        let mut turn = None;
        for _ in 0..ATTEMPTS {
            let mut bundle = Bundle::new();
            let verdict = decision(&mut bundle)?;
            match self.committer.commit(bundle).await {
                Ok(_) => return verdict,
                Err(CommitError::Conflict) if turn.is_none() => turn = Some(self.turn(account).lock().await),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// An account, for who only looks.
    pub fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.people.read_account(&mut Bundle::new(), id)
    }

    /// The account of a caller; the bundle depends on it.
    pub fn owner(&self, bundle: &mut Bundle, id: AccountId) -> Result<Verdict<Account>, UsersError> {
        let account = self.people.read_account(bundle, id)?;
        Ok(account.filter(|it| it.status == AccountStatus::Active).ok_or(UsersError::SessionEnded))
    }

    #[expect(clippy::indexing_slicing, reason = "the index is reduced modulo the array's length")]
    fn turn(&self, account: AccountId) -> &Mutex<()> {
        // The last byte of a UUIDv7 is random.
        let [.., last] = account.0.into_bytes();
        &self.turns[usize::from(last) % TURNS]
    }
}
