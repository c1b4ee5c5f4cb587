//! E-mail addresses, normalised by one rule: surrounding white space is dropped, the domain becomes
//! its lower-case ASCII (IDNA) form, and the local part is lower-cased. Two spellings that
//! normalise alike are one account. Dots and `+tags` are kept: they are the provider's business
//! (RFC 5321 §2.3.11). Quoted local parts, comments and address literals are refused.

use std::fmt;
use std::str::FromStr;

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Serialize};

/// A normalised address, at most 254 bytes (RFC 5321 §4.5.3.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

/// The text is not an address that Keepgate accepts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an e-mail address like name@example.com")]
pub struct InvalidEmail;

impl Email {
    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (local, domain) = text.trim().rsplit_once('@').ok_or(InvalidEmail)?;
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| InvalidEmail)?;
        let normal = format!("{}@{domain}", local.to_lowercase());
        let options = Options::default().without_domain_literal().without_display_text();
        let valid = EmailAddress::parse_with_options(&normal, options).is_ok();
        let plain = !local.contains(['"', '(', ')', '\\']);
        if valid && plain && normal.len() <= 254 { Ok(Self(normal)) } else { Err(InvalidEmail) }
    }
}

impl TryFrom<String> for Email {
    type Error = InvalidEmail;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_become_one() {
        for text in ["Ada@Example.COM", " ada@example.com ", "ADA@EXAMPLE.com"] {
            assert_eq!(text.parse::<Email>().unwrap().as_str(), "ada@example.com");
        }
        assert_eq!("x@bücher.example".parse::<Email>().unwrap().as_str(), "x@xn--bcher-kva.example");
    }

    #[test]
    fn what_is_not_a_plain_address_is_refused() {
        for text in [
            "",
            "ada",
            "@x.com",
            "ada@",
            "a b@x.com",
            "\"a\"@x.com",
            "a@[1.2.3.4]",
            "a@x\n.com",
            "a@x..com",
            "Ada <ada@x.com>",
            "a@b@c.com",
            "a\0@x.com",
        ] {
            assert_eq!(text.parse::<Email>(), Err(InvalidEmail), "{text:?}");
        }
    }
}
