//! Opening the doors: the edge with its verifier and its API, the internal listener, the control
//! socket, and the file that says where they are.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use keepgate_guard::verifier::{Expectations, Verifier};
use tokio::sync::watch;

use super::core::Core;
use super::error::AppError;
use super::handover::desk::{Attendant, Desk};
use super::ready::Listeners;
use super::{descriptors, echo};
use crate::api::{self, Api};
use crate::config::Config;
use crate::config::development::{ECHO, echo_socket};
use crate::config::limits::Limits;
use crate::config::upstream::Server;
use crate::edge::plan::Settings;
use crate::edge::rates::limiter::Ticks;
use crate::edge::start::{Edge, Given, Parts, Running};
use crate::edge::tls::Terminator;
use crate::files;
use crate::observe::metrics::Metrics;

/// The verifier that the edge asks, following keys and revocations.
pub(in crate::app) fn verifier(core: &Core) -> Arc<Verifier> {
    let tokens = &core.config.tokens;
    let expectations = Expectations {
        issuer: tokens.issuer.clone(),
        audience: tokens.audience.clone(),
        leeway: i64::try_from(tokens.leeway.as_secs()).unwrap_or(i64::MAX),
        cache_entries: tokens.cache_entries,
    };
    let verifier =
        Arc::new(Verifier::new(expectations, core.keys.verification_keys(), core.revocations.view()));
    let told = Arc::clone(&verifier);
    core.keys.live().on_change(move |keys| told.replace_keys(keys));
    verifier
}

/// Who attends to requests for the API, and to denials: this house.
pub(in crate::app) fn attendant(core: &Core) -> Attendant {
    let api = Api::new(api::Parts {
        accounts: core.auth.accounts.clone(),
        sessions: core.auth.sessions.clone(),
        users: core.users.clone(),
        keys: core.keys.clone(),
        health: core.health.clone(),
        issuer: core.config.tokens.issuer.clone(),
        jwks_max_age: core.config.keys.jwks_max_age,
    });
    Attendant::House { api, trail: core.trail.clone() }
}

/// TLS from the configured files or the local CA.
pub(in crate::app) fn terminator(core: &Core) -> Result<Terminator, AppError> {
    let (clock, rng) = (Arc::clone(&core.clock), Arc::clone(&core.rng));
    Ok(Terminator::open(&core.config.tls, &core.config.data_dir, clock, rng)?)
}

/// The limits, with no more connections than there are file descriptors for.
fn affordable(limits: &Limits) -> Limits {
    let descriptors = descriptors::raise();
    let connections = descriptors::affordable(limits.connections, descriptors);
    if connections < limits.connections {
        tracing::warn!(
            configured = limits.connections,
            served = connections,
            open_files = descriptors,
            "fewer connections are served than limits.connections says: raise the hard limit of open \
             files (LimitNOFILE= in systemd, ulimit -Hn) to twice as many and 256, or lower the setting"
        );
    }
    Limits { connections, ..limits.clone() }
}

/// What the edge's plan is made of.
pub(in crate::app) fn settings(config: &Config, terminator: Terminator) -> Settings {
    Settings {
        limits: affordable(&config.limits),
        rates: config.rates.clone(),
        cors: config.cors.clone(),
        forwarding: config.forwarding.clone(),
        trusted_proxies: config.listen.trusted_proxies.clone(),
        terminator,
        request_headers: config.request_headers.clone(),
        response_headers: config.response_headers.clone(),
        filters: config.filters.clone(),
        bans: config.bans.clone(),
        hsts: config.tls.hsts,
        routes: config.routes.clone(),
        error_pages: config.error_pages.clone(),
        upstreams: config.upstreams.clone(),
    }
}

/// Starts the edge's threads on every address, with the sockets that are open already.
pub(in crate::app) fn edge(
    core: &Core,
    (terminator, desk): (&Terminator, &Desk),
    verifier: Arc<Verifier>,
    metrics: &Arc<Metrics>,
    (given, begins): (Given, watch::Receiver<bool>),
) -> Result<Running, AppError> {
    let config = &core.config;
    let socket = echo_socket(&config.data_dir);
    let echo = Server::Unix(socket.clone());
    if config
        .upstreams
        .get(ECHO)
        .is_some_and(|group| group.servers.iter().any(|member| member.server == echo))
    {
        let failed =
            |source| AppError::File { what: "cannot start the echo upstream", path: socket.clone(), source };
        echo::start(&socket).map_err(failed)?;
    }
    Ok(Edge::start(Parts {
        listen: config.listen.clone(),
        given,
        begins,
        settings: settings(config, terminator.clone()),
        ticks: Ticks::monotonic(),
        verifier,
        api: desk.api(),
        audit: Arc::new(desk.clone()),
        blacklist: Arc::clone(&core.blacklist),
        metrics: Arc::clone(metrics),
        clock: Arc::clone(&core.clock),
        rng: Arc::clone(&core.rng),
    })?)
}

/// The internal listener, if one is configured: the one that is open already, if it is at that address.
pub(in crate::app) fn internal(
    core: &Core,
    given: Option<TcpListener>,
) -> Result<Option<TcpListener>, AppError> {
    let Some(address) = core.config.listen.internal else { return Ok(None) };
    let is = |local: SocketAddr| local == address || (address.port() == 0 && local.ip() == address.ip());
    let given = given.filter(|listener| listener.local_addr().is_ok_and(is));
    let bound = given.map_or_else(|| TcpListener::bind(address), Ok);
    let bound = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map(Some).map_err(|source| AppError::Internal { address, source })
}

/// Where everything listens.
pub(in crate::app) fn listeners(edge: &Running, internal: Option<&TcpListener>) -> Listeners {
    let internal: Option<SocketAddr> = internal.and_then(|listener| listener.local_addr().ok());
    Listeners { https: edge.https_addresses().to_vec(), http: edge.http_addresses().to_vec(), internal }
}

/// Writes it to `run/ports.json`, for whoever let the system choose.
pub(in crate::app) fn publish(data_dir: &Path, listeners: &Listeners) -> Result<(), AppError> {
    let text = serde_json::to_string(listeners).map_err(|_| AppError::Broken("addresses are not JSON"))?;
    let path = data_dir.join("run/ports.json");
    let written = files::write(&path, &text, 0o600);
    written.map_err(|source| AppError::File { what: "cannot write", path, source })
}
