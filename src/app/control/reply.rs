//! Replies: what commands come to, typed, so that the command line can show them as tables or JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ca::{Authority, Issued};
use super::certificate::Certificate;
use super::data::{Document, DocumentBody};
use super::proof::Verification;
use super::transfer::{Exported, Imported};
use super::upstream::UpstreamServer;
use super::view::{Ban, Events, Invite, Key, Reloaded, Session, Status, User};
use crate::config::problem::Problems;

/// A command was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "with", rename_all = "snake_case")]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// One account, as it is now.
    User(User),
    /// Accounts; if as many as asked for, there may be more.
    Users(Vec<User>),
    /// Accounts to take elsewhere; if as many as asked for, there may be more.
    Exported(Vec<Exported>),
    /// What came of a batch of accounts from elsewhere.
    Imported(Imported),
    /// Documents without their bodies; if as many as asked for, there may be more.
    Documents(Vec<Document>),
    /// A document with its body.
    Document(DocumentBody),
    /// An invitation and its code, which is shown this once.
    Invited {
        /// The invitation.
        invite: Invite,
        /// What the invited person presents when registering.
        code: String,
    },
    /// Invitations.
    Invites(Vec<Invite>),
    /// Sessions.
    Sessions(Vec<Session>),
    /// Bans.
    Bans(Vec<Ban>),
    /// Signing keys.
    Keys(Vec<Key>),
    /// Certificates.
    Certificates(Vec<Certificate>),
    /// The local CA.
    Authority(Box<Authority>),
    /// A certificate of the local CA.
    Issued(Box<Issued>),
    /// Application servers.
    Upstreams(Vec<UpstreamServer>),
    /// Audit events; if as many as asked for, unreadable ones counted, there may be more.
    Events(Events),
    /// What the proof of the audit chain found.
    Verified(Verification),
    /// The witness file was begun anew.
    WitnessRenewed {
        /// Where the old file is now, if there was one.
        old: Option<PathBuf>,
    },
    /// How the node stands.
    Status(Box<Status>),
    /// Another configuration is in force.
    Reloaded(Reloaded),
    /// Another process has checked its configuration and takes over.
    Restarting {
        /// Its process id.
        pid: u32,
    },
    /// The configuration is wrong: nothing was changed.
    Misconfigured(Problems),
}

/// Why a command was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A value breaks a rule (a password too short).
    Invalid,
    /// There is no such account, session, key, ban.
    NotFound,
    /// It clashes with what is there (the address is taken).
    Conflict,
    /// A rule forbids it (the last administrator, a stranger on the socket).
    Refused,
    /// Not now: overloaded, read-only, shutting down. Trying again may help.
    Unavailable,
    /// It broke.
    Internal,
}

/// A command was not done, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which kind.
    pub code: Code,
    /// The cause in one line, with the offending value (never a secret).
    pub message: String,
    /// What to do next; may be empty.
    pub remedy: String,
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: String::new() }
    }

    /// With where to look for what is not there.
    pub fn or_else_see(self, list: &str) -> Self {
        if self.code == Code::NotFound { self.remedy(list) } else { self }
    }

    /// With what to do next.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}
