//! A bundle: the changes of one command, committed together or not at all, and what the command
//! read to decide on them.
//!
//! Optimistic concurrency: every read through a bundle notes its key and the position the view had
//! reached. The committer refuses the bundle (`CommitError::Conflict`) if any of those keys was
//! written since; the command then decides again. So a cache or a lagging view can make a command
//! try twice, never decide wrongly. (FoundationDB's resolver; PostgreSQL's SERIALIZABLE gives the
//! same externally.)

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::change::{AuthChange, Change, TokenChange, UserChange};
use crate::model::email::Email;
use crate::model::id::{AccountId, InviteId, Seq, SessionId};
use crate::model::time::Timestamp;

/// What a read depended on and a write disturbs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An account's record.
    Account(AccountId),
    /// Who holds an address.
    Email(Email),
    /// Who the active administrators are.
    Administrators,
    /// The set of signing keys and their states.
    SigningKeys,
    /// An invitation.
    Invite(InviteId),
    /// A session's record.
    Session(SessionId),
    /// Which sessions an account has.
    SessionsOf(AccountId),
    /// A blacklist entry.
    Ban(IpNet),
    /// A document.
    Document(AccountId, String),
    /// Which documents an account has, and what they come to.
    DocumentsOf(AccountId),
    /// An account's claims.
    Profile(AccountId),
}

impl Key {
    /// The key in 64 bits, as the committer remembers it. A collision costs a retry, no more.
    fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The changes of one command and the reads they rest on.
#[derive(Debug, Default)]
#[must_use = "a bundle does nothing until it is committed"]
pub struct Bundle {
    /// Digests of the keys read, and the position each was read at.
    pub(in crate::store) reads: Vec<(u64, Seq)>,
    pub(in crate::store) changes: Vec<Change>,
}

impl Bundle {
    /// An empty bundle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(in crate::store) fn note(&mut self, key: Key, as_of: Seq) {
        self.reads.push((key.digest(), as_of));
    }

    /// Digests of every key it writes.
    pub(in crate::store) fn written(&self) -> Vec<u64> {
        let mut digests = Vec::with_capacity(2 * self.changes.len());
        for change in &self.changes {
            written_keys(change, |key| digests.push(key.digest()));
        }
        digests
    }

    pub(in crate::store) fn stage(&mut self, change: impl Into<Change>) {
        self.changes.push(change.into());
    }
}

/// A bundle that is durable: its place in the journal, its time, its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its position. Positions are consecutive.
    pub seq: Seq,
    /// When it was committed; never goes backwards from one position to the next.
    pub time: Timestamp,
    /// What it changed, in order.
    pub changes: Vec<Change>,
}

/// A bundle on its way to those who apply or follow it.
pub type SharedCommit = Arc<Committed>;

/// Visits every key that a change writes.
fn written_keys(change: &Change, mut visit: impl FnMut(Key)) {
    match change {
        Change::Auth(change) => auth_keys(change, &mut visit),
        Change::Token(change) => token_keys(change, &mut visit),
        Change::User(change) => match change {
            UserChange::DocumentPut(document) => {
                visit(Key::Document(document.account, document.key.clone()));
                visit(Key::DocumentsOf(document.account));
            }
            UserChange::DocumentDeleted { account, key } => {
                visit(Key::Document(*account, key.clone()));
                visit(Key::DocumentsOf(*account));
            }
            // Whoever reads something of an account's depends on the account too.
            UserChange::UserErased { account } => visit(Key::Account(*account)),
            UserChange::ProfileSet(profile) => visit(Key::Profile(profile.account)),
        },
        // Appended in the journal's order; nobody decides by what is in the log.
        Change::Log(_) => {}
    }
}

fn auth_keys(change: &AuthChange, visit: &mut impl FnMut(Key)) {
    match change {
        AuthChange::AccountCreated(account) => {
            visit(Key::Account(account.id));
            visit(Key::Email(account.email.clone()));
            visit(Key::Administrators);
        }
        AuthChange::PasswordSet { account, .. } | AuthChange::NameSet { account, .. } => {
            visit(Key::Account(*account));
        }
        AuthChange::RolesSet { account, .. }
        | AuthChange::StatusSet { account, .. }
        | AuthChange::AccountDeleted { account } => {
            visit(Key::Account(*account));
            visit(Key::Administrators);
        }
        AuthChange::InviteCreated(invite) => visit(Key::Invite(invite.id)),
        AuthChange::InviteRemoved { invite } => visit(Key::Invite(*invite)),
        AuthChange::KeyAdded(_) | AuthChange::KeyStateSet { .. } => visit(Key::SigningKeys),
    }
}

fn token_keys(change: &TokenChange, visit: &mut impl FnMut(Key)) {
    match change {
        TokenChange::SessionOpened(session) => {
            visit(Key::Session(session.id));
            visit(Key::SessionsOf(session.account));
        }
        TokenChange::SessionRotated(session) => visit(Key::Session(session.id)),
        TokenChange::SessionEnded { session, account } => {
            visit(Key::Session(*session));
            visit(Key::SessionsOf(*account));
        }
        TokenChange::Revoked(_) | TokenChange::RevocationsForgotten { .. } => {}
        TokenChange::Banned(ban) => visit(Key::Ban(ban.network)),
        TokenChange::Unbanned { network } => visit(Key::Ban(*network)),
    }
}
