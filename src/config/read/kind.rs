//! Kinds of values: each turns a node into a Rust value or says what is wrong and what to write.
//!
//! A kind knows nothing of the key it is read for, and never reports: the section does, which knows
//! whether the value may be shown.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::tree::{Node, Value};
use crate::config::problem::Place;

/// Why a value does not do.
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) value: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// What a kind makes of a node; a list can be wrong in several items.
pub(super) type Read<T> = Result<T, Vec<Wrong>>;

/// Refuses a node.
pub(super) fn wrong<T>(node: &Node, message: impl Into<String>, remedy: impl Into<String>) -> Read<T> {
    let (place, value) = (node.place.clone(), node.shown());
    Err(vec![Wrong { place, value, message: message.into(), remedy: remedy.into() }])
}

/// Any text but the empty one, at most 1,024 bytes, no control characters.
pub(super) fn text(node: &Node) -> Read<String> {
    match &node.value {
        Value::Text(text) | Value::Loose(text)
            if !text.is_empty() && text.len() <= 1024 && !text.contains(char::is_control) =>
        {
            Ok(text.clone())
        }
        _ => wrong(node, "is not a usable text", "write 1 to 1024 characters in quotes"),
    }
}

/// `true` or `false`.
pub(super) fn flag(node: &Node) -> Read<bool> {
    match &node.value {
        Value::Flag(flag) => Ok(*flag),
        Value::Loose(text) if text == "true" => Ok(true),
        Value::Loose(text) if text == "false" => Ok(false),
        _ => wrong(node, "is not true or false", "write true or false, without quotes"),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn count<T>(least: T, most: T) -> impl Fn(&Node) -> Read<T>
where
    T: TryFrom<i64> + PartialOrd + Display + Copy,
{
    move |node| {
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Loose(text) => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) if number >= least && number <= most => Ok(number),
            _ if number.is_some() => {
                wrong(node, "is out of range", format!("write a number from {least} to {most}"))
            }
            _ => wrong(node, "is not a whole number", format!("write a number from {least} to {most}")),
        }
    }
}

/// A duration such as `"10s"`, `"5m"`, `"1h 30m"`, `"30d"`.
pub(super) fn duration(least: Duration, most: Duration) -> impl Fn(&Node) -> Read<Duration> {
    move |node| {
        let bounds = || format!("from {} to {}", span(least), span(most));
        let parsed = match &node.value {
            Value::Text(text) | Value::Loose(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match parsed {
            Some(duration) if duration >= least && duration <= most => Ok(duration),
            Some(_) => wrong(node, "is out of range", format!("write a duration {}", bounds())),
            None => wrong(
                node,
                "is not a duration",
                format!(
                    "write a number with a unit in quotes, such as \"10s\", \"5m\" or \"30d\", {}",
                    bounds()
                ),
            ),
        }
    }
}

/// A duration as one would write it: whole days, hours, minutes, seconds or milliseconds.
pub(super) fn span(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    match unit {
        Some((size, name)) => format!("{}{name}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Bytes: a number, or text with a unit such as `"10MiB"`.
pub(super) fn size<T>(least: T, most: T) -> impl Fn(&Node) -> Read<T>
where
    T: TryFrom<u64> + TryInto<u64> + PartialOrd + Copy,
{
    move |node| {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) | Value::Loose(text) => parse_size(text),
            _ => None,
        };
        let bounds = || format!("from {} to {}", shown_size(least), shown_size(most));
        match bytes.and_then(|bytes| T::try_from(bytes).ok()) {
            Some(size) if size >= least && size <= most => Ok(size),
            _ if bytes.is_some() => wrong(node, "is out of range", format!("write a size {}", bounds())),
            _ => wrong(
                node,
                "is not a size",
                format!(
                    "write bytes, or a number with KiB, MiB or GiB in quotes, such as \"32KiB\", {}",
                    bounds()
                ),
            ),
        }
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let found = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = found.unwrap_or((text, 1));
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

fn shown_size(size: impl TryInto<u64>) -> String {
    let bytes = size.try_into().unwrap_or(u64::MAX);
    let units = UNITS.iter().rev().filter(|(_, factor)| *factor > 1);
    match units.clone().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes} bytes"),
    }
}

/// `"127.0.0.1:8443"` or `"[::1]:8443"`.
pub(super) fn address(node: &Node) -> Read<SocketAddr> {
    let remedy = "write an IP address and a port, such as \"0.0.0.0:443\" or \"[::]:443\"";
    parsed("is not an address with a port", remedy)(node)
}

/// `"10.0.0.0/8"` or one address; host bits are cleared.
pub(super) fn network(node: &Node) -> Read<IpNet> {
    let found = match &node.value {
        Value::Text(text) | Value::Loose(text) => text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
            .map(|network| network.trunc()),
        _ => None,
    };
    match found {
        Some(network) if network.prefix_len() > 0 => Ok(network),
        Some(_) => wrong(node, "means everybody", "name the proxies' own addresses or networks"),
        None => {
            wrong(node, "is not an address or network", "write one such as \"10.0.0.0/8\" or \"192.0.2.7\"")
        }
    }
}

/// An absolute path.
pub(super) fn path(node: &Node) -> Read<PathBuf> {
    match &node.value {
        Value::Text(text) | Value::Loose(text) if text.starts_with('/') && !text.contains('\0') => {
            Ok(PathBuf::from(text))
        }
        _ => wrong(node, "is not an absolute path", "write a path that starts with /"),
    }
}

/// Text that a type parses itself.
pub(super) fn parsed<T: FromStr>(message: &'static str, remedy: &'static str) -> impl Fn(&Node) -> Read<T> {
    move |node| match &node.value {
        Value::Text(text) | Value::Loose(text) => match text.parse() {
            Ok(value) => Ok(value),
            Err(_) => wrong(node, message, remedy),
        },
        _ => wrong(node, message, remedy),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Clone>(choices: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        let found = match &node.value {
            Value::Text(text) | Value::Loose(text) => choices.iter().find(|(word, _)| word == text),
            _ => None,
        };
        match found {
            Some((_, value)) => Ok(value.clone()),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                wrong(node, "is not one of the choices", format!("write one of {}", words.join(", ")))
            }
        }
    }
}

/// A list of one kind; from the environment, comma separated. Every wrong item is named.
pub(super) fn list<T>(item: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Vec<T>> {
    move |node| match &node.value {
        Value::List(items) => all(items.iter().map(&item)),
        Value::Loose(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::Loose(text) => all(text.split(',').map(|part| {
            item(&Node { place: node.place.clone(), value: Value::Loose(part.trim().to_owned()) })
        })),
        _ => wrong(node, "is not a list", "write a list such as [\"a\", \"b\"]"),
    }
}

fn all<T>(items: impl Iterator<Item = Read<T>>) -> Read<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(value) => good.push(value),
            Err(wrongs) => bad.extend(wrongs),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}
