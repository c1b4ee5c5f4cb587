//! `Change`: the unit of every write. A command commits a bundle of these atomically; the journal
//! keeps them; every view is what it has applied of them.
//!
//! Changes carry whole values, so that applying one twice is the same as once and a view needs no
//! read to apply it. A change's *kind* is its number on disk: numbers are never reused, and a
//! payload's shape never changes under its number (a new shape takes a new number, the old one
//! stays readable). `tests/fixtures/changes/` pins the bytes.

pub mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::account::{Account, AccountStatus, PasswordHash};
use super::ban::Ban;
use super::document::Document;
use super::event::{AuditEvent, Pruned, Seal, SealedEvent, SignedHead};
use super::id::{AccountId, InviteId, SessionId};
use super::invite::Invite;
use super::key::{KeyId, KeyState, SealedKey};
use super::profile::Profile;
use super::revocation::Revocation;
use super::role::Role;
use super::session::Session;
use super::time::Timestamp;

/// The four namespaces. No statement joins two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// Accounts, hashes, roles, invitations, signing keys.
    Auth,
    /// Per-user application documents and profiles.
    User,
    /// The audit log.
    Logs,
    /// Sessions, revocations, the blacklist.
    Tokens,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auth, Self::User, Self::Logs, Self::Tokens];

    /// The folder's name, and the word in errors and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::User => "user",
            Self::Logs => "logs",
            Self::Tokens => "tokens",
        }
    }
}

/// A fact that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In the auth namespace.
    Auth(AuthChange),
    /// In the user namespace.
    User(UserChange),
    /// In the logs namespace.
    Log(LogChange),
    /// In the tokens namespace.
    Token(TokenChange),
}

/// Facts of the auth namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what the variant\'s line says, and nothing more")]
pub enum AuthChange {
    /// An account came to be.
    AccountCreated(Account),
    /// Its password hash was replaced.
    PasswordSet { account: AccountId, password: PasswordHash, at: Timestamp },
    /// Its roles were replaced.
    RolesSet { account: AccountId, roles: BTreeSet<Role> },
    /// It was enabled or disabled.
    StatusSet { account: AccountId, status: AccountStatus },
    /// It is gone.
    AccountDeleted { account: AccountId },
    /// An invitation was made.
    InviteCreated(Invite),
    /// An invitation was used or withdrawn.
    InviteRemoved { invite: InviteId },
    /// A signing key was made.
    KeyAdded(SealedKey),
    /// A signing key moved on in its life.
    KeyStateSet { key: KeyId, state: KeyState, at: Timestamp },
    /// An account was given another name.
    NameSet { account: AccountId, name: String },
}

/// Facts of the user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what the variant\'s line says, and nothing more")]
pub enum UserChange {
    /// A document was written.
    DocumentPut(Document),
    /// A document was removed.
    DocumentDeleted { account: AccountId, key: String },
    /// Everything of an account was removed.
    UserErased { account: AccountId },
    /// An account's claims were replaced.
    ProfileSet(Profile),
}

/// Facts of the logs namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what the variant\'s line says, and nothing more")]
pub enum LogChange {
    /// A security decision was made.
    Event(AuditEvent),
    /// A security decision was made about a person: what is theirs is sealed.
    SealedEvent(SealedEvent),
    /// The chain's head was signed.
    HeadSigned(SignedHead),
    /// A key that an account's personal fields are sealed with was made; it is sealed itself. An
    /// account may have several.
    SubjectKeyAdded { account: AccountId, sealed: Vec<u8> },
    /// All keys of an account are gone, for good: none that is added later counts.
    SubjectKeyErased { account: AccountId },
    /// The oldest records were dropped.
    Pruned(Pruned),
}

impl LogChange {
    /// The event that this change adds to the chain, and its seal; none if it adds none.
    pub const fn event(&self) -> Option<(&AuditEvent, Option<&Seal>)> {
        match self {
            Self::Event(event) => Some((event, None)),
            Self::SealedEvent(SealedEvent { event, seal }) => Some((event, Some(seal))),
            Self::HeadSigned(_)
            | Self::SubjectKeyAdded { .. }
            | Self::SubjectKeyErased { .. }
            | Self::Pruned(_) => None,
        }
    }
}

/// Facts of the tokens namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what the variant\'s line says, and nothing more")]
pub enum TokenChange {
    /// A session was opened.
    SessionOpened(Session),
    /// Its refresh token was exchanged: the whole new record.
    SessionRotated(Session),
    /// It ended.
    SessionEnded { session: SessionId, account: AccountId },
    /// Access was revoked.
    Revoked(Revocation),
    /// An address was banned.
    Banned(Ban),
    /// A ban was lifted.
    Unbanned { network: IpNet },
    /// Earlier revocations that expired before then were dropped. By value, not by position: every
    /// view drops the same ones, and dropping them again is nothing.
    RevocationsForgotten { before: Timestamp },
}

impl LogChange {
    /// Whether it adds or erases a subject's keys.
    pub const fn is_about_keys(&self) -> bool {
        matches!(self, Self::SubjectKeyAdded { .. } | Self::SubjectKeyErased { .. })
    }
}

impl Change {
    /// The namespace it belongs to.
    pub const fn namespace(&self) -> Namespace {
        match self {
            Self::Auth(_) => Namespace::Auth,
            Self::User(_) => Namespace::User,
            Self::Log(_) => Namespace::Logs,
            Self::Token(_) => Namespace::Tokens,
        }
    }
}

macro_rules! from_namespace {
    ($($variant:ident($change:ty)),+) => {$(
        impl From<$change> for Change {
            fn from(change: $change) -> Self {
                Self::$variant(change)
            }
        }
    )+};
}
from_namespace!(Auth(AuthChange), User(UserChange), Log(LogChange), Token(TokenChange));
