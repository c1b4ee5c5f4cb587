//! Identifiers. Every id is a UUIDv7 (RFC 9562 §5.7): sortable by creation, made from the `Clock`
//! and `Rng` given, never from globals. `Seq` is a position in the journal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::random::Rng;
use super::time::Timestamp;

/// A position in the journal: the number of the bundle committed there, counted from 1.
/// `Seq(0)` is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text was not an id of the kind asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not an id: expected a UUID like 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct InvalidId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id: 48 bits of `now`, the rest random.
            pub fn new(now: Timestamp, rng: &dyn Rng) -> Self {
                Self(uuid_v7(now, rng))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }
    )+};
}

ids! {
    /// An account; the `sub` of its tokens.
    AccountId,
    /// A session, which is one refresh-token family; the `sid` of its access tokens.
    SessionId,
    /// One access token; its `jti`.
    TokenId,
    /// One audit event.
    EventId,
    /// One request as the edge saw it; `X-Request-Id` and the `instance` of problem details.
    RequestId,
    /// One invitation to register.
    InviteId,
}

fn uuid_v7(now: Timestamp, rng: &dyn Rng) -> Uuid {
    let mut random = [0_u8; 10];
    rng.fill(&mut random);
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
