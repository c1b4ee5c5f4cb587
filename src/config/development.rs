//! What `keepgate serve --dev` uses: the whole appliance from an empty folder, without a file.
//!
//! Only what production could not use differs from the defaults: a local CA, open registration, an
//! echo upstream, loopback addresses. Hashing stays at production's cost, so that what a developer
//! measures is true.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::accounts::{Accounts, Registration};
use super::keys::Keys;
use super::limits::Limits;
use super::listen::Listen;
use super::log::Log;
use super::passwords::Passwords;
use super::route::{Route, RouteAuth, RouteTarget};
use super::store::Store;
use super::tls::Tls;
use super::tokens::Tokens;
use super::{Config, Environment};

/// The upstream that `serve --dev` runs inside the process; whoever starts it adds it to
/// [`Config::upstreams`], because its port is only known then.
pub const ECHO: &str = "echo";
/// Where HTTPS listens if nothing else is said.
pub const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Where plain HTTP listens, to redirect.
pub const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where metrics and health listen.
pub const INTERNAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// What the local API answers.
const API: [&str; 6] = ["/auth", "/users", "/oauth", "/.well-known", "/health", "/ready"];

impl Config {
    /// Development in `data_dir`. The issuer is `https://localhost` with the HTTPS port; without it
    /// if the port is left to the system, so that it stays the same over restarts.
    pub fn development(data_dir: PathBuf, https: SocketAddr, http: SocketAddr, internal: SocketAddr) -> Self {
        let issuer = match https.port() {
            0 | 443 => "https://localhost".to_owned(),
            port => format!("https://localhost:{port}"),
        };
        let mut routes: Vec<_> =
            API.into_iter().map(|path| route(path, RouteTarget::Api, RouteAuth::Optional)).collect();
        routes.push(route("/echo/public", RouteTarget::Upstream(ECHO.into()), RouteAuth::None));
        routes.push(route("/echo", RouteTarget::Upstream(ECHO.into()), RouteAuth::Required));
        super::read::sort(&mut routes);
        Self {
            environment: Environment::Development,
            data_dir,
            listen: Listen {
                https: vec![https],
                http: vec![http],
                internal: Some(internal),
                ..Listen::default()
            },
            tls: Tls::default(),
            limits: Limits::default(),
            routes,
            upstreams: std::collections::BTreeMap::new(),
            accounts: Accounts { registration: Registration::Open, ..Accounts::default() },
            passwords: Passwords::default(),
            tokens: Tokens { issuer, ..Tokens::default() },
            keys: Keys::default(),
            store: Store::default(),
            log: Log::default(),
        }
    }
}

fn route(path: &str, target: RouteTarget, auth: RouteAuth) -> Route {
    Route {
        host: None,
        path: path.to_owned(),
        methods: Vec::new(),
        target,
        auth,
        roles: Vec::new(),
        scopes: Vec::new(),
        body_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_needs_a_token_for_echo_but_not_for_its_public_part() {
        let config = Config::development("/tmp/x".into(), HTTPS, HTTP, INTERNAL);
        let first = |path: &str| config.routes.iter().find(|r| path.starts_with(&r.path)).unwrap();
        assert_eq!(first("/echo/public").auth, RouteAuth::None);
        assert_eq!(first("/echo/x").auth, RouteAuth::Required);
        assert_eq!(first("/auth/v1/login").target, RouteTarget::Api);
    }

    #[test]
    fn the_issuer_follows_the_port_unless_the_system_chooses_it() {
        let issuer = |port| {
            let https = SocketAddr::new(HTTPS.ip(), port);
            Config::development("/tmp/x".into(), https, HTTP, INTERNAL).tokens.issuer
        };
        assert_eq!(issuer(8443), "https://localhost:8443");
        assert_eq!(issuer(0), "https://localhost");
    }
}
