//! Words about certificates that command line and edge share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which side of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Who is connected to.
    Server,
    /// Who connects.
    Client,
}

/// What a certificate can name: a DNS name in lower case and ASCII, perhaps with `*` for its first label, or an IP
/// address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectName(String);

/// Neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a DNS name in ASCII, such as app.internal or *.app.internal, or an IP address, without port")]
pub struct NotASubjectName;

impl SubjectName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for many names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl FromStr for SubjectName {
    type Err = NotASubjectName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let name = text.to_ascii_lowercase();
        let (wild, labels) = name.strip_prefix("*.").map_or((false, &*name), |rest| (true, rest));
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What ends in a number is a miswritten address; a star before one label would be a whole top level.
        let last = labels.rsplit('.').next().unwrap_or_default();
        let good = name.len() <= 253
            && labels.split('.').all(label)
            && !last.bytes().all(|byte| byte.is_ascii_digit())
            && (!wild || labels.contains('.'));
        if good { Ok(Self(name)) } else { Err(NotASubjectName) }
    }
}

impl TryFrom<String> for SubjectName {
    type Error = NotASubjectName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SubjectName> for String {
    fn from(name: SubjectName) -> Self {
        name.0
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a certificate is revoked: those of RFC 5280 §5.3.1 that its owner may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The owner's name has changed.
    AffiliationChanged,
    /// Another has taken its place.
    Superseded,
    /// The names are no longer used.
    CessationOfOperation,
}

impl RevocationReason {
    /// All of them with their words.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("unspecified", Self::Unspecified),
        ("key-compromise", Self::KeyCompromise),
        ("affiliation-changed", Self::AffiliationChanged),
        ("superseded", Self::Superseded),
        ("cessation-of-operation", Self::CessationOfOperation),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_host_a_wildcard_or_an_address_and_nothing_else() {
        for (text, name) in [
            ("app", "app"),
            ("App.Internal", "app.internal"),
            ("*.app.internal", "*.app.internal"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.0.0.7", "10.0.0.7"),
            ("::0001", "::1"),
        ] {
            assert_eq!(text.parse::<SubjectName>().unwrap().as_str(), name);
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["abcdefgh."; 29].concat() + "de";
        for bad in [
            "",
            ".",
            "*",
            "*.com",
            "a.*.b",
            "*.*.b.c",
            "a*.b.c",
            "a..b",
            "a.",
            ".a",
            "-a.b",
            "a-.b",
            "a_b",
            "a b",
            "a/b",
            "a:1",
            "[::1]",
            "10.0.0",
            "10.0.0.256",
            "a.1",
            "b\u{fc}cher.example",
            "a\0",
            "a\n",
            "https://a",
            &long,
            &longer,
        ] {
            assert_eq!(bad.parse::<SubjectName>(), Err(NotASubjectName), "{bad}");
        }
        assert!(serde_json::from_str::<SubjectName>("\"a b\"").is_err());
    }
}
