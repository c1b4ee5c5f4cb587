//! The claims of a profile: which there are (a few of OpenID Connect Core §5.1), and what each may
//! hold. The e-mail address, the name and the roles are the account's, not claims.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::account;

/// Longest URL, bytes.
const LONGEST_URL: usize = 2048;
/// Longest language tag, bytes: what RFC 5646 §4.4.1 asks to make room for.
const LONGEST_LOCALE: usize = 35;
/// Longest name of a time zone, bytes.
const LONGEST_ZONE: usize = 64;

/// A claim that a profile can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// `given_name`
    GivenName,
    /// `family_name`
    FamilyName,
    /// `nickname`
    Nickname,
    /// `picture`: an https URL.
    Picture,
    /// `website`: an https URL.
    Website,
    /// `zoneinfo`: a name of the time zone database.
    Zoneinfo,
    /// `locale`: a language tag (BCP 47).
    Locale,
}

/// What is wrong with a claim's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// A stable word.
    pub code: &'static str,
    /// What would be right.
    pub detail: String,
}

impl BadValue {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl Claim {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::GivenName,
        Self::FamilyName,
        Self::Nickname,
        Self::Picture,
        Self::Website,
        Self::Zoneinfo,
        Self::Locale,
    ];

    /// Its name in OpenID Connect, and here.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GivenName => "given_name",
            Self::FamilyName => "family_name",
            Self::Nickname => "nickname",
            Self::Picture => "picture",
            Self::Website => "website",
            Self::Zoneinfo => "zoneinfo",
            Self::Locale => "locale",
        }
    }

    /// The value as it is kept.
    ///
    /// # Errors
    /// If the claim cannot have it.
    pub fn check(self, value: &str) -> Result<String, BadValue> {
        if value.trim().is_empty() {
            return Err(BadValue::new("empty", "write null to remove it"));
        }
        match self {
            Self::GivenName | Self::FamilyName | Self::Nickname => {
                account::name(value).map_err(|error| BadValue::new(error.code(), error.to_string()))
            }
            Self::Picture | Self::Website => url(value),
            Self::Zoneinfo => zone(value),
            Self::Locale => locale(value),
        }
    }
}

/// Only https: applications put these into pages, where `javascript:` would run and `http:` would
/// tell the network who is looking.
fn url(value: &str) -> Result<String, BadValue> {
    if value.len() > LONGEST_URL {
        return Err(BadValue::new("too_long", format!("use at most {LONGEST_URL} bytes")));
    }
    let graphic = value.bytes().all(|byte| byte.is_ascii_graphic() && !br#"<>"\^`{|}"#.contains(&byte));
    let uri = value.parse::<http::Uri>().ok().filter(|uri| {
        let host = uri.host().unwrap_or_default();
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        uri.scheme_str() == Some("https") && is_host(host) && !user
    });
    match uri {
        Some(_) if graphic => Ok(value.to_owned()),
        _ => Err(BadValue::new("invalid", "use an https URL such as https://example.com/ada.png")),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    host.parse::<Ipv4Addr>().is_ok() || idna::domain_to_ascii_strict(host).is_ok_and(|host| !host.is_empty())
}

/// By its form only: which names there are changes with the database, and an application may have a
/// newer one.
fn zone(value: &str) -> Result<String, BadValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte);
    let part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) && part.bytes().all(plain)
    };
    if value.len() <= LONGEST_ZONE && value.split('/').all(part) {
        return Ok(value.to_owned());
    }
    Err(BadValue::new("invalid", "use a name of the time zone database such as Europe/Zurich"))
}

/// By its form only (RFC 5646 §2.1): subtags of 1 to 8 letters and digits, the first of letters.
fn locale(value: &str) -> Result<String, BadValue> {
    let subtag = |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric());
    let language = value.split('-').next().unwrap_or_default();
    let is_language = language.len() >= 2 && language.bytes().all(|byte| byte.is_ascii_alphabetic());
    if value.len() <= LONGEST_LOCALE && is_language && value.split('-').all(subtag) {
        return Ok(value.to_owned());
    }
    Err(BadValue::new("invalid", "use a language tag (BCP 47) such as de-CH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_takes_what_it_is_for() {
        let good = [
            (Claim::GivenName, " Ada ", "Ada"),
            (Claim::FamilyName, "de l'Hôpital", "de l'Hôpital"),
            (Claim::Nickname, "阿达", "阿达"),
            (Claim::Picture, "https://example.com/ada.png?s=64", "https://example.com/ada.png?s=64"),
            (Claim::Website, "https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443/"),
            (Claim::Website, "https://192.0.2.7", "https://192.0.2.7"),
            (Claim::Zoneinfo, "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            (Claim::Zoneinfo, "Etc/GMT+12", "Etc/GMT+12"),
            (Claim::Locale, "zh-Hant-TW", "zh-Hant-TW"),
        ];
        for (claim, value, kept) in good {
            assert_eq!(claim.check(value).unwrap(), kept, "{claim:?}");
        }
    }

    #[test]
    fn and_nothing_that_could_hurt_who_shows_it() {
        let long = format!("https://example.com/{}", "x".repeat(2048));
        let bad = [
            (Claim::GivenName, "", "empty"),
            (Claim::Locale, " ", "empty"),
            (Claim::Nickname, "a\u{1b}[2J", "invalid"),
            (Claim::Nickname, &"x".repeat(101), "too_long"),
            (Claim::Picture, "javascript:alert(1)", "invalid"),
            (Claim::Picture, "http://example.com/a.png", "invalid"),
            (Claim::Picture, "https://", "invalid"),
            (Claim::Picture, "https://user:pw@example.com/", "invalid"),
            (Claim::Picture, "https://exa mple.com/", "invalid"),
            (Claim::Picture, "https://example.com/\"onload=x", "invalid"),
            (Claim::Picture, "/ada.png", "invalid"),
            (Claim::Picture, &long, "too_long"),
            (Claim::Zoneinfo, "Europe//Zurich", "invalid"),
            (Claim::Zoneinfo, "../../etc/passwd", "invalid"),
            (Claim::Zoneinfo, "/etc/localtime", "invalid"),
            (Claim::Locale, "de_CH", "invalid"),
            (Claim::Locale, "x", "invalid"),
            (Claim::Locale, "de-", "invalid"),
        ];
        for (claim, value, code) in bad {
            assert_eq!(claim.check(value).unwrap_err().code, code, "{claim:?} {value:?}");
        }
    }
}
