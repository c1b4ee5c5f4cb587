//! What is in force in memory: revocations, keys, bans, the time's floor. It follows the journal, and the edge
//! decides by it without a store.
//!
//! It outlives a house that is closed and opened again: where another process is to take over and does not come,
//! the stores are opened anew below the same views, and the edge has not noticed. Where it does come, these views
//! follow that process's journal ([`super::handover::feed`]) for as long as anything is open here.

use std::sync::Arc;

use keepgate_guard::view::RevocationView;

use super::measures::Decisions;
use crate::auth::keys::live::LiveKeys;
use crate::auth::revocation::Revocations;
use crate::edge::guard::blacklist::Blacklist;
use crate::model::change::{AuthChange, Change, TokenChange};
use crate::model::time::{FlooredClock, SharedClock};
use crate::store::commit::Follower;

/// The views. Clones are the same.
#[derive(Clone)]
pub(in crate::app) struct Views {
    /// The machine's time, without a floor.
    pub machine: SharedClock,
    pub floored: Arc<FlooredClock>,
    pub live: LiveKeys,
    pub revocations: Revocations,
    pub blacklist: Arc<Blacklist>,
    pub decisions: Decisions,
}

impl Views {
    /// Empty ones, in the time of `clock`, as far as that does not go back.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            machine: Arc::clone(&clock),
            floored: Arc::new(FlooredClock::new(clock)),
            live: LiveKeys::default(),
            revocations: Revocations::new(Arc::new(RevocationView::default())),
            blacklist: Arc::new(Blacklist::new()),
            decisions: Decisions::default(),
        }
    }

    /// Everybody's time.
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.floored) as SharedClock
    }

    /// What the stores are opened with.
    pub fn followers(&self) -> Vec<Follower> {
        let mut followers = self.verifying();
        followers.push(self.decisions.follower());
        followers
    }

    /// Those of them by which a request is let pass or not.
    pub fn verifying(&self) -> Vec<Follower> {
        vec![
            floor_follower(&self.floored),
            self.revocations.follower(),
            self.live.follower(),
            bans_follower(&self.blacklist),
        ]
    }
}

/// Whether [`Views::verifying`] take anything from it but the time.
pub(in crate::app) const fn concerns(change: &Change) -> bool {
    matches!(
        change,
        Change::Token(TokenChange::Revoked(_) | TokenChange::Banned(_) | TokenChange::Unbanned { .. })
            | Change::Auth(AuthChange::KeyAdded(_) | AuthChange::KeyStateSet { .. })
    )
}

/// What was committed at a time has happened: no clock is behind it any more.
fn floor_follower(clock: &Arc<FlooredClock>) -> Follower {
    let clock = Arc::clone(clock);
    Box::new(move |committed| clock.raise(committed.time))
}

fn bans_follower(blacklist: &Arc<Blacklist>) -> Follower {
    let blacklist = Arc::clone(blacklist);
    Box::new(move |committed| {
        for change in &committed.changes {
            match change {
                Change::Token(TokenChange::Banned(ban)) => blacklist.insert(ban),
                Change::Token(TokenChange::Unbanned { network }) => blacklist.remove(*network),
                _ => {}
            }
        }
    })
}
