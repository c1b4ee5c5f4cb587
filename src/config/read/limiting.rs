//! `[rates]`, the rate of a route, and `[cors]`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::kind::{self, count, duration, flag, list, one_of, parsed, text, wrong};
use super::section::Section;
use super::sections::host;
use super::tree::Node;
use crate::config::cors::{Cors, Origins};
use crate::config::rates::{MOST, Rate, RateBy, Rates, RouteRate};

const RATE_SYNTAX: &str = "write a number up to 1000000 and s, m or h, such as \"100/s\" or \"600/m\"";

pub(super) fn rates(mut section: Section<'_>) -> Rates {
    let mut rates = Rates::default();
    limit(&mut section, ("address", "address_burst"), &mut rates.address);
    limit(&mut section, ("user", "user_burst"), &mut rates.user);
    limit(&mut section, ("session", "session_burst"), &mut rates.session);
    let failed = ("failed_verifications", "failed_verifications_burst");
    limit(&mut section, failed, &mut rates.failed_verifications);
    section.set("ipv6_prefix", count(32, 128), &mut rates.ipv6_prefix);
    section.set("keys", count(1024, 10_000_000), &mut rates.keys);
    section.finish();
    rates
}

/// A rate and its burst. A rate without a burst has that of one period; a burst alone changes the
/// default's.
fn limit(section: &mut Section<'_>, (key, burst_key): (&'static str, &'static str), into: &mut Option<Rate>) {
    section.set(key, rate_or_off, into);
    let burst_given = section.has(burst_key);
    let burst = section.optional(burst_key, burst);
    match into {
        Some(rate) => *rate = burst.map_or(*rate, |burst| rate.burst(burst)),
        None if burst_given => {
            section.problem(
                burst_key,
                None,
                &format!("is not used: {key} is \"off\""),
                &format!("set {key}, or remove it"),
            );
        }
        None => {}
    }
}

fn rate(node: &Node) -> kind::Read<Rate> {
    parsed("is not a rate", RATE_SYNTAX)(node)
}

fn rate_or_off(node: &Node) -> kind::Read<Option<Rate>> {
    match text(node).as_deref() {
        Ok("off") => Ok(None),
        _ => rate(node).map(Some).map_err(|mut wrongs| {
            wrongs.iter_mut().for_each(|wrong| wrong.remedy.push_str(", or \"off\""));
            wrongs
        }),
    }
}

fn burst(node: &Node) -> kind::Read<NonZeroU32> {
    count(1, MOST)(node).map(|burst| NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

/// `rate`, `rate_burst` and `rate_by` of a route.
pub(super) fn route(section: &mut Section<'_>) -> Option<RouteRate> {
    let given = section.has("rate");
    let rate = section.optional("rate", rate);
    let others = [("rate_burst", section.has("rate_burst")), ("rate_by", section.has("rate_by"))];
    let burst = section.optional("rate_burst", burst);
    let by = section.optional(
        "rate_by",
        one_of(&[
            ("address", RateBy::Address),
            ("user", RateBy::User),
            ("session", RateBy::Session),
            ("route", RateBy::Route),
        ]),
    );
    for (key, _) in others.into_iter().filter(|(_, other)| *other && !given) {
        section.problem(key, None, "is not used without `rate`", "set rate, or remove it");
    }
    let rate = rate?;
    Some(RouteRate { rate: burst.map_or(rate, |burst| rate.burst(burst)), by: by.unwrap_or_default() })
}

pub(super) fn cors(mut section: Section<'_>) -> Cors {
    let mut cors = Cors::default();
    if let Some(origins) = section.optional("origins", list(origin)) {
        match (origins.iter().any(|origin| origin == "*"), origins.len()) {
            (true, 1) => cors.origins = Origins::Any,
            (true, _) => {
                let remedy = "write [\"*\"], or name the origins without it";
                section.problem("origins", None, "has \"*\" beside others", remedy);
            }
            (false, _) => cors.origins = Origins::Listed(origins),
        }
    }
    section.set("credentials", flag, &mut cors.credentials);
    section.set("headers", list(header), &mut cors.headers);
    section.set("max_age", duration(Duration::ZERO, Duration::from_secs(86_400)), &mut cors.max_age);
    section.finish();
    cors
}

/// An origin as browsers write it (RFC 6454 §6.2): scheme, host, and the port unless it is the
/// scheme's own.
fn origin(node: &Node) -> kind::Read<String> {
    let remedy = "write one such as \"https://app.example.com\", without a path, or \"*\"";
    let refuse = || wrong(node, "is not a web origin", remedy);
    let written = text(node)?;
    if written == "*" {
        return Ok(written);
    }
    let Some((scheme, authority)) = written.split_once("://") else { return refuse() };
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return refuse(),
    };
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return refuse() };
    if authority.as_str().contains('@') || (authority.port().is_some() && authority.port_u16().is_none()) {
        return refuse();
    }
    let name = authority.host();
    let name = if name.starts_with('[') {
        name.to_ascii_lowercase()
    } else {
        let node = Node { place: node.place.clone(), value: super::tree::Value::Text(name.to_owned()) };
        match host(&node) {
            Ok(name) => name,
            Err(_) => return refuse(),
        }
    };
    Ok(match authority.port_u16().filter(|port| *port != default) {
        Some(port) => format!("{scheme}://{name}:{port}"),
        None => format!("{scheme}://{name}"),
    })
}

fn header(node: &Node) -> kind::Read<String> {
    let name = text(node)?.to_ascii_lowercase();
    match http::HeaderName::from_bytes(name.as_bytes()) {
        // To a browser `*` would be every header but Authorization, and nothing with credentials.
        Ok(_) if name != "*" => Ok(name),
        _ => wrong(node, "is not a header's name", "write one such as \"content-type\""),
    }
}
