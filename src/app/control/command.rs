//! Commands: everything an operator can ask of a node's state.
//!
//! They travel between a command line and a daemon that may be of different versions: a change that
//! the other side would misunderstand raises [`super::wire`]'s protocol number. Values are parsed
//! types, so what arrives is well-formed or refused before it is looked at.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ca::Order;
use crate::model::account::{AccountStatus, PasswordHash};
use crate::model::certificate::RevocationReason;
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::id::{AccountId, InviteId, SessionId};
use crate::model::key::KeyId;
use crate::model::role::Role;
use crate::model::time::Timestamp;

/// Most entries one reply carries; lists longer than this come in pages.
pub const PAGE: u32 = 500;

/// One thing to do. Externally tagged (`{"user_show": {"user": …}}`), because serde ignores unknown
/// fields of internally tagged unit variants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// How the node stands. → `Reply::Status`
    Status,
    /// Read the configuration anew and put it in place. → `Reply::Reloaded` or `Reply::Misconfigured`
    Reload,
    /// Have another process of the same binary's path serve instead of this one. → `Reply::Restarting`; `Status`
    /// says then what came of it
    Restart {
        /// Even if it cuts what the process before this one has open.
        force: bool,
    },
    /// Create an account. → `Reply::User`
    UserAdd {
        /// Its address.
        email: Email,
        /// As the owner wishes to be called; may be empty.
        name: String,
        /// What it may do.
        roles: BTreeSet<Role>,
        /// Its first password, checked against the policy like any other.
        password: Password,
    },
    /// Accounts in order of id. → `Reply::Users`
    UserList {
        /// Those after this id; from the start if `None`.
        after: Option<AccountId>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// One account. → `Reply::User`
    UserShow {
        /// Id or e-mail address.
        user: String,
    },
    /// Let an account be used again. → `Reply::User`
    UserEnable {
        /// Id or e-mail address.
        user: String,
    },
    /// Let an account no longer be used; its sessions end. → `Reply::User`
    UserDisable {
        /// Id or e-mail address.
        user: String,
    },
    /// Replace a password; the account's sessions end. → `Reply::User`
    UserSetPassword {
        /// Id or e-mail address.
        user: String,
        /// The new one.
        password: Password,
    },
    /// Forget the failed password tries at an account. → `Reply::User`
    UserUnthrottle {
        /// Id or e-mail address.
        user: String,
    },
    /// Replace an account's roles. → `Reply::User`
    UserRoles {
        /// Id or e-mail address.
        user: String,
        /// All roles it has from now on.
        roles: BTreeSet<Role>,
    },
    /// Delete an account and its data. → `Reply::Done`
    UserDelete {
        /// Id or e-mail address.
        user: String,
    },
    /// Accounts with everything needed to have them elsewhere, in order of id. → `Reply::Exported`
    UserExport {
        /// Those after this id; from the start if `None`.
        after: Option<AccountId>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
        /// With their password hashes.
        hashes: bool,
    },
    /// Create accounts from elsewhere, all or none. → `Reply::Imported`
    UserImport {
        /// At most [`PAGE`].
        users: Vec<NewUser>,
        /// Leave out those that are there already, instead of refusing all.
        skip_existing: bool,
        /// Say only what would come of it.
        check: bool,
    },
    /// An account's documents, without their bodies, in order of key. → `Reply::Documents`
    UserDocuments {
        /// Id or e-mail address.
        user: String,
        /// Those after this key; from the start if `None`.
        after: Option<String>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// One of an account's documents. → `Reply::Document`
    UserDocument {
        /// Id or e-mail address.
        user: String,
        /// Its key.
        key: String,
    },
    /// Make an invitation. → `Reply::Invited`
    InviteCreate {
        /// The only address it can be used with; any if `None`.
        email: Option<Email>,
        /// The roles of the account made with it.
        roles: BTreeSet<Role>,
        /// How long it is good, seconds; `accounts.invite_ttl` if `None`.
        ttl_seconds: Option<u64>,
    },
    /// All open invitations. → `Reply::Invites`
    InviteList,
    /// Withdraw an invitation. → `Reply::Done`
    InviteRevoke {
        /// Which.
        invite: InviteId,
    },
    /// An account's sessions. → `Reply::Sessions`
    SessionList {
        /// Id or e-mail address.
        user: String,
    },
    /// End a session. → `Reply::Done`
    SessionRevoke {
        /// Which.
        session: SessionId,
    },
    /// Ban an address or network. → `Reply::Bans` with the one entry
    BlacklistAdd {
        /// What to ban.
        network: IpNet,
        /// Why, for whoever finds it later; may be empty.
        reason: String,
        /// For how long, seconds; until removed if `None`.
        ttl_seconds: Option<u64>,
        /// Even if it is everybody of an address family, or holds the loopback or a trusted proxy.
        force: bool,
    },
    /// All bans that commands made and that hold. → `Reply::Bans`
    BlacklistList,
    /// Networks that the configuration bans, in order. → `Reply::Bans`
    BlacklistConfigured {
        /// Those after this one; from the start if `None`.
        after: Option<IpNet>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// Bans that addresses have earned by their offences, in order. → `Reply::Bans`
    BlacklistEarned {
        /// Those after this one; from the start if `None`.
        after: Option<IpNet>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// Lift a ban. → `Reply::Done`
    BlacklistRemove {
        /// Exactly as it was banned.
        network: IpNet,
    },
    /// All signing keys. → `Reply::Keys`
    KeyList,
    /// Let the next signing key sign. → `Reply::Keys`, all as they are then
    KeyRotate {
        /// Even if verifiers may not have heard of the next key yet.
        force: bool,
    },
    /// Take a key out of use. → `Reply::Keys`, all as they are then
    KeyRetire {
        /// Which.
        key: KeyId,
        /// Whether someone else may have it: then everything it signed is revoked.
        compromised: bool,
    },
    /// All certificates that are served. → `Reply::Certificates`
    CertificateList,
    /// Order a certificate anew, now. → `Reply::Certificates`, all as they are then
    CertificateRenew {
        /// One of its names.
        name: String,
    },
    /// Have a certificate revoked by its CA; another is ordered. → `Reply::Done`
    CertificateRevoke {
        /// One of its names.
        name: String,
        /// What the CA is told.
        reason: RevocationReason,
    },
    /// The local CA. → `Reply::Authority`
    CaShow,
    /// Issue a certificate by the local CA. → `Reply::Issued`
    CaIssue(Box<Order>),
    /// All application servers. → `Reply::Upstreams`
    UpstreamList,
    /// Take an application server out of service, or let it in again. → `Reply::Upstreams`, all as they are
    /// then
    UpstreamDrain {
        /// Its group.
        upstream: String,
        /// Its address, as the configuration writes it.
        server: String,
        /// Out, or in.
        drained: bool,
    },
    /// Audit events in order. → `Reply::Events`
    AuditTail {
        /// Those after this index; the last `limit` if `None`.
        after: Option<u64>,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// Audit events that meet conditions. → `Reply::Events`; `more` says whether to ask again, from
    /// `last` on
    AuditSearch {
        /// Which.
        wanted: Wanted,
        /// Beyond this index; from the start, or the end, if `None`.
        beyond: Option<u64>,
        /// The newest first.
        newest_first: bool,
        /// At most this many, at most [`PAGE`].
        limit: u32,
    },
    /// Prove the audit chain from its start. → `Reply::Verified`
    AuditVerify {
        /// A copy of the witness file, absolute, to compare with in place of the node's own.
        witness: Option<PathBuf>,
    },
    /// Begin the witness file anew, with the log's heads. → `Reply::WitnessRenewed`
    AuditRenewWitness,
}

/// What decides how long a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is answered at once, or when a password is hashed.
    Moments,
    /// How much data there is, or what a person's configuration says.
    Long,
    /// A CA, which may hang: minutes, and longer behind others.
    ACa,
}

impl Command {
    /// What decides how long it takes. A new command has to choose.
    pub const fn takes(&self) -> Takes {
        match self {
            Self::Reload
            | Self::Restart { .. }
            | Self::UserExport { .. }
            | Self::UserImport { .. }
            | Self::AuditSearch { .. }
            | Self::AuditVerify { .. }
            | Self::AuditRenewWitness => Takes::Long,
            Self::CertificateRenew { .. } | Self::CertificateRevoke { .. } => Takes::ACa,
            Self::Status
            | Self::UserAdd { .. }
            | Self::UserList { .. }
            | Self::UserShow { .. }
            | Self::UserEnable { .. }
            | Self::UserDisable { .. }
            | Self::UserSetPassword { .. }
            | Self::UserUnthrottle { .. }
            | Self::UserRoles { .. }
            | Self::UserDelete { .. }
            | Self::UserDocuments { .. }
            | Self::UserDocument { .. }
            | Self::InviteCreate { .. }
            | Self::InviteList
            | Self::InviteRevoke { .. }
            | Self::SessionList { .. }
            | Self::SessionRevoke { .. }
            | Self::BlacklistAdd { .. }
            | Self::BlacklistList
            | Self::BlacklistConfigured { .. }
            | Self::BlacklistEarned { .. }
            | Self::BlacklistRemove { .. }
            | Self::KeyList
            | Self::KeyRotate { .. }
            | Self::KeyRetire { .. }
            | Self::CertificateList
            | Self::CaShow
            | Self::CaIssue(_)
            | Self::UpstreamList
            | Self::UpstreamDrain { .. }
            | Self::AuditTail { .. } => Takes::Moments,
        }
    }
}

/// Conditions on audit events; those that are set must all be met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// An account's id or e-mail address: what it did and what was done to it. Any other text: the
    /// target.
    pub subject: Option<String>,
    /// From this address or network.
    pub address: Option<IpNet>,
    /// What was intended.
    pub intent: Option<Intent>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Up to this time.
    pub until: Option<Timestamp>,
}

/// An account from elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Its id there; a new one if `None`.
    pub id: Option<AccountId>,
    /// Its address.
    pub email: Email,
    /// May be empty.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Whether it may be used.
    pub status: AccountStatus,
    /// Now if `None`.
    pub created_at: Option<Timestamp>,
    /// PHC string; without it a password must be set before anybody can log in.
    pub password_hash: Option<PasswordHash>,
    /// When it was created if `None`.
    pub password_set_at: Option<Timestamp>,
}

/// A password on its way to be hashed. It has a wire form because that way leads over a socket that
/// only its owner and root can open; `Debug` hides it and it is wiped when dropped.
#[derive(Clone)]
pub struct Password(pub SecretString);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}
