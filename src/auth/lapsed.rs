//! Clearing away what lapsed: revocations, bans and invitations. (Sessions, of which there may be
//! very many, are swept a page at a time: `sessions::list`.)
//!
//! It decides nothing: a lapsed record has had no effect for a day when it is dropped, so no audit
//! event speaks of it. Invariant: what was renewed meanwhile stays, because the bundle depends on
//! every record that it drops by name.

use std::sync::Arc;

use super::commands::Commands;
use super::error::AuthError;
use crate::model::change::{AuthChange, TokenChange};
use crate::model::time::{FORGOTTEN_LATE, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::error::StoreError;

/// Bans, and invitations, dropped in one step.
const AT_ONCE: usize = 500;

/// Drops what lapsed a day ago. Cheap to clone.
#[derive(Clone)]
pub struct Lapsed {
    commands: Arc<Commands>,
}

impl Lapsed {
    pub(in crate::auth) const fn new(commands: Arc<Commands>) -> Self {
        Self { commands }
    }

    /// Drops the revocations that expired a day ago, and of the bans and invitations that lapsed a
    /// day ago at most 500 each. Commits nothing if there is nothing to drop.
    ///
    /// # Errors
    /// Failures of the node; a conflict too, after which the next call does it.
    pub async fn forget(&self) -> Result<(), AuthError> {
        let commands = Arc::clone(&self.commands);
        // It reads every revocation kept: not on a thread that serves.
        let found = tokio::task::spawn_blocking(move || {
            let before = commands.now().minus(FORGOTTEN_LATE);
            let mut bundle = Bundle::new();
            commands.stage_lapsed(&mut bundle, before).map(|()| bundle)
        });
        let interrupted = |_| AuthError::Internal("looking for lapsed records was interrupted");
        let bundle = found.await.map_err(interrupted)??;
        if !bundle.is_empty() {
            self.commands.committer.commit(bundle).await?;
        }
        Ok(())
    }
}

impl Commands {
    fn stage_lapsed(&self, bundle: &mut Bundle, before: Timestamp) -> Result<(), StoreError> {
        if self.tokens.has_revocations_expired_before(before)? {
            self.tokens.stage(bundle, TokenChange::RevocationsForgotten { before });
        }
        let bans = self.tokens.bans()?.into_iter().filter(|ban| !ban.holds_at(before));
        for network in bans.map(|ban| ban.network).take(AT_ONCE) {
            if self.tokens.read_ban(bundle, network)?.is_some_and(|ban| !ban.holds_at(before)) {
                self.tokens.stage(bundle, TokenChange::Unbanned { network });
            }
        }
        let invites = self.auth.invites()?.into_iter().filter(|invite| invite.expires_at < before);
        for invite in invites.map(|invite| invite.id).take(AT_ONCE) {
            if self.auth.read_invite(bundle, invite)?.is_some() {
                self.auth.stage(bundle, AuthChange::InviteRemoved { invite });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::auth::bans::NewBan;
    use crate::auth::invites::NewInvite;
    use crate::auth::testing::{Backing, Settings, World, here};
    use crate::model::caller::Actor;
    use crate::model::time::Clock;

    const DAY: u64 = 24 * 3600;

    async fn ban(world: &World, network: &str, seconds: Option<u64>) {
        let expires_at = seconds.map(|it| world.clock.now().plus(Duration::from_secs(it)));
        let new = NewBan { network: network.into(), reason: String::new(), expires_at, force: false };
        world.auth.bans.add(new, Actor::System, &here()).await.unwrap();
    }

    async fn invite(world: &World, seconds: u64) {
        let new = NewInvite { ttl: Some(Duration::from_secs(seconds)), ..NewInvite::default() };
        world.auth.invites.create(new, Actor::System, &here()).await.unwrap();
    }

    /// Revocations, bans and invitations in the stores.
    fn kept(world: &World) -> (usize, usize, usize) {
        let (tokens, auth) = (&world.stores.tokens, &world.stores.auth);
        let revocations = tokens.revocations().unwrap().len();
        (revocations, tokens.bans().unwrap().len(), auth.invites().unwrap().len())
    }

    #[tokio::test]
    async fn what_lapsed_is_dropped_a_day_later_and_the_rest_stays() {
        let world = World::on(Backing::Disk, &Settings::cheap()).await;
        world.account("ada", &[]).await;
        let caller = world.caller(&world.login("ada").await);
        world.auth.sessions.logout(&caller, &here()).await.unwrap();
        ban(&world, "192.0.2.1", Some(60)).await;
        ban(&world, "192.0.2.2", None).await;
        ban(&world, "192.0.2.3", Some(9 * DAY)).await;
        invite(&world, 60).await;
        invite(&world, 9 * DAY).await;

        world.advance(DAY - 60);
        world.auth.lapsed.forget().await.unwrap();
        assert_eq!(kept(&world), (1, 3, 2), "not a day ago yet");
        world.advance(2 * 3600);
        world.auth.lapsed.forget().await.unwrap();
        assert_eq!(kept(&world), (0, 2, 1));

        let world = world.reopened(&Settings::cheap()).await;
        assert_eq!(kept(&world), (0, 2, 1), "durably");
    }

    #[tokio::test]
    async fn nothing_is_committed_when_nothing_lapsed() {
        let world = World::new().await;
        ban(&world, "192.0.2.1", None).await;
        let before = world.history().len();
        world.auth.lapsed.forget().await.unwrap();
        assert_eq!(world.history().len(), before);
    }
}
