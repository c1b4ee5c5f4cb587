//! What a new configuration changes in a running node: which keys take a reload, and which a restart.
//!
//! One table says it for every key and does it: what it does not name cannot change while running, and
//! a test fails for a key that it does not name. Values of keys that need a restart stay as they were
//! until then, so that a node never runs on a mixture of what it was started with and what it reads.

use std::collections::BTreeSet;

use super::Config;
use super::problem::{Place, Problem};
use super::read::standing;
use super::secret;
use super::tls::CertificateSource;

/// What a new configuration comes to.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What runs once it is put in place.
    pub next: Config,
    /// The keys that change with it, in the order of the example file.
    pub changed: Vec<String>,
    /// The keys that are different and stay as they were until a restart.
    pub restart: Vec<String>,
}

/// A key, or several that only make sense together.
struct Key {
    /// As the reader knows them.
    names: &'static [&'static str],
    differ: Differ,
    /// Takes the value over from the second; `None` for what needs a restart.
    take: Option<fn(&mut Config, &Config)>,
}

/// How it is told whether a key is different.
enum Differ {
    /// It is not if this holds. It is called by the first of its names, or that one's list.
    Unless(fn(&Config, &Config) -> bool),
    /// Which of them are, by the names that an operator looks for.
    Named(fn(&Config, &Config) -> Vec<String>),
}

impl Key {
    fn different(&self, running: &Config, read: &Config) -> Vec<String> {
        match self.differ {
            Differ::Named(names) => names(running, read),
            Differ::Unless(same) if same(running, read) => Vec::new(),
            Differ::Unless(_) => self.names.first().into_iter().map(|name| list_of(name)).collect(),
        }
    }
}

/// `routes[].path` is one of `routes`.
fn list_of(name: &str) -> String {
    name.split_once("[]").map_or(name, |(list, _)| list).to_owned()
}

/// The keys of a section whose fields are called as they are.
macro_rules! keys {
    (@take reload $section:ident $field:ident) => {
        Some(|into, from| into.$section.$field.clone_from(&from.$section.$field))
    };
    (@take restart $section:ident $field:ident) => { None };
    ($takes:ident $section:ident: $($field:ident),+ $(,)?) => {
        &[$(Key {
            names: &[concat!(stringify!($section), ".", stringify!($field))],
            differ: Differ::Unless(|a, b| a.$section.$field == b.$section.$field),
            take: keys!(@take $takes $section $field),
        }),+]
    };
}

/// Every key there is, in the order of the example file. A new one belongs under `reload` only if the
/// code that uses it reads it anew: from the edge's plan, or by `app::reload`.
const TABLE: &[&[Key]] = &[
    ROOT,
    keys!(restart listen: https, http, internal, workers),
    keys!(reload listen: trusted_proxies),
    keys!(restart listen: proxy_protocol, proxy_protocol_from),
    TLS,
    keys!(reload tls: hsts),
    keys!(reload limits: connections, connections_per_address, head_bytes, header_count, body_bytes,
        http2_streams, handshake_timeout, head_timeout, idle_timeout, stall_timeout, connect_timeout,
        response_timeout, tunnel_idle_timeout, tunnel_lifetime, drain_timeout, handover_timeout),
    RATES,
    keys!(reload rates: ipv6_prefix),
    keys!(restart rates: keys),
    keys!(reload cors: origins, credentials, headers, max_age),
    keys!(reload forwarding: headers, via_name),
    keys!(reload request_headers: set, add, remove),
    keys!(reload response_headers: set, add, remove, security),
    keys!(reload blacklist: networks, file),
    keys!(restart accounts: registration, password_min_length, password_max_length, invite_ttl,
        sessions_per_account),
    keys!(restart users: document_bytes, documents, account_bytes),
    keys!(restart throttle: free, first_delay, max_delay, address_free, address_max_delay, entries, device_ttl),
    keys!(restart passwords: memory_kib, iterations, parallelism, threads, queue, queue_timeout),
    keys!(restart tokens: issuer, audience, access_ttl, refresh_ttl, session_ttl, refresh_grace, leeway,
        cache_entries),
    keys!(restart keys: algorithm, rotate_every, jwks_max_age),
    MASTER_KEY,
    keys!(restart store: segment_bytes, checkpoint_every, session_cache, warn_free, stop_free),
    keys!(restart audit: head_every, keep, witness_file, syslog),
    LOG_TARGET,
    keys!(reload log: level, json, access),
    keys!(reload bans: scanners, offences, window, ladder, forget, never),
    ROUTES,
];

const ROOT: &[Key] = &[
    Key {
        names: &["environment"],
        differ: Differ::Unless(|a, b| a.environment == b.environment),
        take: None,
    },
    Key { names: &["data_dir"], differ: Differ::Unless(|a, b| a.data_dir == b.data_dir), take: None },
    Key {
        names: &["zone"],
        differ: Differ::Unless(|a, b| a.zone == b.zone),
        take: Some(|into, from| into.zone.clone_from(&from.zone)),
    },
];

/// Between sources there is more to change than what is served: folders, and who looks after them.
const TLS: &[Key] = &[
    Key {
        names: &["tls.source"],
        differ: Differ::Unless(|a, b| same_kind(&a.tls.source, &b.tls.source)),
        take: None,
    },
    Key {
        names: &[
            "tls.names",
            "tls.certificates[].certificate",
            "tls.certificates[].key",
            "tls.acme.directory",
            "tls.acme.directory_ca",
            "tls.acme.agree_to_terms",
            "tls.acme.contact",
            "tls.acme.challenge",
            "tls.acme.eab_kid",
            "tls.acme.eab_key",
            "tls.acme.certificates",
        ],
        differ: Differ::Named(|a, b| match (&a.tls.source, &b.tls.source) {
            (CertificateSource::LocalCa { names }, CertificateSource::LocalCa { names: other }) => {
                named("tls.names", names == other)
            }
            (CertificateSource::Files(files), CertificateSource::Files(other)) => {
                named("tls.certificates", files == other)
            }
            (CertificateSource::Acme(acme), CertificateSource::Acme(other)) => {
                named("tls.acme", acme == other)
            }
            _ => Vec::new(),
        }),
        take: Some(|into, from| {
            if same_kind(&into.tls.source, &from.tls.source) {
                into.tls.source.clone_from(&from.tls.source);
            }
        }),
    },
    Key {
        names: &["tls.min_version"],
        differ: Differ::Unless(|a, b| a.tls.tls12 == b.tls.tls12),
        take: Some(|into, from| into.tls.tls12 = from.tls.tls12),
    },
];

/// A rate and its burst are one value.
macro_rules! rate {
    ($field:ident) => {
        Key {
            names: &[concat!("rates.", stringify!($field)), concat!("rates.", stringify!($field), "_burst")],
            differ: Differ::Unless(|a, b| a.rates.$field == b.rates.$field),
            take: Some(|into, from| into.rates.$field = from.rates.$field),
        }
    };
}

const RATES: &[Key] = &[rate!(address), rate!(user), rate!(session), rate!(failed_verifications)];

const MASTER_KEY: &[Key] = &[Key {
    names: &["keys.master_key"],
    differ: Differ::Unless(|a, b| match (&a.keys.master_key, &b.keys.master_key) {
        (None, None) => true,
        (Some(one), Some(other)) => secret::same(one, other),
        _ => false,
    }),
    take: None,
}];

const LOG_TARGET: &[Key] = &[Key {
    names: &["log.target", "log.keep", "log.max_bytes"],
    differ: Differ::Unless(|a, b| a.log.target == b.log.target),
    take: None,
}];

/// The keys of each table below a section.
macro_rules! names {
    ($section:literal: $($field:ident $(. $below:ident)?),+ $(,)?) => {
        &[$(concat!($section, stringify!($field) $(, ".", stringify!($below))?)),+]
    };
}

const ROUTES: &[Key] = &[
    Key {
        names: names!("filters[].": name, methods, paths, query, headers, content_types, action),
        differ: Differ::Unless(|a, b| a.filters == b.filters),
        take: Some(|into, from| into.filters.clone_from(&from.filters)),
    },
    Key {
        names: names!("routes[].": path, host, methods, upstream, api, auth, roles, scopes, body_bytes, upgrade,
            rate, rate_burst, rate_by, canary, canary_percent, canary_header, canary_cookie, redirect,
            redirect_status, strip_prefix, upstream_path, request_headers.set, request_headers.add,
            request_headers.remove, response_headers.set, response_headers.add, response_headers.remove,
            response_headers.security, root, index, fallback, cache_control, compress, intercept),
        differ: Differ::Unless(|a, b| a.routes == b.routes),
        take: Some(|into, from| into.routes.clone_from(&from.routes)),
    },
    Key {
        names: names!("error_pages[].": status, file),
        differ: Differ::Unless(|a, b| a.error_pages == b.error_pages),
        take: Some(|into, from| into.error_pages.clone_from(&from.error_pages)),
    },
    Key {
        names: names!("upstreams.*.": servers, protocol, request_trailers, host, tls, tls_ca, tls_server_name,
            tls_certificate, tls_key, balance, hash_by, max_fails, fail_timeout, slow_start, panic,
            health_path, health_host, health_interval, health_timeout, health_up, health_down, health_status,
            retries, retry_percent, retry_floor, max_connections, queue, queue_timeout, idle_connections,
            idle_timeout),
        differ: Differ::Named(|a, b| {
            let names: BTreeSet<_> = a.upstreams.keys().chain(b.upstreams.keys()).collect();
            let differ = names.into_iter().filter(|name| a.upstreams.get(*name) != b.upstreams.get(*name));
            differ.map(|name| format!("upstreams.{name}")).collect()
        }),
        take: Some(|into, from| into.upstreams.clone_from(&from.upstreams)),
    },
];

fn named(name: &str, same: bool) -> Vec<String> {
    if same { Vec::new() } else { vec![name.to_owned()] }
}

const fn same_kind(one: &CertificateSource, other: &CertificateSource) -> bool {
    matches!(
        (one, other),
        (CertificateSource::Files(_), CertificateSource::Files(_))
            | (CertificateSource::LocalCa { .. }, CertificateSource::LocalCa { .. })
            | (CertificateSource::Acme(_), CertificateSource::Acme(_))
    )
}

/// Compares what runs with what was read.
pub fn compare(running: &Config, read: &Config) -> Changes {
    let mut changes = Changes { next: running.clone(), changed: Vec::new(), restart: Vec::new() };
    for key in TABLE.iter().copied().flatten() {
        let different = key.different(running, read);
        match key.take {
            Some(take) => {
                take(&mut changes.next, read);
                changes.changed.extend(different);
            }
            None => changes.restart.extend(different),
        }
    }
    changes
}

/// As [`compare`], if what would run then keeps the rules as well: a file that is right by itself can be wrong
/// together with what waits for a restart.
pub fn checked(running: &Config, read: &Config) -> Result<Changes, Vec<Problem>> {
    let changes = compare(running, read);
    let before = standing(running);
    let new = standing(&changes.next).into_iter().filter(|problem| !before.contains(problem));
    let waiting = changes.restart.join(", ");
    let told = |problem: Problem| Problem {
        place: Place::Machine,
        message: format!("{}: until a restart this node keeps its old {waiting}", problem.message),
        remedy: format!("{}; or restart the node, which takes the whole file", problem.remedy),
        ..problem
    };
    let refused: Vec<_> = new.map(told).collect();
    if refused.is_empty() { Ok(changes) } else { Err(refused) }
}

/// Every key that the table names.
#[cfg(test)]
pub(in crate::config) fn classified() -> Vec<&'static str> {
    TABLE.iter().copied().flatten().flat_map(|key| key.names).copied().collect()
}

#[cfg(test)]
mod tests;
