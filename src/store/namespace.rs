//! The four handle types. Holding one is the permission to read that namespace and to stage its
//! changes; nothing else grants it.
//!
//! Reads come in two forms: `x(id)` just answers, `read_x(&mut bundle, id)` answers and makes the
//! bundle depend on the answer still being true when it is committed.

use std::sync::Arc;

use ipnet::IpNet;

use super::bundle::{Bundle, Key};
use super::error::StoreError;
use super::progress::{Progress, Stalled};
use super::query::LogQuery;
use super::view::{AuthView, LogView, TokenView, UserView};
use crate::model::account::Account;
use crate::model::ban::Ban;
use crate::model::change::{AuthChange, LogChange, Namespace, TokenChange, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::email::Email;
use crate::model::event::{ChainHash, Pruned, SignedHead};
use crate::model::id::{AccountId, InviteId, Seq, SessionId};
use crate::model::invite::Invite;
use crate::model::key::SealedKey;
use crate::model::profile::Profile;
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::model::time::Timestamp;

type Result<T> = std::result::Result<T, StoreError>;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $view:ident, $change:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            view: Arc<dyn $view>,
            progress: Arc<Progress>,
        }

        impl $name {
            pub(in crate::store) fn new(view: Arc<dyn $view>, progress: Arc<Progress>) -> Self {
                Self { view, progress }
            }

            /// Adds a change of this namespace to a bundle.
            pub fn stage(&self, bundle: &mut Bundle, change: $change) {
                bundle.stage(change);
            }

            /// The position through which this namespace's answers are complete.
            pub fn applied(&self) -> Seq {
                self.progress.applied()
            }
        }
    };
}

handle!(
    /// Accounts, invitations and signing keys. Only `auth` holds it.
    AuthStore, AuthView, AuthChange
);
handle!(
    /// Application documents and profiles. Only `users` holds it.
    UserStore, UserView, UserChange
);
handle!(
    /// The audit log. Only `audit` holds it.
    LogStore, LogView, LogChange
);
handle!(
    /// Sessions, revocations and the blacklist. Only `auth` holds it.
    TokenStore, TokenView, TokenChange
);

impl AuthStore {
    /// What was met in its file that is not as it was written.
    pub fn damage(&self) -> Option<Arc<str>> {
        self.view.damage()
    }

    /// The account of that id.
    pub fn account(&self, id: AccountId) -> Result<Option<Account>> {
        self.view.account(id)
    }

    /// As [`Self::account`], and the bundle depends on it.
    pub fn read_account(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>> {
        bundle.note(Key::Account(id), self.applied());
        self.view.account(id)
    }

    /// The account that holds that address.
    pub fn account_by_email(&self, email: &Email) -> Result<Option<Account>> {
        self.view.account_by_email(email)
    }

    /// As [`Self::account_by_email`], and the bundle depends on it, absence included.
    pub fn read_account_by_email(&self, bundle: &mut Bundle, email: &Email) -> Result<Option<Account>> {
        let as_of = self.applied();
        bundle.note(Key::Email(email.clone()), as_of);
        let account = self.view.account_by_email(email)?;
        if let Some(account) = &account {
            bundle.note(Key::Account(account.id), as_of);
        }
        Ok(account)
    }

    /// Accounts in order of id, after `after`, at most `limit`.
    pub fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>> {
        self.view.accounts(after, limit)
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> Result<u64> {
        self.view.account_count()
    }

    /// How many active administrators there are; the bundle depends on who they are.
    pub fn read_active_administrators(&self, bundle: &mut Bundle) -> Result<u64> {
        bundle.note(Key::Administrators, self.applied());
        self.view.active_administrators()
    }

    /// An unused invitation; the bundle depends on it.
    pub fn read_invite(&self, bundle: &mut Bundle, id: InviteId) -> Result<Option<Invite>> {
        bundle.note(Key::Invite(id), self.applied());
        self.view.invite(id)
    }

    /// All unused invitations, lapsed ones too.
    pub fn invites(&self) -> Result<Vec<Invite>> {
        self.view.invites()
    }

    /// All signing keys in order of creation, retired ones too.
    pub fn keys(&self) -> Result<Vec<SealedKey>> {
        self.view.keys()
    }

    /// As [`Self::keys`], and the bundle depends on them.
    pub fn read_keys(&self, bundle: &mut Bundle) -> Result<Vec<SealedKey>> {
        bundle.note(Key::SigningKeys, self.applied());
        self.view.keys()
    }
}

impl UserStore {
    /// What was met in its file that is not as it was written.
    pub fn damage(&self) -> Option<Arc<str>> {
        self.view.damage()
    }

    /// One document.
    pub fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>> {
        self.view.document(account, key)
    }

    /// As [`Self::document`], and the bundle depends on it and on the account's staying: nothing may be
    /// written for an account that is erased meanwhile.
    pub fn read_document(
        &self,
        bundle: &mut Bundle,
        account: AccountId,
        key: &str,
    ) -> Result<Option<Document>> {
        let as_of = self.applied();
        bundle.note(Key::Document(account, key.to_owned()), as_of);
        bundle.note(Key::Account(account), as_of);
        self.view.document(account, key)
    }

    /// An account's documents, without their bodies, in order of key, after `after`, at most `limit`.
    pub fn documents(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>> {
        self.view.documents(account, after, limit)
    }

    /// What an account's documents come to.
    #[cfg(test)]
    pub fn usage(&self, account: AccountId) -> Result<Usage> {
        self.view.usage(account)
    }

    /// What an account's documents come to; the bundle depends on every one of them.
    pub fn read_usage(&self, bundle: &mut Bundle, account: AccountId) -> Result<Usage> {
        let as_of = self.applied();
        bundle.note(Key::DocumentsOf(account), as_of);
        bundle.note(Key::Account(account), as_of);
        self.view.usage(account)
    }

    /// An account's claims.
    pub fn profile(&self, account: AccountId) -> Result<Option<Profile>> {
        self.view.profile(account)
    }

    /// As [`Self::profile`], and the bundle depends on it and on the account's staying.
    pub fn read_profile(&self, bundle: &mut Bundle, account: AccountId) -> Result<Option<Profile>> {
        let as_of = self.applied();
        bundle.note(Key::Profile(account), as_of);
        bundle.note(Key::Account(account), as_of);
        self.view.profile(account)
    }
}

/// A stored audit record, exactly as it is on disk, for whoever proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the chain, from 1.
    pub index: u64,
    /// The bundle it was committed in.
    pub seq: Seq,
    /// The event's encoding; what the hash covers.
    pub payload: Vec<u8>,
    /// `ChainHash::next(previous, index, seq, payload)`.
    pub hash: ChainHash,
    /// Whether what the engine keeps beside the payload for searches says the same as the payload.
    pub columns_agree: bool,
}

/// Where the audit chain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Records in the chain.
    pub count: u64,
    /// Hash of the last; zeros for none.
    pub hash: ChainHash,
}

/// The keys that an account's personal fields in the log are sealed with, sealed themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectKeys {
    /// Those there are, in no meaningful order; none before the first event about the account.
    Kept(Vec<Vec<u8>>),
    /// They were erased, and no other will be kept.
    Erased,
}

impl LogStore {
    /// What was met in its file that is not as it was written.
    pub fn damage(&self) -> Option<Arc<str>> {
        self.view.damage()
    }

    /// Waits until records through `seq` are applied: a commit does not wait for the log.
    ///
    /// # Errors
    /// `Engine` if the log goes no further, because its engine failed or the stores are closed.
    pub async fn reached(&self, seq: Seq) -> Result<()> {
        self.progress.reached(seq).await.map_err(|Stalled| StoreError::Engine {
            namespace: Namespace::Logs,
            detail: format!("it goes no further than position {}", self.applied()),
        })
    }

    /// Records with an index greater than `after`, in order, at most `limit`.
    pub fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>> {
        self.view.records(after, limit)
    }

    /// Where the chain stands, as far as it is applied.
    pub fn head(&self) -> Result<LogHead> {
        self.view.head()
    }

    /// Signed heads with a count greater than `after`, in order, at most `limit`.
    pub fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>> {
        self.view.signed_heads(after, limit)
    }

    /// What the chain begins after, if its oldest records were dropped.
    pub fn base(&self) -> Result<Option<Pruned>> {
        self.view.base()
    }

    /// The records that meet a query, in its order, at most `limit`. Conditions are read from the
    /// columns that an engine keeps for searches; `audit::verify` proves that they say what the
    /// records say.
    pub fn search(&self, query: &LogQuery, limit: usize) -> Result<Vec<LogRecord>> {
        self.view.search(query, limit)
    }

    /// The keys of an account's personal fields.
    pub fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys> {
        self.view.subject_keys(account)
    }
}

impl TokenStore {
    /// A live session.
    pub fn session(&self, id: SessionId) -> Result<Option<Session>> {
        self.view.session(id)
    }

    /// As [`Self::session`], and the bundle depends on it.
    pub fn read_session(&self, bundle: &mut Bundle, id: SessionId) -> Result<Option<Session>> {
        bundle.note(Key::Session(id), self.applied());
        self.view.session(id)
    }

    /// An account's sessions.
    pub fn sessions_of(&self, account: AccountId) -> Result<Vec<Session>> {
        self.view.sessions_of(account)
    }

    /// As [`Self::sessions_of`], and the bundle depends on which there are (not on their rotations).
    pub fn read_sessions_of(&self, bundle: &mut Bundle, account: AccountId) -> Result<Vec<Session>> {
        bundle.note(Key::SessionsOf(account), self.applied());
        self.view.sessions_of(account)
    }

    /// Sessions in order of id, after `after`, at most `limit`.
    pub fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>> {
        self.view.sessions(after, limit)
    }

    /// The revocations that have not expired by `now`, with their positions, in order.
    pub fn live_revocations(&self, now: Timestamp) -> Result<Vec<(Seq, Revocation)>> {
        self.view.revocations(&|it| now < it.expires_at, usize::MAX)
    }

    /// Whether there is anything that `RevocationsForgotten { before }` would drop.
    pub fn has_revocations_expired_before(&self, before: Timestamp) -> Result<bool> {
        Ok(!self.view.revocations(&|it| it.expires_at < before, 1)?.is_empty())
    }

    /// Every revocation kept, with its position, in order.
    #[cfg(test)]
    pub fn revocations(&self) -> Result<Vec<(Seq, Revocation)>> {
        self.view.revocations(&|_| true, usize::MAX)
    }

    /// A blacklist entry; the bundle depends on it.
    pub fn read_ban(&self, bundle: &mut Bundle, network: IpNet) -> Result<Option<Ban>> {
        bundle.note(Key::Ban(network), self.applied());
        self.view.ban(network)
    }

    /// The whole blacklist, lapsed entries too.
    pub fn bans(&self) -> Result<Vec<Ban>> {
        self.view.bans()
    }
}
