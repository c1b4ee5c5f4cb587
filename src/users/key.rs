//! A document's key: a name that means the same in a URL's path, in a shell and in a file's name,
//! without any escaping.

use std::fmt;
use std::str::FromStr;

/// 1 to 128 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit. Case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey(String);

/// The text is not a document's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit")]
pub struct InvalidKey;

impl DocumentKey {
    /// The rule as a regular expression (ECMA-262): what the API's description must say.
    #[cfg(test)]
    pub const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
    /// Longest key, bytes.
    pub const LONGEST: usize = 128;

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DocumentKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if starts && text.len() <= Self::LONGEST && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey)
        }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_keys_and_nothing_else_is() {
        for key in ["a", "7", "settings.v2", "Draft_2026-11-22", &"k".repeat(128)] {
            assert_eq!(key.parse::<DocumentKey>().unwrap().as_str(), key);
        }
        for text in ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ü", "a\0", "a%2f", &"k".repeat(129)] {
            assert_eq!(text.parse::<DocumentKey>(), Err(InvalidKey), "{text:?}");
        }
    }
}
