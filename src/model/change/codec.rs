//! A change as bytes: its kind, a number that is never reused, and its payload in postcard.
//!
//! Deliberately not a derive over the enums: their variant order would become the format, and a
//! variant put in the middle would silently change what old journals mean. Here every kind is
//! written down once, and the payload is the variant's fields in order. It keeps this invariant:
//! whatever bytes come in, decoding ends in a value or an error, and bytes that are left over are
//! an error. What was decoded is encoded in one way, but may have been written in several (postcard
//! takes a number with needless bytes), so nothing may hang on a payload's bytes being the only ones.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AuthChange, Change, LogChange, TokenChange, UserChange};

/// The bytes are not a change that this binary can read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// Written by a newer Keepgate.
    #[error("a change of kind {kind} is unknown to this binary")]
    UnknownKind {
        /// The number found.
        kind: u16,
    },
    /// The payload is not what its kind says.
    #[error("a change of kind {kind} cannot be read: {detail}")]
    Malformed {
        /// The number found.
        kind: u16,
        /// What the decoder said; carries nothing of the payload.
        detail: String,
    },
}

/// The numbers on disk. A hundred for each namespace.
mod number {
    pub(super) const ACCOUNT_CREATED: u16 = 101;
    pub(super) const PASSWORD_SET: u16 = 102;
    pub(super) const ROLES_SET: u16 = 103;
    pub(super) const STATUS_SET: u16 = 104;
    pub(super) const ACCOUNT_DELETED: u16 = 105;
    pub(super) const INVITE_CREATED: u16 = 106;
    pub(super) const INVITE_REMOVED: u16 = 107;
    pub(super) const KEY_ADDED: u16 = 108;
    pub(super) const KEY_STATE_SET: u16 = 109;
    pub(super) const NAME_SET: u16 = 110;
    pub(super) const DOCUMENT_PUT: u16 = 201;
    pub(super) const DOCUMENT_DELETED: u16 = 202;
    pub(super) const USER_ERASED: u16 = 203;
    pub(super) const PROFILE_SET: u16 = 204;
    pub(super) const EVENT: u16 = 301;
    pub(super) const HEAD_SIGNED: u16 = 302;
    pub(super) const SUBJECT_KEY_ADDED: u16 = 303;
    pub(super) const SUBJECT_KEY_ERASED: u16 = 304;
    pub(super) const SEALED_EVENT: u16 = 305;
    pub(super) const PRUNED: u16 = 306;
    pub(super) const SESSION_OPENED: u16 = 401;
    pub(super) const SESSION_ROTATED: u16 = 402;
    pub(super) const SESSION_ENDED: u16 = 403;
    pub(super) const REVOKED: u16 = 404;
    pub(super) const BANNED: u16 = 405;
    pub(super) const UNBANNED: u16 = 406;
    pub(super) const REVOCATIONS_FORGOTTEN: u16 = 407;
}

/// The change's number on disk.
pub const fn kind(change: &Change) -> u16 {
    match change {
        Change::Auth(change) => match change {
            AuthChange::AccountCreated(_) => number::ACCOUNT_CREATED,
            AuthChange::PasswordSet { .. } => number::PASSWORD_SET,
            AuthChange::RolesSet { .. } => number::ROLES_SET,
            AuthChange::StatusSet { .. } => number::STATUS_SET,
            AuthChange::AccountDeleted { .. } => number::ACCOUNT_DELETED,
            AuthChange::InviteCreated(_) => number::INVITE_CREATED,
            AuthChange::InviteRemoved { .. } => number::INVITE_REMOVED,
            AuthChange::KeyAdded(_) => number::KEY_ADDED,
            AuthChange::KeyStateSet { .. } => number::KEY_STATE_SET,
            AuthChange::NameSet { .. } => number::NAME_SET,
        },
        Change::User(change) => match change {
            UserChange::DocumentPut(_) => number::DOCUMENT_PUT,
            UserChange::DocumentDeleted { .. } => number::DOCUMENT_DELETED,
            UserChange::UserErased { .. } => number::USER_ERASED,
            UserChange::ProfileSet(_) => number::PROFILE_SET,
        },
        Change::Log(change) => match change {
            LogChange::Event(_) => number::EVENT,
            LogChange::HeadSigned(_) => number::HEAD_SIGNED,
            LogChange::SubjectKeyAdded { .. } => number::SUBJECT_KEY_ADDED,
            LogChange::SubjectKeyErased { .. } => number::SUBJECT_KEY_ERASED,
            LogChange::SealedEvent(_) => number::SEALED_EVENT,
            LogChange::Pruned(_) => number::PRUNED,
        },
        Change::Token(change) => match change {
            TokenChange::SessionOpened(_) => number::SESSION_OPENED,
            TokenChange::SessionRotated(_) => number::SESSION_ROTATED,
            TokenChange::SessionEnded { .. } => number::SESSION_ENDED,
            TokenChange::Revoked(_) => number::REVOKED,
            TokenChange::Banned(_) => number::BANNED,
            TokenChange::Unbanned { .. } => number::UNBANNED,
            TokenChange::RevocationsForgotten { .. } => number::REVOCATIONS_FORGOTTEN,
        },
    }
}

/// Appends the change's payload; its [`kind`] is kept beside it, not in it.
pub fn encode(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Auth(change) => match change {
            AuthChange::AccountCreated(account) => put(account, out),
            AuthChange::PasswordSet { account, password, at } => put(&(account, password, at), out),
            AuthChange::RolesSet { account, roles } => put(&(account, roles), out),
            AuthChange::StatusSet { account, status } => put(&(account, status), out),
            AuthChange::AccountDeleted { account } => put(account, out),
            AuthChange::InviteCreated(invite) => put(invite, out),
            AuthChange::InviteRemoved { invite } => put(invite, out),
            AuthChange::KeyAdded(key) => put(key, out),
            AuthChange::KeyStateSet { key, state, at } => put(&(key, state, at), out),
            AuthChange::NameSet { account, name } => put(&(account, name), out),
        },
        Change::User(change) => match change {
            UserChange::DocumentPut(document) => put(document, out),
            UserChange::DocumentDeleted { account, key } => put(&(account, key), out),
            UserChange::UserErased { account } => put(account, out),
            UserChange::ProfileSet(profile) => put(profile, out),
        },
        Change::Log(change) => match change {
            LogChange::Event(event) => put(event, out),
            LogChange::HeadSigned(head) => put(head, out),
            LogChange::SubjectKeyAdded { account, sealed } => put(&(account, sealed), out),
            LogChange::SubjectKeyErased { account } => put(account, out),
            LogChange::SealedEvent(event) => put(event, out),
            LogChange::Pruned(pruned) => put(pruned, out),
        },
        Change::Token(change) => match change {
            TokenChange::SessionOpened(session) | TokenChange::SessionRotated(session) => put(session, out),
            TokenChange::SessionEnded { session, account } => put(&(session, account), out),
            TokenChange::Revoked(revocation) => put(revocation, out),
            TokenChange::Banned(ban) => put(ban, out),
            TokenChange::Unbanned { network } => put(network, out),
            TokenChange::RevocationsForgotten { before } => put(before, out),
        },
    }
}

/// The change of that kind and payload.
///
/// # Errors
/// [`CodecError::UnknownKind`] for a number this binary does not know, [`CodecError::Malformed`]
/// for bytes that are not exactly one payload of that kind.
pub fn decode(kind: u16, payload: &[u8]) -> Result<Change, CodecError> {
    let take = Payload { kind, bytes: payload };
    Ok(match kind {
        number::ACCOUNT_CREATED => AuthChange::AccountCreated(take.all()?).into(),
        number::PASSWORD_SET => {
            let (account, password, at) = take.all()?;
            AuthChange::PasswordSet { account, password, at }.into()
        }
        number::ROLES_SET => {
            let (account, roles) = take.all()?;
            AuthChange::RolesSet { account, roles }.into()
        }
        number::STATUS_SET => {
            let (account, status) = take.all()?;
            AuthChange::StatusSet { account, status }.into()
        }
        number::ACCOUNT_DELETED => AuthChange::AccountDeleted { account: take.all()? }.into(),
        number::INVITE_CREATED => AuthChange::InviteCreated(take.all()?).into(),
        number::INVITE_REMOVED => AuthChange::InviteRemoved { invite: take.all()? }.into(),
        number::KEY_ADDED => AuthChange::KeyAdded(take.all()?).into(),
        number::KEY_STATE_SET => {
            let (key, state, at) = take.all()?;
            AuthChange::KeyStateSet { key, state, at }.into()
        }
        number::NAME_SET => {
            let (account, name) = take.all()?;
            AuthChange::NameSet { account, name }.into()
        }
        number::DOCUMENT_PUT => UserChange::DocumentPut(take.all()?).into(),
        number::DOCUMENT_DELETED => {
            let (account, key) = take.all()?;
            UserChange::DocumentDeleted { account, key }.into()
        }
        number::USER_ERASED => UserChange::UserErased { account: take.all()? }.into(),
        number::PROFILE_SET => UserChange::ProfileSet(take.all()?).into(),
        number::EVENT => LogChange::Event(take.all()?).into(),
        number::HEAD_SIGNED => LogChange::HeadSigned(take.all()?).into(),
        number::SUBJECT_KEY_ADDED => {
            let (account, sealed) = take.all()?;
            LogChange::SubjectKeyAdded { account, sealed }.into()
        }
        number::SUBJECT_KEY_ERASED => LogChange::SubjectKeyErased { account: take.all()? }.into(),
        number::SEALED_EVENT => LogChange::SealedEvent(take.all()?).into(),
        number::PRUNED => LogChange::Pruned(take.all()?).into(),
        number::SESSION_OPENED => TokenChange::SessionOpened(take.all()?).into(),
        number::SESSION_ROTATED => TokenChange::SessionRotated(take.all()?).into(),
        number::SESSION_ENDED => {
            let (session, account) = take.all()?;
            TokenChange::SessionEnded { session, account }.into()
        }
        number::REVOKED => TokenChange::Revoked(take.all()?).into(),
        number::BANNED => TokenChange::Banned(take.all()?).into(),
        number::UNBANNED => TokenChange::Unbanned { network: take.all()? }.into(),
        number::REVOCATIONS_FORGOTTEN => TokenChange::RevocationsForgotten { before: take.all()? }.into(),
        kind => return Err(CodecError::UnknownKind { kind }),
    })
}

#[expect(
    clippy::expect_used,
    reason = "writing to memory cannot fail, and postcard refuses only sequences of unknown length, \
    which no change holds; the golden test encodes every kind"
)]
fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    *out = postcard::to_extend(value, std::mem::take(out)).expect("a change is encodable");
}

struct Payload<'a> {
    kind: u16,
    bytes: &'a [u8],
}

impl Payload<'_> {
    fn all<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        let malformed = |detail: String| CodecError::Malformed { kind: self.kind, detail };
        let (value, rest) =
            postcard::take_from_bytes(self.bytes).map_err(|error| malformed(error.to_string()))?;
        if rest.is_empty() { Ok(value) } else { Err(malformed(format!("{} bytes too many", rest.len()))) }
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
