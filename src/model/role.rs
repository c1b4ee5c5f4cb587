//! Roles: short lower-case names that an operator chooses. `admin` is the one Keepgate itself knows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A role's name: 1–32 of `a-z 0-9 - _ . :`, starting with a letter. It goes into a
/// comma-separated header and a JWT claim, hence the narrow alphabet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(String);

/// The text is not a role's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a role: use 1 to 32 of a-z, 0-9, '-', '_', '.', ':', starting with a letter")]
pub struct InvalidRole(pub String);

impl Role {
    /// The role that may administer Keepgate.
    pub fn admin() -> Self {
        Self("admin".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the administrators' role.
    pub fn is_admin(&self) -> bool {
        self.0 == "admin"
    }
}

impl FromStr for Role {
    type Err = InvalidRole;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:".contains(&b);
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if starts && text.len() <= 32 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRole(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Role {
    type Error = InvalidRole;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
