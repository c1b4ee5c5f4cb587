//! Who is asking, and from where: what the edge hands to the API and the API to the services.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::id::{AccountId, RequestId, SessionId, TokenId};
use super::role::Role;
use super::time::Timestamp;

/// Where a request came from. Made by the edge (or by the control socket), believed by the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The request's id, `X-Request-Id` on the way out.
    pub request: RequestId,
    /// The client's address after trusted proxies were peeled off; `None` for the local console.
    pub address: Option<IpAddr>,
    /// The `User-Agent`, cut to 200 bytes; may be empty.
    pub user_agent: String,
}

/// The number that stands for a client: its IPv4 address, or its IPv6 /64, which is what one customer
/// gets (RFC 6177).
pub fn client_number(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() & (u128::MAX << 64),
    }
}

/// A caller whose access token was verified: the claims the services act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The account (`sub`).
    pub account: AccountId,
    /// The session (`sid`).
    pub session: SessionId,
    /// This token (`jti`).
    pub token: TokenId,
    /// Its roles when the token was granted.
    pub roles: Vec<Role>,
    /// Its scopes, separated by spaces (RFC 8693 §4.2); may be empty.
    pub scope: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// A token was sent and did not verify, on a route that lets such requests pass as anonymous: so that
/// the API can say `invalid_token` instead of asking for a token (RFC 6750 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedToken {
    /// Why, in the verifier's words, which the edge uses too: `the token was revoked` …
    pub reason: String,
}

/// Who did it, as the audit log names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Nobody proved to be anybody.
    Anonymous,
    /// An account, by a verified token or password.
    Account(AccountId),
    /// A person at the console, by user id of the control socket's peer or of the process.
    Console(u32),
    /// Keepgate itself, by the clock.
    System,
}
