//! Backends broken on purpose: each forgets, delays or blurs one thing, and the suite must notice.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bed::{Bed, Edit};
use crate::model::account::Account;
use crate::model::change::{AuthChange, Change, LogChange, TokenChange, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::email::Email;
use crate::model::event::{Pruned, SignedHead};
use crate::model::id::{AccountId, InviteId};
use crate::model::invite::Invite;
use crate::model::key::SealedKey;
use crate::model::profile::Profile;
use crate::store::engines::Engines;
use crate::store::error::StoreError;
use crate::store::namespace::{LogHead, LogRecord, SubjectKeys};
use crate::store::query::LogQuery;
use crate::store::view::{AuthView, LogView, UserView};

type Result<T> = std::result::Result<T, StoreError>;

/// A seeded fault and the case that must see it.
pub(super) struct Fault {
    pub name: &'static str,
    pub caught_by: &'static str,
    breaks: Breaks,
}

enum Breaks {
    /// What reaches the backend.
    Changes(Edit),
    /// What the backend answers.
    Answers(fn(&mut Engines)),
}

impl Fault {
    const fn changes(name: &'static str, caught_by: &'static str, edit: Edit) -> Self {
        Self { name, caught_by, breaks: Breaks::Changes(edit) }
    }

    const fn answers(name: &'static str, caught_by: &'static str, edit: fn(&mut Engines)) -> Self {
        Self { name, caught_by, breaks: Breaks::Answers(edit) }
    }

    pub fn bed(&self) -> Bed {
        match self.breaks {
            Breaks::Changes(edit) => Bed::over(Engines::in_memory(), None).edited(edit),
            Breaks::Answers(edit) => {
                let mut engines = Engines::in_memory();
                edit(&mut engines);
                Bed::over(engines, None)
            }
        }
    }
}

macro_rules! forget {
    ($pattern:pat) => {
        |change| if matches!(change, $pattern) { None } else { Some(change) }
    };
}

/// Every seeded fault.
pub(super) const ALL: &[Fault] = &[
    Fault::changes(
        "forgets that sessions end",
        "a_session_lives_from_opening_to_its_end",
        forget!(Change::Token(TokenChange::SessionEnded { .. })),
    ),
    Fault::changes(
        "keeps the first record of a session",
        "a_rotation_replaces_the_whole_record",
        forget!(Change::Token(TokenChange::SessionRotated(_))),
    ),
    Fault::changes(
        "forgets revocations",
        "revocations_are_kept_with_their_position",
        forget!(Change::Token(TokenChange::Revoked(_))),
    ),
    Fault::changes(
        "keeps every revocation for ever",
        "revocations_that_expired_are_forgotten",
        forget!(Change::Token(TokenChange::RevocationsForgotten { .. })),
    ),
    Fault::changes(
        "never lifts a ban",
        "bans_are_replaced_and_lifted",
        forget!(Change::Token(TokenChange::Unbanned { .. })),
    ),
    Fault::changes(
        "drops the status of accounts",
        "only_active_administrators_count",
        forget!(Change::Auth(AuthChange::StatusSet { .. })),
    ),
    Fault::changes(
        "drops new passwords",
        "an_account_changes_in_place",
        forget!(Change::Auth(AuthChange::PasswordSet { .. })),
    ),
    Fault::changes(
        "keeps used invitations",
        "an_invitation_lives_until_it_is_removed",
        forget!(Change::Auth(AuthChange::InviteRemoved { .. })),
    ),
    Fault::changes(
        "forgets that keys retire",
        "keys_come_in_order_of_creation_with_their_states",
        forget!(Change::Auth(AuthChange::KeyStateSet { .. })),
    ),
    Fault::changes(
        "keeps the documents of erased users",
        "an_erased_user_has_nothing",
        forget!(Change::User(UserChange::UserErased { .. })),
    ),
    Fault::changes(
        "keeps the first name of an account",
        "an_account_changes_in_place",
        forget!(Change::Auth(AuthChange::NameSet { .. })),
    ),
    Fault::changes(
        "forgets profiles",
        "a_profile_is_replaced_as_a_whole",
        forget!(Change::User(UserChange::ProfileSet(_))),
    ),
    Fault::answers(
        "forgets versions with their documents",
        "usage_is_counted_and_versions_outlive_their_documents",
        |engines| {
            engines.user.view = Arc::new(ForgottenVersions(engines.user.view.clone()));
        },
    ),
    Fault::changes(
        "loses audit events",
        "audit_records_form_a_chain",
        forget!(Change::Log(LogChange::Event(_))),
    ),
    Fault::changes(
        "keeps the keys of erased subjects",
        "an_erased_subject_has_no_keys_and_gets_none",
        forget!(Change::Log(LogChange::SubjectKeyErased { .. })),
    ),
    Fault::changes(
        "keeps pruned records",
        "a_pruned_chain_goes_on_from_its_base",
        forget!(Change::Log(LogChange::Pruned(_))),
    ),
    Fault::answers("searches without conditions", "records_are_searched_by_what_they_say", |engines| {
        engines.logs.view = Arc::new(AllFound(engines.logs.view.clone()));
    }),
    Fault::answers("serves a stale address index", "a_deleted_account_leaves_its_address_free", |engines| {
        engines.auth.view =
            Arc::new(StaleAddresses { inner: engines.auth.view.clone(), seen: Mutex::default() });
    }),
    Fault::answers("serves stale accounts by address", "an_account_changes_in_place", |engines| {
        engines.auth.view =
            Arc::new(StaleAddresses { inner: engines.auth.view.clone(), seen: Mutex::default() });
    }),
    Fault::answers(
        "starts every page at the beginning",
        "documents_are_kept_by_account_and_key",
        |engines| {
            engines.user.view = Arc::new(FirstPages(engines.user.view.clone()));
        },
    ),
    Fault::answers("numbers records from zero", "audit_records_form_a_chain", |engines| {
        engines.logs.view = Arc::new(FromZero(engines.logs.view.clone()));
    }),
];

/// Answers each address as it did the first time.
struct StaleAddresses {
    inner: Arc<dyn AuthView>,
    seen: Mutex<HashMap<Email, Account>>,
}

impl AuthView for StaleAddresses {
    fn account(&self, id: AccountId) -> Result<Option<Account>> {
        self.inner.account(id)
    }
    fn account_by_email(&self, email: &Email) -> Result<Option<Account>> {
        if let Some(account) = self.seen.lock().get(email) {
            return Ok(Some(account.clone()));
        }
        let account = self.inner.account_by_email(email)?;
        self.seen.lock().extend(account.clone().map(|account| (email.clone(), account)));
        Ok(account)
    }
    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>> {
        self.inner.accounts(after, limit)
    }
    fn account_count(&self) -> Result<u64> {
        self.inner.account_count()
    }
    fn active_administrators(&self) -> Result<u64> {
        self.inner.active_administrators()
    }
    fn invite(&self, id: InviteId) -> Result<Option<Invite>> {
        self.inner.invite(id)
    }
    fn invites(&self) -> Result<Vec<Invite>> {
        self.inner.invites()
    }
    fn keys(&self) -> Result<Vec<SealedKey>> {
        self.inner.keys()
    }
}

/// Ignores where a page should start.
struct FirstPages(Arc<dyn UserView>);

impl UserView for FirstPages {
    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>> {
        self.0.document(account, key)
    }
    fn documents(&self, account: AccountId, _: Option<&str>, limit: usize) -> Result<Vec<DocumentEntry>> {
        self.0.documents(account, None, limit)
    }
    fn usage(&self, account: AccountId) -> Result<Usage> {
        self.0.usage(account)
    }
    fn profile(&self, account: AccountId) -> Result<Option<Profile>> {
        self.0.profile(account)
    }
}

/// Knows only the versions of documents that are there.
struct ForgottenVersions(Arc<dyn UserView>);

impl UserView for ForgottenVersions {
    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>> {
        self.0.document(account, key)
    }
    fn documents(&self, account: AccountId, after: Option<&str>, limit: usize) -> Result<Vec<DocumentEntry>> {
        self.0.documents(account, after, limit)
    }
    fn usage(&self, account: AccountId) -> Result<Usage> {
        let there = self.0.documents(account, None, usize::MAX)?;
        let last_version = there.iter().map(|entry| entry.version).max().unwrap_or_default();
        Ok(Usage { last_version, ..self.0.usage(account)? })
    }
    fn profile(&self, account: AccountId) -> Result<Option<Profile>> {
        self.0.profile(account)
    }
}

/// Counts records from zero.
struct FromZero(Arc<dyn LogView>);

impl LogView for FromZero {
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>> {
        let records = self.0.records(after, limit)?.into_iter();
        Ok(records.map(|record| LogRecord { index: record.index - 1, ..record }).collect())
    }
    fn head(&self) -> Result<LogHead> {
        self.0.head()
    }
    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>> {
        self.0.signed_heads(after, limit)
    }
    fn base(&self) -> Result<Option<Pruned>> {
        self.0.base()
    }
    fn search(&self, query: &LogQuery, limit: usize) -> Result<Vec<LogRecord>> {
        self.0.search(query, limit)
    }
    fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys> {
        self.0.subject_keys(account)
    }
}

/// Finds every record, whatever was asked.
struct AllFound(Arc<dyn LogView>);

impl LogView for AllFound {
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>> {
        self.0.records(after, limit)
    }
    fn head(&self) -> Result<LogHead> {
        self.0.head()
    }
    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>> {
        self.0.signed_heads(after, limit)
    }
    fn base(&self) -> Result<Option<Pruned>> {
        self.0.base()
    }
    fn search(&self, _: &LogQuery, limit: usize) -> Result<Vec<LogRecord>> {
        self.0.records(0, limit)
    }
    fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys> {
        self.0.subject_keys(account)
    }
}
