//! The writing side of the tokens file.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{Database, Durability, Table, WriteTransaction};

use super::{BANS, META, REVOCATIONS, SESSIONS, SESSIONS_BY_ACCOUNT, Site, account_key, session_key};
use crate::model::change::{Change, Namespace, TokenChange};
use crate::model::id::{AccountId, Seq, SessionId};
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::model::time::Timestamp;
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::error::StoreError;
use crate::store::view::{Applier, unapplied};

type Result<T> = std::result::Result<T, StoreError>;

/// The one writer of the tokens file.
pub(in crate::store) struct RedbApplier {
    database: Arc<Database>,
    site: Site,
    /// Seen, and applied where it concerned this namespace.
    applied: Seq,
    /// What the last durable commit holds. Nothing is known of it after opening.
    durable: Seq,
}

impl RedbApplier {
    pub(super) const fn new(database: Arc<Database>, site: Site, applied: u64) -> Self {
        Self { database, site, applied: Seq(applied), durable: Seq(0) }
    }

    /// One transaction: the changes of `bundles` and the position `through`.
    fn write(&self, bundles: &[&Committed], through: Seq, durability: Durability) -> Result<()> {
        let site = &self.site;
        let mut transaction = self.database.begin_write().map_err(|error| site.error(error))?;
        transaction.set_durability(durability).map_err(|error| site.error(error))?;
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        Tables::open(&transaction, site)?.put(bundles, through)?;
        transaction.commit().map_err(|error| site.error(error))
    }
}

impl Applier for RedbApplier {
    fn applied(&self) -> Seq {
        self.applied
    }

    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<()> {
        let fresh = unapplied(Namespace::Tokens, self.applied, bundles)?;
        let Some(through) = fresh.last().map(|bundle| bundle.seq) else { return Ok(()) };
        let mut changes = fresh.iter().flat_map(|bundle| &bundle.changes);
        if changes.any(|change| matches!(change, Change::Token(_))) {
            self.write(&fresh, through, Durability::None)?;
        }
        self.applied = through;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Seq> {
        if self.durable != self.applied {
            self.write(&[], self.applied, Durability::Immediate)?;
            self.durable = self.applied;
        }
        Ok(self.durable)
    }
}

/// The tables of one transaction.
struct Tables<'t> {
    site: &'t Site,
    sessions: Table<'t, u128, &'static [u8]>,
    by_account: Table<'t, (u128, u128), ()>,
    revocations: Table<'t, (u64, u32), &'static [u8]>,
    bans: Table<'t, &'static str, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, site: &'t Site) -> Result<Self> {
        let error = |error: redb::TableError| site.error(error);
        Ok(Self {
            site,
            sessions: transaction.open_table(SESSIONS).map_err(error)?,
            by_account: transaction.open_table(SESSIONS_BY_ACCOUNT).map_err(error)?,
            revocations: transaction.open_table(REVOCATIONS).map_err(error)?,
            bans: transaction.open_table(BANS).map_err(error)?,
            meta: transaction.open_table(META).map_err(error)?,
        })
    }

    fn put(mut self, bundles: &[&Committed], through: Seq) -> Result<()> {
        // Sessions last, each once and in order of id: neighbours share pages of the tree, which made
        // a batch of rotations cheaper by a third. Nothing else in a batch depends on them.
        let mut sessions = BTreeMap::new();
        for bundle in bundles {
            for (index, change) in (0_u32..).zip(&bundle.changes) {
                let Change::Token(change) = change else { continue };
                match change {
                    TokenChange::SessionOpened(session) | TokenChange::SessionRotated(session) => {
                        sessions.insert(session.id, Some(session));
                    }
                    TokenChange::SessionEnded { session, .. } => {
                        sessions.insert(*session, None);
                    }
                    change => self.apply(bundle.seq, index, change)?,
                }
            }
        }
        for (id, session) in sessions {
            match session {
                Some(session) => self.put_session(session)?,
                None => self.end_session(id)?,
            }
        }
        self.meta.insert("applied", through.0).map_err(|error| self.site.error(error))?;
        Ok(())
    }

    fn apply(&mut self, seq: Seq, index: u32, change: &TokenChange) -> Result<()> {
        let site = self.site;
        match change {
            // Gathered by `put`.
            TokenChange::SessionOpened(_)
            | TokenChange::SessionRotated(_)
            | TokenChange::SessionEnded { .. } => Ok(()),
            TokenChange::Revoked(revocation) => {
                let value = site.encode(revocation)?;
                self.revocations.insert((seq.0, index), &*value).map(drop).map_err(|error| site.error(error))
            }
            TokenChange::Banned(ban) => {
                let value = site.encode(ban)?;
                let key = ban.network.to_string();
                self.bans.insert(&*key, &*value).map(drop).map_err(|error| site.error(error))
            }
            TokenChange::Unbanned { network } => {
                self.bans.remove(&*network.to_string()).map(drop).map_err(|error| site.error(error))
            }
            TokenChange::RevocationsForgotten { before } => self.forget_revocations((seq.0, index), *before),
        }
    }

    /// Drops the revocations that were recorded before `at` and expired before `before`.
    fn forget_revocations(&mut self, at: (u64, u32), before: Timestamp) -> Result<()> {
        let site = self.site;
        let mut unreadable = None;
        let done = self.revocations.retain_in(..at, |_, value| match site.decode::<Revocation>(value) {
            Ok(revocation) => revocation.expires_at >= before,
            Err(error) => {
                unreadable.get_or_insert(error);
                true
            }
        });
        done.map_err(|error| site.error(error))?;
        unreadable.map_or(Ok(()), Err)
    }

    fn put_session(&mut self, session: &Session) -> Result<()> {
        let site = self.site;
        let value = site.encode(session)?;
        let before = self.sessions.insert(session_key(session.id), &*value);
        let before = before.map_err(|error| site.error(error))?.map(|it| site.decode::<Session>(it.value()));
        // A rotation, the usual case, leaves the index alone.
        match before.transpose()? {
            Some(before) if before.account == session.account => return Ok(()),
            Some(before) => self.forget_session(before.account, session.id)?,
            None => {}
        }
        let key = (account_key(session.account), session_key(session.id));
        self.by_account.insert(key, ()).map(drop).map_err(|error| site.error(error))
    }

    fn end_session(&mut self, id: SessionId) -> Result<()> {
        let site = self.site;
        let ended = self.sessions.remove(session_key(id)).map_err(|error| site.error(error))?;
        match ended.map(|it| site.decode::<Session>(it.value())).transpose()? {
            Some(ended) => self.forget_session(ended.account, id),
            None => Ok(()),
        }
    }

    fn forget_session(&mut self, account: AccountId, session: SessionId) -> Result<()> {
        let key = (account_key(account), session_key(session));
        self.by_account.remove(key).map(drop).map_err(|error| self.site.error(error))
    }
}
