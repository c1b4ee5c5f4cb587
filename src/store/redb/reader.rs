//! The reading side of the tokens file. Every question is answered from one snapshot, which no
//! writer disturbs or is disturbed by.

use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::{BANS, META, REVOCATIONS, SESSIONS, SESSIONS_BY_ACCOUNT, Site, account_key, session_key};
use crate::model::ban::Ban;
use crate::model::id::{AccountId, Seq, SessionId};
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::store::error::StoreError;
use crate::store::overlaid::{AsOf, Keep, TokenEngine};

/// The reader of the tokens file.
pub(in crate::store) struct RedbReader {
    pub(super) database: Arc<Database>,
    pub(super) site: Site,
}

/// What can go wrong inside a read transaction.
enum Fault {
    Redb(Box<redb::Error>),
    Store(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

impl RedbReader {
    fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        let answer = self.database.begin_read().map_err(Fault::from).and_then(|snapshot| ask(&snapshot));
        answer.map_err(|fault| match fault {
            Fault::Redb(error) => self.site.error(*error),
            Fault::Store(error) => error,
        })
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Fault> {
        self.site.decode(bytes).map_err(Fault::Store)
    }
}

fn applied(snapshot: &ReadTransaction) -> Result<Seq, Fault> {
    let meta = snapshot.open_table(META)?;
    Ok(Seq(meta.get("applied")?.map_or(0, |it| it.value())))
}

impl TokenEngine for RedbReader {
    fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.read(|snapshot| {
            let found = snapshot.open_table(SESSIONS)?.get(session_key(id))?;
            found.map(|it| self.decode(it.value())).transpose()
        })
    }

    fn sessions_of(&self, account: AccountId) -> Result<AsOf<Vec<Session>>, StoreError> {
        self.read(|snapshot| {
            let account = account_key(account);
            let sessions = snapshot.open_table(SESSIONS)?;
            let mut found = Vec::new();
            for entry in
                snapshot.open_table(SESSIONS_BY_ACCOUNT)?.range((account, 0)..=(account, u128::MAX))?
            {
                let (_, id) = entry?.0.value();
                if let Some(it) = sessions.get(id)? {
                    found.push(self.decode(it.value())?);
                }
            }
            Ok(AsOf { seq: applied(snapshot)?, value: found })
        })
    }

    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<AsOf<Vec<Session>>, StoreError> {
        self.read(|snapshot| {
            let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(session_key(id)));
            let sessions = snapshot.open_table(SESSIONS)?;
            let page = sessions.range::<u128>((start, Bound::Unbounded))?.take(limit);
            let value = page.map(|entry| self.decode(entry?.1.value())).collect::<Result<_, Fault>>()?;
            Ok(AsOf { seq: applied(snapshot)?, value })
        })
    }

    fn revocations(&self, keep: Keep<'_>, limit: usize) -> Result<AsOf<Vec<(Seq, Revocation)>>, StoreError> {
        self.read(|snapshot| {
            let mut kept = Vec::new();
            for entry in snapshot.open_table(REVOCATIONS)?.iter()? {
                if kept.len() == limit {
                    break;
                }
                let (key, value) = entry?;
                let (at, revocation) = (Seq(key.value().0), self.decode(value.value())?);
                if keep(at, &revocation) {
                    kept.push((at, revocation));
                }
            }
            Ok(AsOf { seq: applied(snapshot)?, value: kept })
        })
    }

    fn ban(&self, network: IpNet) -> Result<Option<Ban>, StoreError> {
        self.read(|snapshot| {
            let found = snapshot.open_table(BANS)?.get(&*network.to_string())?;
            found.map(|it| self.decode(it.value())).transpose()
        })
    }

    fn bans(&self) -> Result<AsOf<Vec<Ban>>, StoreError> {
        self.read(|snapshot| {
            let bans = snapshot.open_table(BANS)?;
            let value =
                bans.iter()?.map(|entry| self.decode(entry?.1.value())).collect::<Result<_, Fault>>()?;
            Ok(AsOf { seq: applied(snapshot)?, value })
        })
    }
}
