//! Revocations: the facts that end access before its tokens expire. "Before" is a position in the
//! journal, not a time: a token carries the `seq` whose state it speaks of, so whether it was
//! granted before or after a revocation never hangs on clocks or on a shared millisecond.

use serde::{Deserialize, Serialize};

use super::id::{AccountId, SessionId, TokenId};
use super::key::KeyId;
use super::time::Timestamp;

/// What is revoked. Where a position is meant it is the `seq` of the bundle that carries the
/// record: every token that speaks of an earlier state is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedSubject {
    /// One access token.
    Token(TokenId),
    /// Every token of a session.
    Session(SessionId),
    /// Every token of an account granted before this record.
    Account(AccountId),
    /// Every token signed with a key, whenever granted.
    Key(KeyId),
    /// Every token granted before this record.
    Everything,
}

/// Why. Shown to operators and sent along the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationCause {
    /// The owner logged out of one session.
    Logout,
    /// The owner logged out everywhere.
    LogoutAll,
    /// The password was changed or reset.
    PasswordChanged,
    /// The account's roles changed; its next refresh carries the new ones.
    RolesChanged,
    /// The account was disabled.
    AccountDisabled,
    /// The account was deleted.
    AccountDeleted,
    /// A refresh token was presented again after its exchange.
    RefreshTokenReused,
    /// An administrator ended it.
    Administrator,
    /// The signing key was compromised.
    KeyCompromised,
    /// The stores were restored to an earlier state.
    Restored,
    /// The account had as many sessions as it may: its least recently used one made room.
    SessionLimit,
}

/// One revocation. Its position is that of the bundle it was committed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is revoked.
    pub subject: RevokedSubject,
    /// Why.
    pub cause: RevocationCause,
    /// When.
    pub at: Timestamp,
    /// When every token it can affect has expired, so that the record may go.
    pub expires_at: Timestamp,
}
