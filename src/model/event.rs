//! Audit events: every security decision as a typed fact, and the hash that chains them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::caller::Actor;
use super::id::{AccountId, EventId, RequestId, Seq};
use super::time::Timestamp;

/// What was intended. The name is stable: operators search and alert on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Create an account.
    Register,
    /// Open a session with a password.
    Login,
    /// Exchange a refresh token.
    Refresh,
    /// Present a refresh token that was exchanged before: the family ends.
    RefreshReuse,
    /// End one session.
    Logout,
    /// End every session of an account.
    LogoutAll,
    /// Change a password.
    PasswordChange,
    /// End a session by id.
    SessionRevoke,
    /// Pass the edge to something that wants a token.
    Access,
    /// Create an account as an administrator.
    AccountCreate,
    /// Disable an account.
    AccountDisable,
    /// Enable an account.
    AccountEnable,
    /// Delete an account.
    AccountDelete,
    /// Change an account's roles.
    RolesChange,
    /// Make an invitation.
    InviteCreate,
    /// Withdraw an invitation.
    InviteRevoke,
    /// Make a signing key.
    KeyCreate,
    /// Let the next signing key sign.
    KeyRotate,
    /// Take a signing key out of use.
    KeyRetire,
    /// Ban an address.
    BlacklistAdd,
    /// Lift a ban.
    BlacklistRemove,
    /// Start the node.
    Start,
    /// Stop the node.
    Stop,
    /// Put another configuration in place.
    Reload,
    /// Forget the failed password tries at an account.
    ThrottleClear,
    /// Take accounts elsewhere.
    AccountExport,
    /// Drop the oldest records of the audit log.
    AuditPrune,
    /// Look at somebody else's data. The target is whose, the reason what.
    DataRead,
    /// Begin the witness file anew.
    WitnessRenew,
    /// Have a certificate issued by a CA. The target is its first name; of the node's own CA, each of its names in an
    /// event of its own, and in another its serial number and until when it is good.
    CertificateIssue,
    /// Have a certificate revoked by its CA. The target is its first name.
    CertificateRevoke,
    /// Take an application server out of service. The target is its group and its address.
    UpstreamDrain,
    /// Let it in again. The target likewise.
    UpstreamUndrain,
    /// Have another process take over. The target is its process id.
    Restart,
    /// Make the node's own CA. The target is its name and its fingerprint.
    CaCreate,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Granted,
    /// Refused by a rule; `reason` says which.
    Denied,
    /// Could not be decided or done.
    Failed,
}

/// One event, without its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its id.
    pub id: EventId,
    /// When it was decided.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    pub address: Option<IpAddr>,
    /// What was intended.
    pub intent: Intent,
    /// How it ended.
    pub outcome: Outcome,
    /// To what: an account id, a session id, a route, an address; may be empty.
    pub target: String,
    /// A stable word for why (`wrong_password`, `expired`, …); may be empty.
    pub reason: String,
    /// The request it belongs to, if any.
    pub request: Option<RequestId>,
    /// How many like it this one stands for: 1, or more where a flood was folded.
    pub count: u32,
}

/// What of an event is about a person, encrypted under a key of theirs: erasing the key erases it,
/// and the chain, which covers the ciphertext, stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Whose key.
    pub subject: AccountId,
    /// Nonce, ciphertext and tag; empty if the subject had been erased before the event.
    pub text: Vec<u8>,
}

/// An event with its personal fields sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEvent {
    /// The event without what is sealed: its `address` is none.
    pub event: AuditEvent,
    /// The rest.
    pub seal: Seal,
}

/// How the personal fields of an event that was read stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    /// They are there.
    Open,
    /// They were erased with their account.
    Erased,
    /// They are there, but no key of ours opens them: the master key is another, or the record was
    /// changed.
    Locked,
}

/// The chain begins after this record: it and those before it were dropped for their age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Index of the last record dropped; a signed head speaks of it.
    pub through: u64,
    /// The bundle it was committed in.
    pub seq: Seq,
    /// Its hash: the chain goes on from it.
    pub hash: ChainHash,
    /// When it was dropped.
    pub at: Timestamp,
}

/// A hash in the audit chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// Lower-case hexadecimal.
    pub fn hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// A signed statement that the chain had `count` records and ended in `hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Records in the chain.
    pub count: u64,
    /// Hash of the last of them.
    pub hash: ChainHash,
    /// When it was signed.
    pub at: Timestamp,
    /// Ed25519 over the fields above; see `audit::head`.
    pub signature: Vec<u8>,
}

impl ChainHash {
    /// The hash of the record that follows the one with this hash.
    ///
    /// BLAKE3 in its key-derivation mode over `self ‖ index ‖ seq ‖ payload` (integers little-endian).
    pub fn next(self, index: u64, seq: Seq, payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("keepgate 2026 audit chain v1");
        hasher.update(&self.0).update(&index.to_le_bytes());
        hasher.update(&seq.0.to_le_bytes()).update(payload);
        Self(*hasher.finalize().as_bytes())
    }
}
