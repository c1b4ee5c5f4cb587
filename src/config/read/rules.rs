//! What values must be together: routes with their upstreams, lives of tokens, and what production
//! refuses. Each rule names the key to change and why it is refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::kind::span;
use super::section::Report;
use super::tree::Node;
use crate::config::acme::{Challenge, ExternalAccount};
use crate::config::cors::Origins;
use crate::config::problem::{Problem, legible};
use crate::config::route::{Route, RouteTarget};
use crate::config::secret::SecretSource;
use crate::config::tls::CertificateSource;
use crate::config::{Config, Environment};

/// Rules being applied: each pushes what it refuses.
pub(super) struct Rules<'r> {
    pub(super) root: &'r Node,
    pub(super) report: &'r Report,
    pub(super) config: &'r Config,
}

impl Rules<'_> {
    /// All rules. `routes` are the readable ones with their index in the file.
    pub(super) fn check(&self, routes: &[(usize, Route)], written: usize) {
        self.listeners();
        self.proxy_protocol();
        self.routes(routes, written);
        self.issuer();
        self.lives();
        self.accounts();
        self.room();
        self.cors();
        self.acme();
        if self.config.environment == Environment::Production {
            self.production();
        }
    }

    fn refuse(&self, key: &str, value: Option<String>, message: &str, remedy: &str) {
        if self.report.has(key) {
            return;
        }
        let place = self.root.place_of(key);
        let (message, remedy) = (message.to_owned(), remedy.to_owned());
        self.report.push(Problem { place, key: key.to_owned(), value, message, remedy });
    }

    fn listeners(&self) {
        let listen = &self.config.listen;
        if listen.https.is_empty() {
            let remedy = "write at least one address, such as [\"0.0.0.0:443\"]";
            self.refuse("listen.https", None, "has no address", remedy);
        }
        let mut seen = BTreeSet::new();
        let all = [("listen.https", &listen.https), ("listen.http", &listen.http)]
            .into_iter()
            .flat_map(|(key, addresses)| addresses.iter().map(move |address| (key, *address)))
            .chain(listen.internal.map(|address| ("listen.internal", address)));
        for (key, address) in all {
            if address.port() != 0 && !seen.insert(address) {
                let shown = Some(format!("\"{address}\""));
                self.refuse(key, shown, "is listened on twice", "give each listener its own address or port");
            }
        }
    }

    /// Who is believed about addresses must be named: everybody could be anybody otherwise.
    fn proxy_protocol(&self) {
        let listen = &self.config.listen;
        let (on, from) = ("listen.proxy_protocol", "listen.proxy_protocol_from");
        let strange =
            |address: &&SocketAddr| !listen.https.contains(address) && !listen.http.contains(address);
        if let Some(address) = listen.proxy_protocol.iter().find(strange) {
            let remedy = "write an address of listen.https or listen.http as it stands there";
            self.refuse(on, Some(format!("\"{address}\"")), "is no listener", remedy);
        }
        match (listen.proxy_protocol.is_empty(), listen.proxy_protocol_from.is_empty()) {
            (false, true) => {
                let remedy = "name the proxies' own addresses or networks";
                self.refuse(from, None, "is empty: nobody could connect to listen.proxy_protocol", remedy);
            }
            (true, false) => {
                let message = "names proxies, but no listener takes the PROXY protocol";
                self.refuse(
                    from,
                    None,
                    message,
                    "name the listener in listen.proxy_protocol, or remove this",
                );
            }
            _ => {}
        }
    }

    fn routes(&self, routes: &[(usize, Route)], written: usize) {
        if written == 0 {
            let remedy = "add at least one, such as [[routes]] path = \"/\" upstream = \"app\"";
            self.refuse("routes", None, "has no entry: nothing would be served", remedy);
        }
        for (at, (index, route)) in routes.iter().enumerate() {
            let target = match &route.target {
                RouteTarget::Upstream(name) => Some(("upstream", name)),
                RouteTarget::Api | RouteTarget::Redirect(_) | RouteTarget::Folder(_) => None,
            };
            let canary = route.canary.as_ref().map(|canary| ("canary", &canary.upstream));
            let unknown = target.into_iter().chain(canary);
            for (field, name) in unknown.filter(|(_, name)| !self.config.upstreams.contains_key(*name)) {
                let key = format!("routes[{index}].{field}");
                let known: Vec<_> = self.config.upstreams.keys().take(10).map(|name| legible(name)).collect();
                let have = if known.is_empty() {
                    String::new()
                } else {
                    format!(" (there is: {})", known.join(", "))
                };
                let remedy = format!("add [upstreams.{name}], or name one that exists{have}");
                self.refuse(&key, Some(format!("{name:?}")), "is not an upstream", &remedy);
            }
            if let RouteTarget::Redirect(to) = &route.target
                && leads_to_itself(route, &to.to, routes)
            {
                let key = format!("routes[{index}].redirect");
                let remedy = "name another place, or give the place that it leads to a route of its own";
                self.refuse(&key, Some(format!("{:?}", to.to)), "leads to itself", remedy);
            }
            if let Some((other, _)) = routes.iter().take(at).find(|(_, other)| overlap(route, other)) {
                let key = format!("routes[{index}].path");
                let message = format!("has the same host, path and methods as routes[{other}]");
                let remedy = "remove one, or give each its own methods";
                self.refuse(&key, Some(format!("{:?}", route.path)), &message, remedy);
            }
        }
    }

    /// RFC 8414 §2: an https URL without query or fragment. It is compared byte by byte, hence no
    /// slash at the end.
    fn issuer(&self) {
        let issuer = self.config.tokens.issuer.as_str();
        let uri = issuer.parse::<http::Uri>().ok();
        let development = self.config.environment == Environment::Development;
        let good = uri.as_ref().is_some_and(|uri| {
            uri.host().is_some_and(|host| !host.is_empty())
                && !issuer.contains(['?', '#', '@'])
                && !issuer.ends_with('/')
        });
        let remedy = "write the public address, such as \"https://id.example.com\"";
        let value = Some(format!("{issuer:?}"));
        if !good {
            let message = "is not a URL with host and without user, query, fragment or final slash";
            self.refuse("tokens.issuer", value, message, remedy);
        } else if !(issuer.starts_with("https://") || (development && issuer.starts_with("http://"))) {
            self.refuse("tokens.issuer", value, "does not begin with https:// in small letters", remedy);
        } else if uri.is_some_and(|uri| uri.path() != "/") {
            // RFC 8414 §3.1 puts the metadata of such an issuer under `/.well-known/…/PATH`; here it
            // is at the root alone, and a client that finds it there must reject it.
            let message = "has a path, but the issuer's metadata is served for the root only";
            self.refuse("tokens.issuer", value, message, remedy);
        }
    }

    fn room(&self) {
        let store = &self.config.store;
        if store.warn_free < store.stop_free {
            let message = "is less than store.stop_free: nobody would be warned";
            self.refuse("store.warn_free", None, message, "write at least store.stop_free");
        }
    }

    fn lives(&self) {
        let (tokens, keys) = (&self.config.tokens, &self.config.keys);
        let order = [
            ("tokens.access_ttl", tokens.access_ttl, "tokens.refresh_ttl", tokens.refresh_ttl),
            ("tokens.refresh_ttl", tokens.refresh_ttl, "tokens.session_ttl", tokens.session_ttl),
            ("tokens.refresh_grace", tokens.refresh_grace, "tokens.access_ttl", tokens.access_ttl),
        ];
        for (key, short, other, long) in order {
            if short > long {
                let message = format!("is longer than {other} ({})", span(long));
                let remedy = format!("write at most {}, or raise {other}", span(long));
                self.refuse(key, Some(format!("\"{}\"", span(short))), &message, &remedy);
            }
        }
        // A key is published for jwks_max_age before it signs, and stays until its last token is gone.
        let least = (keys.jwks_max_age + tokens.access_ttl) * 2;
        if keys.rotate_every > Duration::ZERO && keys.rotate_every < least {
            let message = "is too short for verifiers to learn of a key and its tokens to expire";
            let remedy = format!("write \"0s\" (by command only) or at least \"{}\"", span(least));
            self.refuse(
                "keys.rotate_every",
                Some(format!("\"{}\"", span(keys.rotate_every))),
                message,
                &remedy,
            );
        }
    }

    fn accounts(&self) {
        let limits = &self.config.limits;
        if limits.connections_per_address > limits.connections {
            let key = "limits.connections_per_address";
            let value = Some(limits.connections_per_address.to_string());
            let message = format!("is more than limits.connections ({})", limits.connections);
            self.refuse(key, value, &message, "write a smaller number, or raise limits.connections");
        }
        let throttle = &self.config.throttle;
        for (key, longest) in [
            ("throttle.max_delay", throttle.max_delay),
            ("throttle.address_max_delay", throttle.address_max_delay),
        ] {
            if longest < throttle.first_delay {
                let message =
                    format!("is shorter than throttle.first_delay ({})", span(throttle.first_delay));
                let remedy = "write a longer time, or lower throttle.first_delay";
                self.refuse(key, Some(format!("\"{}\"", span(longest))), &message, remedy);
            }
        }
        let users = &self.config.users;
        if users.document_bytes as u64 > users.account_bytes {
            let message = format!("is more than users.account_bytes ({})", users.account_bytes);
            let value = Some(users.document_bytes.to_string());
            self.refuse("users.document_bytes", value, &message, "write a smaller size, or raise the other");
        }
        let passwords = &self.config.passwords;
        if passwords.memory_kib < 8 * passwords.parallelism {
            let message = "is less than 8 KiB per lane, which argon2 needs (RFC 9106 §3.1)";
            let value = Some(passwords.memory_kib.to_string());
            self.refuse("passwords.memory_kib", value, message, "write 19456 (19 MiB)");
        }
    }

    /// Fetch standard, "CORS check": with credentials browsers take no `*`. Reflecting whatever origin
    /// asks instead would let any page act as the person who looks at it.
    fn cors(&self) {
        let cors = &self.config.cors;
        if cors.credentials && cors.origins == Origins::Any {
            let message = "lets every page on the web act with its visitor's credentials";
            let remedy = "name the origins, or write credentials = false";
            self.refuse("cors.origins", Some("[\"*\"]".to_owned()), message, remedy);
        }
    }

    /// What a CA asks for must be answered somewhere.
    fn acme(&self) {
        let CertificateSource::Acme(acme) = &self.config.tls.source else { return };
        if acme.challenge == Challenge::Http01 && self.config.listen.http.is_empty() {
            let remedy = "write listen.http = [\"0.0.0.0:80\"], or challenge = \"tls-alpn-01\"";
            let message = "is answered on listen.http, which is empty";
            self.refuse("tls.acme.challenge", Some("\"http-01\"".to_owned()), message, remedy);
        }
    }

    fn production_acme(&self) {
        let CertificateSource::Acme(acme) = &self.config.tls.source else { return };
        if matches!(&acme.external_account, Some(ExternalAccount { key: SecretSource::Value(_), .. })) {
            let remedy = "use { credential = \"NAME\" } or { file = \"/PATH\" }";
            self.refuse("tls.acme.eab_key", None, "stands in plain text in production", remedy);
        }
        if acme.directory.contains("//acme-staging") {
            let value = Some(format!("{:?}", acme.directory));
            let remedy = "remove it: without it Let's Encrypt's own directory is used";
            self.refuse(
                "tls.acme.directory",
                value,
                "is for rehearsals: no client trusts what it issues",
                remedy,
            );
        }
        // A private CA may know other names.
        let bare = |name: &&String| !name.contains('.') || name.ends_with(".localhost");
        if let Some(name) =
            acme.certificates.iter().flatten().find(bare).filter(|_| acme.directory_ca.is_none())
        {
            let message = "is a name that no public CA issues for";
            let remedy = "write the public name, or name a private CA by directory and directory_ca";
            self.refuse("tls.acme.certificates", Some(format!("{name:?}")), message, remedy);
        }
    }

    fn plain_origins(&self) {
        let Origins::Listed(origins) = &self.config.cors.origins else { return };
        if let Some(plain) = origins.iter().find(|origin| origin.starts_with("http:")) {
            let message = "is a page that anybody on the way can change, in production";
            let remedy = "serve the page over https, and write \"https://…\"";
            self.refuse("cors.origins", Some(format!("{plain:?}")), message, remedy);
        }
    }

    fn production(&self) {
        self.hash_strength();
        self.plain_origins();
        self.production_acme();
        if matches!(self.config.tls.source, CertificateSource::LocalCa { .. }) {
            let remedy = "set source = \"acme\" and [tls.acme], or source = \"files\" and [[tls.certificates]]; local-ca is for development and stage";
            self.refuse("tls.source", None, "is a local CA, which no client trusts, in production", remedy);
        }
        if matches!(self.config.keys.master_key, Some(SecretSource::Value(_))) {
            let remedy = "use { credential = \"NAME\" } or { file = \"/PATH\" }";
            self.refuse("keys.master_key", None, "stands in plain text in production", remedy);
        }
        let local = |host: &str| host == "localhost" || host.ends_with(".localhost");
        let uri = self.config.tokens.issuer.parse::<http::Uri>().ok();
        if uri.as_ref().and_then(http::Uri::host).is_some_and(local) {
            let value = Some(format!("{:?}", self.config.tokens.issuer));
            let remedy = "write the public address, such as \"https://id.example.com\"";
            self.refuse("tokens.issuer", value, "is not an address of production", remedy);
        }
        if let Some(address) = self.config.listen.internal.filter(|address| !is_internal(*address)) {
            let value = Some(format!("\"{address}\""));
            let message = "would show metrics to the public, in plain HTTP";
            let remedy = "use a loopback or private address, such as \"127.0.0.1:9090\", or \"off\"";
            self.refuse("listen.internal", value, message, remedy);
        }
    }

    /// OWASP Password Storage Cheat Sheet: any of its equivalent argon2id settings, or more.
    fn hash_strength(&self) {
        const LEAST: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];
        let passwords = &self.config.passwords;
        let enough = LEAST
            .iter()
            .any(|(memory, passes)| passwords.memory_kib >= *memory && passwords.iterations >= *passes);
        if !enough {
            let value = Some(passwords.memory_kib.to_string());
            let message =
                format!("with iterations = {} is weaker than OWASP's minimum", passwords.iterations);
            let remedy = "write memory_kib = 19456 and iterations = 2, or more";
            self.refuse("passwords.memory_kib", value, &message, remedy);
        }
    }
}

/// Whether a client that is sent to this path of the same host would be sent there again. A route for some methods
/// alone may lead to its own path for the others.
fn leads_to_itself(route: &Route, to: &str, routes: &[(usize, Route)]) -> bool {
    let path = to.split('?').next().unwrap_or_default();
    let takes = |other: &&Route| {
        let rest = if other.path == "/" { Some(path) } else { path.strip_prefix(other.path.as_str()) };
        other.host == route.host && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = routes.iter().map(|(_, other)| other).filter(takes).max_by_key(|other| other.path.len());
    to.starts_with('/') && route.methods.is_empty() && found.is_some_and(|found| found.path == route.path)
}

fn overlap(one: &Route, other: &Route) -> bool {
    let all = one.methods.is_empty() || other.methods.is_empty();
    let methods = all || one.methods.iter().any(|method| other.methods.contains(method));
    one.host == other.host && one.path == other.path && methods
}

/// Loopback, RFC 1918, RFC 6598 (carriers and overlay networks), RFC 4193, link-local.
fn is_internal(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, report};

    #[test]
    fn an_issuer_is_an_https_origin_in_the_letters_it_is_compared_in() {
        let with = |issuer: &str| report(&LEAST.replace("https://id.example.com", issuer), &[]);
        for issuer in ["https://id.example.com", "https://id.example.com:8443"] {
            assert_eq!(with(issuer), "no problem", "{issuer}");
        }
        let refused =
            [("https://id.example.com/tenant", "has a path"), ("hTtps://id.example.com", "in small letters")];
        for (issuer, why) in refused {
            let said = with(issuer);
            assert!(said.contains("tokens.issuer") && said.contains(why), "{said}");
        }
    }
}
