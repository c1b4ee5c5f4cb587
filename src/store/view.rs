//! What a storage engine must offer to be a namespace's view: a reader for the questions Keepgate
//! asks of that namespace, and an applier that a thread of its own feeds with committed bundles.
//! Readers never wait for the applier.

use std::sync::Arc;

use ipnet::IpNet;

use super::bundle::{Committed, SharedCommit};
use super::error::StoreError;
use super::namespace::{LogHead, LogRecord, SubjectKeys};
use super::query::LogQuery;
use crate::model::account::Account;
use crate::model::ban::Ban;
use crate::model::change::Namespace;
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::email::Email;
use crate::model::event::{Pruned, SignedHead};
use crate::model::id::{AccountId, InviteId, Seq, SessionId};
use crate::model::invite::Invite;
use crate::model::key::SealedKey;
use crate::model::profile::Profile;
use crate::model::revocation::Revocation;
use crate::model::session::Session;

type Result<T> = std::result::Result<T, StoreError>;

/// The writing side of a view. Bundles come in order and without gaps from `applied().next()`;
/// those at or below `applied()` may come again and are skipped.
pub(in crate::store) trait Applier: Send {
    /// The last position applied, as stored in the view itself.
    fn applied(&self) -> Seq;
    /// Applies bundles in one transaction of the engine; not durable by itself.
    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<()>;
    /// Makes what was applied durable and says through which position.
    fn checkpoint(&mut self) -> Result<Seq>;
    /// Gives room back that was freed, where it is much. Asked for after a checkpoint, while the disk is
    /// not short: giving back writes first. Nothing depends on it, so a failure is a warning.
    fn give_back(&mut self) {}
}

/// The auth namespace's questions.
pub(in crate::store) trait AuthView: Send + Sync {
    /// What was met in it that is not as it was written.
    fn damage(&self) -> Option<Arc<str>> {
        None
    }
    fn account(&self, id: AccountId) -> Result<Option<Account>>;
    fn account_by_email(&self, email: &Email) -> Result<Option<Account>>;
    /// In order of id, after `after`, at most `limit`.
    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>>;
    fn account_count(&self) -> Result<u64>;
    /// Accounts that are active and hold the `admin` role.
    fn active_administrators(&self) -> Result<u64>;
    fn invite(&self, id: InviteId) -> Result<Option<Invite>>;
    fn invites(&self) -> Result<Vec<Invite>>;
    /// All signing keys, in order of creation, retired ones too.
    fn keys(&self) -> Result<Vec<SealedKey>>;
}

/// The user namespace's questions.
pub(in crate::store) trait UserView: Send + Sync {
    /// What was met in it that is not as it was written.
    fn damage(&self) -> Option<Arc<str>> {
        None
    }
    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>>;
    /// In order of key, after `after`, at most `limit`.
    fn documents(&self, account: AccountId, after: Option<&str>, limit: usize) -> Result<Vec<DocumentEntry>>;
    fn usage(&self, account: AccountId) -> Result<Usage>;
    fn profile(&self, account: AccountId) -> Result<Option<Profile>>;
}

/// The logs namespace's questions.
pub(in crate::store) trait LogView: Send + Sync {
    /// What was met in it that is not as it was written.
    fn damage(&self) -> Option<Arc<str>> {
        None
    }
    /// Records with an index greater than `after`, in order, at most `limit`, as they are stored.
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>>;
    /// Where the chain stands.
    fn head(&self) -> Result<LogHead>;
    /// Signed heads with a count greater than `after`, in order, at most `limit`.
    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>>;
    /// What the chain begins after, if its oldest records were dropped.
    fn base(&self) -> Result<Option<Pruned>>;
    /// The records that meet a query, in its order, at most `limit`.
    fn search(&self, query: &LogQuery, limit: usize) -> Result<Vec<LogRecord>>;
    /// The keys of an account's personal fields.
    fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys>;
}

/// The tokens namespace's questions.
pub(in crate::store) trait TokenView: Send + Sync {
    fn session(&self, id: SessionId) -> Result<Option<Session>>;
    fn sessions_of(&self, account: AccountId) -> Result<Vec<Session>>;
    /// In order of id, after `after`, at most `limit`.
    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>>;
    /// The revocations that `keep` says yes to, with their positions, in order, at most `limit`.
    fn revocations(&self, keep: &dyn Fn(&Revocation) -> bool, limit: usize)
    -> Result<Vec<(Seq, Revocation)>>;
    fn ban(&self, network: IpNet) -> Result<Option<Ban>>;
    fn bans(&self) -> Result<Vec<Ban>>;
}

/// The bundles of a batch that a view at `applied` has still to apply, in order.
///
/// # Errors
/// `Engine` if they do not follow each other without a gap: a view that skipped one would be wrong
/// for ever and never know it.
pub(in crate::store) fn unapplied(
    namespace: Namespace,
    applied: Seq,
    bundles: &[SharedCommit],
) -> Result<Vec<&Committed>> {
    let mut fresh = Vec::with_capacity(bundles.len());
    let mut due = applied.next();
    for bundle in bundles {
        if bundle.seq > due {
            let detail = format!("was given position {} where {due} was due", bundle.seq);
            return Err(StoreError::Engine { namespace, detail });
        }
        if bundle.seq == due {
            fresh.push(&**bundle);
            due = due.next();
        }
    }
    Ok(fresh)
}

/// Says that a created account was left out because another one holds its address. An address stays
/// with its first holder: the other choices are to let a newcomer take over mail meant for somebody
/// else, or to stop a view for good at a bundle that is already durable. The committer refuses such
/// a bundle (`Key::Email`), so this line in the log is a defect to report.
pub(in crate::store) fn address_taken(seq: Seq, account: AccountId) {
    tracing::error!(%seq, %account, "an account was created with an address that another one holds");
}
