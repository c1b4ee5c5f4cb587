//! The sections with fixed keys, one function each: every key once, with its kind and its bounds.
//! Bounds are what the code can carry; whether values go together is `rules`' business.

use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::kind::{self, address, count, duration, flag, list, network, one_of, path, size, text, wrong};
use super::section::Section;
use super::tree::Node;
use crate::config::accounts::{Accounts, Registration};
use crate::config::audit::{Audit, SyslogTarget};
use crate::config::blacklist::{self, Blacklist};
use crate::config::keys::Keys;
use crate::config::limits::Limits;
use crate::config::listen::Listen;
use crate::config::log::{Log, LogTarget};
use crate::config::passwords::{LONGEST_QUEUE_TIMEOUT, Passwords};
use crate::config::store::Store;
use crate::config::throttle::Throttle;
use crate::config::tokens::Tokens;
use crate::config::users::Users;
use crate::model::key::KeyAlgorithm;

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
pub(super) const YEAR: Duration = Duration::from_secs(366 * 86_400);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bounds of a request body: none at all, up to what one upload may reasonably be.
pub(super) const BODY: (u64, u64) = (0, 1024 * GIB);

pub(super) fn listen(mut section: Section<'_>) -> Listen {
    let mut listen = Listen::default();
    section.set("https", list(address), &mut listen.https);
    section.set("http", list(address), &mut listen.http);
    section.set("internal", address_or_off, &mut listen.internal);
    section.set("workers", count(0, 1024), &mut listen.workers);
    section.set("trusted_proxies", list(network), &mut listen.trusted_proxies);
    section.set("proxy_protocol", list(address), &mut listen.proxy_protocol);
    section.set("proxy_protocol_from", list(network), &mut listen.proxy_protocol_from);
    section.finish();
    listen
}

fn address_or_off(node: &Node) -> kind::Read<Option<std::net::SocketAddr>> {
    match text(node).as_deref() {
        Ok("off") => Ok(None),
        _ => address(node).map(Some).map_err(|mut wrongs| {
            wrongs.iter_mut().for_each(|wrong| wrong.remedy.push_str(", or \"off\""));
            wrongs
        }),
    }
}

/// A host name in its lower-case ASCII (IDNA) form, without port.
pub(super) fn host(node: &Node) -> kind::Read<String> {
    let ascii = text(node).ok().and_then(|name| idna::domain_to_ascii_strict(&name).ok());
    match ascii.filter(|name| !name.is_empty() && !name.ends_with('.')) {
        Some(name) => Ok(name),
        None => wrong(node, "is not a host name", "write a name such as \"app.example.com\", without port"),
    }
}

pub(super) fn limits(mut section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    section.set("connections", count(10, 1_000_000), &mut limits.connections);
    section.set("connections_per_address", count(1, 1_000_000), &mut limits.connections_per_address);
    section.set("head_bytes", size(8 * 1024, 1024 * 1024), &mut limits.head_bytes);
    section.set("header_count", count(10, 1000), &mut limits.header_count);
    section.set("body_bytes", size(BODY.0, BODY.1), &mut limits.body_bytes);
    section.set("http2_streams", count(1, 10_000), &mut limits.http2_streams);
    section.set("handshake_timeout", duration(SECOND, 5 * MINUTE), &mut limits.handshake_timeout);
    section.set("head_timeout", duration(SECOND, 5 * MINUTE), &mut limits.head_timeout);
    section.set("idle_timeout", duration(SECOND, HOUR), &mut limits.idle_timeout);
    section.set("stall_timeout", duration(SECOND, HOUR), &mut limits.stall_timeout);
    section.set("connect_timeout", duration(SECOND / 10, 5 * MINUTE), &mut limits.connect_timeout);
    section.set("response_timeout", duration(SECOND, HOUR), &mut limits.response_timeout);
    section.set("tunnel_idle_timeout", duration(SECOND, 7 * DAY), &mut limits.tunnel_idle_timeout);
    section.set("tunnel_lifetime", duration(MINUTE, YEAR), &mut limits.tunnel_lifetime);
    section.set("drain_timeout", duration(ZERO, HOUR), &mut limits.drain_timeout);
    section.set("handover_timeout", duration(ZERO, DAY), &mut limits.handover_timeout);
    section.finish();
    limits
}

pub(super) fn blacklist(mut section: Section<'_>) -> Blacklist {
    let mut blacklist = Blacklist::default();
    section.set("networks", list(banned), &mut blacklist.networks);
    blacklist.file = section.optional("file", path);
    section.finish();
    blacklist
}

fn banned(node: &Node) -> kind::Read<ipnet::IpNet> {
    let text = text(node)?;
    blacklist::network(&text).or_else(|(message, remedy)| wrong(node, message, remedy))
}

pub(super) fn accounts(mut section: Section<'_>) -> Accounts {
    let mut accounts = Accounts::default();
    let registration = one_of(&[
        ("closed", Registration::Closed),
        ("invite", Registration::Invite),
        ("open", Registration::Open),
    ]);
    section.set("registration", registration, &mut accounts.registration);
    // NIST SP 800-63B-4 §3.1.1.2: at least 8, and at least 64 must be allowed. The upper bound
    // keeps one request's hashing input small.
    section.set("password_min_length", count(8, 64), &mut accounts.password_min_length);
    section.set("password_max_length", count(64, 1024), &mut accounts.password_max_length);
    section.set("invite_ttl", duration(MINUTE, YEAR), &mut accounts.invite_ttl);
    section.set("sessions_per_account", count(1, 10_000), &mut accounts.sessions_per_account);
    section.finish();
    accounts
}

pub(super) fn users(mut section: Section<'_>) -> Users {
    let mut users = Users::default();
    // The upper bounds keep one commit, and one answer, small.
    section.set("document_bytes", size(1024, 1 << 20), &mut users.document_bytes);
    section.set("documents", count(0, 100_000), &mut users.documents);
    section.set("account_bytes", size(1024, GIB), &mut users.account_bytes);
    section.finish();
    users
}

pub(super) fn passwords(mut section: Section<'_>) -> Passwords {
    let mut passwords = Passwords::default();
    section.set("memory_kib", count(8, 1024 * 1024), &mut passwords.memory_kib);
    section.set("iterations", count(1, 64), &mut passwords.iterations);
    section.set("parallelism", count(1, 16), &mut passwords.parallelism);
    section.set("threads", count(0, 256), &mut passwords.threads);
    section.set("queue", count(1, 100_000), &mut passwords.queue);
    section.set("queue_timeout", duration(SECOND / 10, LONGEST_QUEUE_TIMEOUT), &mut passwords.queue_timeout);
    section.finish();
    passwords
}

pub(super) fn throttle(mut section: Section<'_>) -> Throttle {
    let mut throttle = Throttle::default();
    section.set("free", count(1, 100), &mut throttle.free);
    section.set("first_delay", duration(SECOND, HOUR), &mut throttle.first_delay);
    section.set("max_delay", duration(SECOND, DAY), &mut throttle.max_delay);
    section.set("address_free", count(1, 100_000), &mut throttle.address_free);
    section.set("address_max_delay", duration(SECOND, DAY), &mut throttle.address_max_delay);
    section.set("entries", count(1024, 10_000_000), &mut throttle.entries);
    section.set("device_ttl", duration(HOUR, YEAR * 2), &mut throttle.device_ttl);
    section.finish();
    throttle
}

pub(super) fn tokens(mut section: Section<'_>) -> Tokens {
    let mut tokens = Tokens::default();
    section.set("issuer", text, &mut tokens.issuer);
    section.set("audience", text, &mut tokens.audience);
    section.set("access_ttl", duration(30 * SECOND, HOUR), &mut tokens.access_ttl);
    section.set("refresh_ttl", duration(MINUTE, YEAR), &mut tokens.refresh_ttl);
    section.set("session_ttl", duration(MINUTE, YEAR * 5), &mut tokens.session_ttl);
    section.set("refresh_grace", duration(ZERO, MINUTE), &mut tokens.refresh_grace);
    section.set("leeway", duration(ZERO, MINUTE), &mut tokens.leeway);
    section.set("cache_entries", count(0, 10_000_000), &mut tokens.cache_entries);
    section.finish();
    tokens
}

pub(super) fn keys(mut section: Section<'_>) -> Keys {
    let mut keys = Keys::default();
    let algorithm = one_of(&[
        ("EdDSA", KeyAlgorithm::EdDSA),
        ("ES256", KeyAlgorithm::ES256),
        ("RS256", KeyAlgorithm::RS256),
        ("HS256", KeyAlgorithm::HS256),
    ]);
    section.set("algorithm", algorithm, &mut keys.algorithm);
    section.set("rotate_every", duration(ZERO, YEAR * 5), &mut keys.rotate_every);
    section.set("jwks_max_age", duration(ZERO, DAY), &mut keys.jwks_max_age);
    keys.master_key = section.secret("master_key");
    section.finish();
    keys
}

pub(super) fn store(mut section: Section<'_>) -> Store {
    let mut store = Store::default();
    section.set("segment_bytes", size(MIB, 256 * MIB), &mut store.segment_bytes);
    section.set("checkpoint_every", duration(SECOND, HOUR), &mut store.checkpoint_every);
    section.set("session_cache", count(0, 100_000_000), &mut store.session_cache);
    section.set("warn_free", size(0, 1024 * GIB), &mut store.warn_free);
    section.set("stop_free", size(0, 1024 * GIB), &mut store.stop_free);
    section.finish();
    store
}

pub(super) fn audit(mut section: Section<'_>) -> Audit {
    let mut audit = Audit::default();
    section.set("head_every", duration(SECOND, HOUR), &mut audit.head_every);
    section.set("keep", kept, &mut audit.keep);
    audit.witness_file = section.optional("witness_file", path);
    audit.syslog = section.optional("syslog", syslog);
    section.finish();
    audit
}

/// Nothing, or at least a day: `audit verify` knows that nothing younger is dropped.
fn kept(node: &Node) -> kind::Read<Duration> {
    let keep = duration(ZERO, YEAR * 20)(node)?;
    if keep.is_zero() || keep >= DAY {
        return Ok(keep);
    }
    wrong(node, "is too short", "write at least \"1d\", or \"0s\" to keep everything")
}

fn syslog(node: &Node) -> kind::Read<SyslogTarget> {
    let text = text(node)?;
    let socket = |address: &str| address.parse().ok();
    let target = match text.split_once(':') {
        Some(("unix", path))
            if path.starts_with('/') && path.len() < LONGEST_SOCKET && !path.contains('\0') =>
        {
            Some(SyslogTarget::Unix(path.into()))
        }
        Some(("udp", address)) => socket(address).map(SyslogTarget::Udp),
        Some(("tcp", address)) => socket(address).map(SyslogTarget::Tcp),
        _ => None,
    };
    let remedy = "write \"unix:/dev/log\", \"udp:127.0.0.1:514\" or \"tcp:[::1]:601\": addresses, not names";
    target.map_or_else(|| wrong(node, "is not a syslog receiver", remedy), Ok)
}

/// What a Unix socket's address can hold.
const LONGEST_SOCKET: usize = 108;

/// Days that log files are kept where `keep` says nothing.
const KEEP_DAYS: usize = 14;

/// What they may come to where `max_bytes` says nothing.
const KEEP_BYTES: u64 = GIB;

pub(super) fn log(mut section: Section<'_>) -> Log {
    let mut log = Log::default();
    let files = section.optional("target", one_of(&[("stdout", false), ("files", true)])).unwrap_or(false);
    let given = [("keep", section.has("keep")), ("max_bytes", section.has("max_bytes"))];
    let keep = section.optional("keep", count(1, 3650)).unwrap_or(KEEP_DAYS);
    let max_bytes = section.optional("max_bytes", size(MIB, 1024 * GIB)).unwrap_or(KEEP_BYTES);
    if files {
        log.target = LogTarget::Files { keep, max_bytes };
    } else {
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let remedy = "set target = \"files\", or remove it";
            section.problem(key, None, "is not used by target = \"stdout\"", remedy);
        }
    }
    section.set("level", filter, &mut log.level);
    section.set("json", flag, &mut log.json);
    section.set("access", flag, &mut log.access);
    section.finish();
    log
}

fn filter(node: &Node) -> kind::Read<String> {
    let directives = text(node)?;
    // A target without a level silences everything else, and so do targets without a level for the rest.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let means_something =
        |part: &str| is_level(part) || part.rsplit_once('=').is_some_and(|(_, level)| is_level(level));
    let mut parts = directives.split(',').map(str::trim);
    let good = parts.clone().all(means_something) && parts.any(is_level);
    match directives.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) if good => Ok(directives),
        _ => {
            wrong(node, "is not a log filter", "write one such as \"info\" or \"info,keepgate::edge=debug\"")
        }
    }
}
