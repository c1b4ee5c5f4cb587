//! The tokens namespace in maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use ipnet::IpNet;

use super::{Memory, State};
use crate::model::ban::Ban;
use crate::model::change::{Change, Namespace, TokenChange};
use crate::model::id::{AccountId, Seq, SessionId};
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::store::error::StoreError;
use crate::store::overlaid::{AsOf, Keep, TokenEngine};

/// Sessions, revocations and the blacklist.
#[derive(Default)]
pub(in crate::store) struct Tokens {
    sessions: BTreeMap<SessionId, Session>,
    revocations: BTreeMap<(Seq, u32), Revocation>,
    bans: BTreeMap<IpNet, Ban>,
}

impl State for Tokens {
    const NAMESPACE: Namespace = Namespace::Tokens;

    fn apply(&mut self, seq: Seq, index: u32, change: &Change) -> Result<(), StoreError> {
        let Change::Token(change) = change else { return Ok(()) };
        match change {
            TokenChange::SessionOpened(session) | TokenChange::SessionRotated(session) => {
                self.sessions.insert(session.id, session.clone());
            }
            TokenChange::SessionEnded { session, .. } => {
                self.sessions.remove(session);
            }
            TokenChange::Revoked(revocation) => {
                self.revocations.insert((seq, index), revocation.clone());
            }
            TokenChange::Banned(ban) => {
                self.bans.insert(ban.network, ban.clone());
            }
            TokenChange::Unbanned { network } => {
                self.bans.remove(network);
            }
            TokenChange::RevocationsForgotten { before } => {
                self.revocations.retain(|at, it| *at >= (seq, index) || it.expires_at >= *before);
            }
        }
        Ok(())
    }
}

impl TokenEngine for Memory<Tokens> {
    fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.read(|_, tokens| tokens.sessions.get(&id).cloned()))
    }

    fn sessions_of(&self, account: AccountId) -> Result<AsOf<Vec<Session>>, StoreError> {
        Ok(self.read(|seq, tokens| AsOf {
            seq,
            value: tokens.sessions.values().filter(|it| it.account == account).cloned().collect(),
        }))
    }

    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<AsOf<Vec<Session>>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|seq, tokens| {
            let rest = tokens.sessions.range((start, Bound::Unbounded));
            AsOf { seq, value: rest.take(limit).map(|(_, session)| session.clone()).collect() }
        }))
    }

    fn revocations(&self, keep: Keep<'_>, limit: usize) -> Result<AsOf<Vec<(Seq, Revocation)>>, StoreError> {
        Ok(self.read(|seq, tokens| {
            let all = tokens.revocations.iter().map(|((at, _), it)| (*at, it));
            let kept = all.filter(|(at, it)| keep(*at, it)).take(limit);
            AsOf { seq, value: kept.map(|(at, it)| (at, it.clone())).collect() }
        }))
    }

    fn ban(&self, network: IpNet) -> Result<Option<Ban>, StoreError> {
        Ok(self.read(|_, tokens| tokens.bans.get(&network).cloned()))
    }

    fn bans(&self) -> Result<AsOf<Vec<Ban>>, StoreError> {
        Ok(self.read(|seq, tokens| AsOf { seq, value: tokens.bans.values().cloned().collect() }))
    }
}
