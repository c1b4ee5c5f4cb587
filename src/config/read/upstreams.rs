//! `[upstreams.NAME]`, which only the file can hold: servers, how requests are spread, and when one
//! is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::kind::{self, count, duration, list, one_of, text, wrong};
use super::section::Section;
use super::sections::host;
use super::tree::{Node, Value};
use super::upstream_tls;
use crate::config::problem::legible;
use crate::config::upstream::{
    Active, Balance, HEAVIEST, HashBy, MOST_SERVERS, Member, Named, Server, Upstream,
};

const SERVER: &str = "write an address and port such as \"127.0.0.1:3000\" or \"app.internal:3000\", \"unix:/run/app.sock\", or \
                      { address = \"127.0.0.1:3000\", weight = 2, backup = false, zone = \"a\" }";
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The upstream groups, for a node in this zone.
pub(super) fn upstreams(section: Section<'_>, home: Option<&str>) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, section) in section.named() {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            let remedy = "use 1 to 64 of a-z, 0-9, '-' and '_'";
            section.problem("", Some(format!("\"{}\"", legible(name))), "is not an upstream's name", remedy);
        }
        let mut upstream = upstream(section);
        let zones = upstream.servers.iter().map(|member| &member.zone);
        let mut zones = zones.chain(upstream.names.iter().map(|named| &named.zone));
        upstream.home = home.filter(|_| zones.any(Option::is_some)).map(str::to_owned);
        upstreams.insert(name.to_owned(), upstream);
    }
    upstreams
}

fn upstream(mut section: Section<'_>) -> Upstream {
    let (members, names) = servers(&mut section);
    let mut upstream = Upstream { names, ..Upstream::with(members) };
    (upstream.http2, upstream.tls) = upstream_tls::protocol(&mut section, &upstream.servers);
    upstream.request_trailers = section.optional("request_trailers", kind::flag);
    upstream.host = section.optional("host", authority);
    upstream.balance = balance(&mut section);
    let passive = &mut upstream.passive;
    section.set("max_fails", count(0, 1000), &mut passive.max_fails);
    section.set("fail_timeout", duration(SECOND / 10, HOUR), &mut passive.fail_timeout);
    section.set("slow_start", duration(Duration::ZERO, HOUR), &mut passive.slow_start);
    section.set("panic", count(0, 100), &mut passive.panic);
    upstream.active = active(&mut section);
    let retries = &mut upstream.retries;
    section.set("retries", count(0, 10), &mut retries.most);
    section.set("retry_percent", count(0, 100), &mut retries.percent);
    section.set("retry_floor", count(0, 10_000), &mut retries.floor);
    let bounds = &mut upstream.bounds;
    section.set("max_connections", count(0, 1_000_000), &mut bounds.max_connections);
    section.set("queue", count(0, 100_000), &mut bounds.queue);
    section.set("queue_timeout", duration(SECOND / 100, HOUR), &mut bounds.queue_timeout);
    section.set("idle_connections", count(0, 10_000), &mut upstream.idle_connections);
    section.set("idle_timeout", duration(SECOND / 10, HOUR), &mut upstream.idle_timeout);
    section.finish();
    upstream
}

/// A server, or as many as a name leads to.
enum Listed {
    At(Member),
    Named(Named),
}

impl Listed {
    fn name(&self) -> String {
        match self {
            Self::At(member) => member.server.to_string(),
            Self::Named(Named { host, port, .. }) => format!("{host}:{port}"),
        }
    }

    const fn parts(&mut self) -> (&mut u32, &mut bool, &mut Option<Arc<str>>) {
        match self {
            Self::At(Member { weight, backup, zone, .. })
            | Self::Named(Named { weight, backup, zone, .. }) => (weight, backup, zone),
        }
    }

    const fn is_backup(&self) -> bool {
        match self {
            Self::At(Member { backup, .. }) | Self::Named(Named { backup, .. }) => *backup,
        }
    }
}

fn servers(section: &mut Section<'_>) -> (Vec<Member>, Vec<Named>) {
    let remedy = "write servers = [\"127.0.0.1:3000\"]";
    let Some(servers) = section.required("servers", remedy, list(member)) else {
        return (Vec::new(), Vec::new());
    };
    let mut seen = BTreeSet::new();
    let twice = servers.iter().map(Listed::name).find(|name| !seen.insert(name.clone()));
    if servers.is_empty() {
        section.problem("servers", None, "is empty", remedy);
    } else if let Some(name) = twice {
        let value = Some(format!("{name:?}"));
        section.problem("servers", value, "stands twice", "name each server once, and give it a weight");
    } else if servers.len() > MOST_SERVERS {
        let message = format!("has more than {MOST_SERVERS} servers");
        section.problem("servers", None, &message, "make several groups of them");
    } else if servers.iter().all(Listed::is_backup) {
        let remedy = "let at least one be none";
        section.problem("servers", None, "has backups only", remedy);
    }
    let (mut members, mut names) = (Vec::new(), Vec::new());
    for server in servers {
        match server {
            Listed::At(member) => members.push(member),
            Listed::Named(named) => names.push(named),
        }
    }
    (members, names)
}

/// A server as a text, or as a table with its weight.
fn member(node: &Node) -> kind::Read<Listed> {
    let Value::Table(table) = &node.value else { return server(node) };
    const KEYS: [&str; 4] = ["address", "weight", "backup", "zone"];
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return wrong(node, format!("has the key `{}`, which servers do not have", legible(unknown)), SERVER);
    }
    let Some(address) = table.get("address") else { return wrong(node, "has no address", SERVER) };
    let mut listed = server(address)?;
    let (weight, backup, zone) = listed.parts();
    if let Some(node) = table.get("weight") {
        *weight = count(1, HEAVIEST)(node)?;
    }
    if let Some(node) = table.get("backup") {
        *backup = kind::flag(node)?;
    }
    if let Some(node) = table.get("zone") {
        *zone = Some(self::zone(node)?.into());
    }
    Ok(listed)
}

/// A zone's name: it is compared, and shown in metrics.
pub(super) fn zone(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        true => Ok(name),
        false => wrong(node, "is not a zone's name", "write 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'"),
    }
}

/// A host as `Host` has it: a name or an address, and a port if it is not the usual one.
fn authority(node: &Node) -> kind::Read<String> {
    let written = text(node)?;
    let remedy = "write a name such as \"app.internal\" or \"app.internal:8080\", or an address";
    let (host, port) = match written.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (&*written, None),
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port_is_one = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0));
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]")),
        None => {
            idna::domain_to_ascii_strict(host).ok().filter(|name| !name.is_empty() && !name.ends_with('.'))
        }
    };
    match host.filter(|_| port_is_one) {
        Some(host) => Ok(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))),
        None => wrong(node, "is not a host", remedy),
    }
}

fn server(node: &Node) -> kind::Read<Listed> {
    let Ok(address) = text(node) else { return wrong(node, "is not a server", SERVER) };
    if let Some(path) = address.strip_prefix("unix:") {
        // 107 bytes is what a socket's address holds.
        return if path.starts_with('/') && path.len() <= 107 {
            Ok(Listed::At(Server::Unix(PathBuf::from(path)).into()))
        } else {
            wrong(node, "is not a socket's path of at most 107 bytes", SERVER)
        };
    }
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Listed::At(Server::Tcp(address).into())),
        Ok(_) => wrong(node, "is not a server", SERVER),
        Err(_) => named(&address).map_or_else(|| wrong(node, "is not a server", SERVER), Ok),
    }
}

/// `name:port`. What ends in a number is an address that was miswritten, and no name.
fn named(text: &str) -> Option<Listed> {
    let (host, port) = text.rsplit_once(':')?;
    let plain = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| plain && *port > 0)?;
    let host = idna::domain_to_ascii_strict(host).ok().filter(|host| !host.is_empty())?;
    let last = host.rsplit('.').next().unwrap_or_default();
    let name = !last.is_empty() && !last.bytes().all(|b| b.is_ascii_digit());
    name.then_some(Listed::Named(Named { host, port, weight: 1, backup: false, zone: None }))
}

fn balance(section: &mut Section<'_>) -> Balance {
    let by_hash = || Balance::Hash(HashBy::Address);
    let choices = &[("round_robin", 0), ("least_connections", 1), ("random_two", 2), ("hash", 3)];
    let chosen = section.optional("balance", one_of(choices)).unwrap_or_default();
    let by = section.optional("hash_by", hash_by);
    if chosen != 3 && by.is_some() {
        section.problem("hash_by", None, "is used with balance = \"hash\" only", "remove it, or set balance");
    }
    match chosen {
        1 => Balance::LeastConnections,
        2 => Balance::RandomTwo,
        3 => by.map_or_else(by_hash, Balance::Hash),
        _ => Balance::RoundRobin,
    }
}

fn hash_by(node: &Node) -> kind::Read<HashBy> {
    let remedy = "write \"address\", \"user\", or \"header:NAME\" such as \"header:x-tenant\"";
    let name = match text(node).as_deref() {
        Ok("address") => return Ok(HashBy::Address),
        Ok("user") => return Ok(HashBy::User),
        Ok(other) => other.strip_prefix("header:").and_then(|name| HeaderName::try_from(name).ok()),
        Err(_) => None,
    };
    name.map_or_else(|| wrong(node, "is not what can be hashed", remedy), |name| Ok(HashBy::Header(name)))
}

fn active(section: &mut Section<'_>) -> Option<Active> {
    const OTHERS: [&str; 6] =
        ["health_host", "health_interval", "health_timeout", "health_up", "health_down", "health_status"];
    let given = section.has("health_path");
    let path = section.optional("health_path", target);
    let mut active = Active::of(path.clone().unwrap_or_default());
    active.host = section.optional("health_host", host);
    section.set("health_interval", duration(SECOND / 10, HOUR), &mut active.interval);
    section.set("health_timeout", duration(SECOND / 100, 60 * SECOND), &mut active.timeout);
    section.set("health_up", count(1, 100), &mut active.up);
    section.set("health_down", count(1, 100), &mut active.down);
    section.set("health_status", statuses, &mut active.status);
    if !given && let Some(other) = OTHERS.into_iter().find(|key| section.has(key)) {
        section.problem(other, None, "checks nothing without health_path", "set health_path, or remove it");
    }
    path.map(|_| active)
}

/// A path, perhaps with a query, as it stands in a request's first line.
fn target(node: &Node) -> kind::Read<String> {
    let path = text(node)?;
    if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Ok(path);
    }
    wrong(node, "is not a path to ask for", "write one such as \"/health\"")
}

/// `"200"` or `"200-399"`.
fn statuses(node: &Node) -> kind::Read<RangeInclusive<u16>> {
    let number = |text: &str| {
        let plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|status| plain && (200..600).contains(status))
    };
    let text = text(node).unwrap_or_default();
    let (least, most) = text.split_once('-').unwrap_or((&text, &text));
    match (number(least), number(most)) {
        (Some(least), Some(most)) if least <= most => Ok(least..=most),
        _ => wrong(
            node,
            "is no range of statuses",
            "write one such as \"200-399\" or \"204\", from 200 to 599",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};
    use super::*;

    fn app(lines: &str) -> Upstream {
        config(&format!("{LEAST}[upstreams.app]\n{lines}\n"), &[]).upstreams["app"].clone()
    }

    #[test]
    fn servers_are_texts_or_tables_with_a_weight() {
        let group = app("servers = [\"127.0.0.1:1\", { address = \"unix:/s\", weight = 5, backup = true }]");
        let told: Vec<_> = group.servers.iter().map(|m| (m.server.to_string(), m.weight, m.backup)).collect();
        assert_eq!(told, [("127.0.0.1:1".to_owned(), 1, false), ("unix:/s".to_owned(), 5, true)]);
    }

    #[test]
    fn a_name_with_a_port_is_a_server_and_a_miswritten_address_is_none() {
        let group = app("servers = [\"127.0.0.1:1\", { address = \"App.Internal:3000\", weight = 2 }]");
        let named =
            Named { host: "app.internal".to_owned(), port: 3000, weight: 2, backup: false, zone: None };
        assert_eq!((group.servers.len(), group.names), (1, vec![named]));
        assert_eq!(app("servers = [\"localhost:1\"]").servers, []);
        for wrong in [
            "300.1.1.1:80",
            "app",
            "app:0",
            "app:+1",
            "app:70000",
            ":80",
            "a b:80",
            "::1:80",
            "http://app:80",
            "app/x:80",
        ] {
            let said = report(&format!("{LEAST}[upstreams.app]\nservers = [\"{wrong}\"]\n"), &[]);
            assert!(said.contains("is not a server"), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_zone_is_said_of_the_node_and_of_servers_and_means_nothing_alone() {
        let servers = "servers = [{ address = \"127.0.0.1:1\", zone = \"fsn1\" }, { address = \"app:2\", zone = \"nbg1\" }]";
        let text = format!(
            "zone = \"fsn1\"\n{LEAST}[upstreams.app]\n{servers}\n[upstreams.bare]\nservers = [\"b:1\"]\n"
        );
        let config = config(&text, &[]);
        let group = &config.upstreams["app"];
        assert_eq!((config.zone.as_deref(), group.home.as_deref()), (Some("fsn1"), Some("fsn1")));
        assert_eq!(
            (group.servers[0].zone.as_deref(), group.names[0].zone.as_deref()),
            (Some("fsn1"), Some("nbg1"))
        );
        assert_eq!(config.upstreams["bare"].home, None);
        assert_eq!(app(servers).home, None);
        for wrong in ["\"\"", "\"a b\"", "1"] {
            let said = report(&format!("zone = {wrong}\n{LEAST}"), &[]);
            assert!(said.contains("zone"), "{wrong}: {said}");
        }
    }

    #[test]
    fn what_servers_are_told_to_be_called_is_a_host() {
        let host = |text: &str| {
            app(&format!("servers = [\"127.0.0.1:1\"]\nhost = \"{text}\"\nhealth_path = \"/\"")).host
        };
        for (text, want) in [
            ("App.Internal", "app.internal"),
            ("app.internal:8080", "app.internal:8080"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::0001]:80", "[::1]:80"),
        ] {
            assert_eq!(host(text).as_deref(), Some(want));
        }
        for bad in
            ["", "a b", "a/b", "http://a", "a:0", "a:99999", "a:", "::1", "[::1", "[a]", "a@b", "a\\n", "a."]
        {
            let said = report(
                &format!("{LEAST}[upstreams.app]\nservers = [\"127.0.0.1:1\"]\nhost = \"{bad}\"\n"),
                &[],
            );
            assert!(said.contains("upstreams.app.host"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_group_says_how_it_is_balanced_and_checked() {
        let group = app("servers = [\"127.0.0.1:1\"]\nbalance = \"hash\"\nhash_by = \"header:X-Tenant\"\n\
                         health_path = \"/up?x=1\"\nhealth_status = \"204\"\nhealth_host = \"App.example.com\"");
        assert_eq!(group.balance, Balance::Hash(HashBy::Header(HeaderName::from_static("x-tenant"))));
        let active = group.active.unwrap();
        assert_eq!((active.path.as_str(), active.status), ("/up?x=1", 204..=204));
        assert_eq!(active.host.as_deref(), Some("app.example.com"));
        let plain = app("servers = [\"127.0.0.1:1\"]");
        assert_eq!((plain.balance, plain.active), (Balance::RoundRobin, None));
    }

    #[test]
    fn what_makes_no_sense_of_a_group_is_named_with_what_to_write() {
        let said = |lines: &str| report(&format!("{LEAST}[upstreams.app]\n{lines}\n"), &[]);
        insta::assert_snapshot!(said(
            "servers = [{ weight = 0 }, { address = \"127.0.0.1:1\", wieght = 2 }, { address = \"127.0.0.1:1\", \
             weight = 0 }, 3]\nbalance = \"sticky\"\nhash_by = \"cookie\"\nhealth_path = \"up\"\n\
             health_status = \"399-200\"\npanic = 101\nretry_percent = -1\nqueue_timeout = 5"
        ));
        for (lines, words) in [
            ("servers = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "stands twice"),
            ("servers = [{ address = \"127.0.0.1:1\", backup = true }]", "has backups only"),
            ("servers = [\"127.0.0.1:1\"]\nhash_by = \"user\"", "balance = \"hash\" only"),
            ("servers = [\"127.0.0.1:1\"]\nhealth_up = 1", "without health_path"),
        ] {
            assert!(said(lines).contains(words), "{lines}: {}", said(lines));
        }
    }
}
