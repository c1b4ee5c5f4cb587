//! What a node that is short of disk still takes: what ends access or gives room back. Its records
//! are small, and few can be written without having been granted something before. So a revocation
//! is not refused because somebody filled the disk.
//!
//! Invariant: whoever has no account cannot make the node write while it is short: an event alone
//! (a failed login) is not admitted.

use std::sync::Arc;

use crate::model::change::{AuthChange, Change, LogChange, TokenChange, UserChange};

/// The room on disk is short.
#[derive(Clone, Debug)]
pub struct Short {
    /// Whether what takes away is still taken; below the hard floor nothing is, so that the journal
    /// never meets a full disk and the node can come back by itself.
    pub reserve: bool,
    /// For the operator.
    pub reason: Arc<str>,
}

impl Short {
    pub(super) fn admits(&self, changes: &[Change]) -> bool {
        let weights = || changes.iter().map(weight);
        changes.is_empty()
            || self.reserve
                && weights().all(|it| it != Weight::Grants)
                && weights().any(|it| it == Weight::TakesAway)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Ends access, or gives room back.
    TakesAway,
    /// Goes along with what takes away, and is not admitted alone.
    GoesAlong,
    /// Opens access, or stores what somebody sends.
    Grants,
}

const fn weight(change: &Change) -> Weight {
    match change {
        Change::Auth(change) => auth(change),
        Change::User(UserChange::DocumentDeleted { .. } | UserChange::UserErased { .. })
        | Change::Log(LogChange::HeadSigned(_) | LogChange::Pruned(_) | LogChange::SubjectKeyErased { .. })
        | Change::Token(
            TokenChange::SessionEnded { .. }
            | TokenChange::Revoked(_)
            | TokenChange::Banned(_)
            | TokenChange::Unbanned { .. }
            | TokenChange::RevocationsForgotten { .. },
        ) => Weight::TakesAway,
        Change::Log(LogChange::Event(_) | LogChange::SealedEvent(_) | LogChange::SubjectKeyAdded { .. }) => {
            Weight::GoesAlong
        }
        Change::User(UserChange::DocumentPut(_) | UserChange::ProfileSet(_))
        | Change::Token(TokenChange::SessionOpened(_) | TokenChange::SessionRotated(_)) => Weight::Grants,
    }
}

const fn auth(change: &AuthChange) -> Weight {
    match change {
        AuthChange::StatusSet { .. }
        | AuthChange::AccountDeleted { .. }
        | AuthChange::InviteRemoved { .. }
        | AuthChange::KeyStateSet { .. } => Weight::TakesAway,
        // A password changed because it was stolen, a key replaced because it leaked.
        AuthChange::PasswordSet { .. } | AuthChange::RolesSet { .. } | AuthChange::KeyAdded(_) => {
            Weight::GoesAlong
        }
        AuthChange::AccountCreated(_) | AuthChange::InviteCreated(_) | AuthChange::NameSet { .. } => {
            Weight::Grants
        }
    }
}
