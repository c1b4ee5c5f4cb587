//! Metrics in the OpenMetrics text format, from one explicit registry.
//!
//! The edge counts into a [`EdgeCounters`] of its own for each worker thread: plain relaxed atomics
//! that no other core writes, added up when somebody scrapes. (A `Family` costs a lock and a hash
//! for each increment, a `Histogram` a lock shared by all cores.) Other parts register their own
//! metrics through [`Metrics::register`]. A metric that nothing feeds does not belong here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::process::Process;
use crate::model::time::Timestamp;

/// Upper bounds of the latency buckets, seconds.
const BOUNDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// `by` more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! labelled {
    ($(#[$doc:meta])* $kind:ident, $counts:ident { $($(#[$vdoc:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$vdoc])* $variant),+ }

        impl $kind {
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// The label's value: a stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        #[doc = concat!("One count for each [`", stringify!($kind), "`].")]
        #[derive(Debug, Default)]
        pub struct $counts([Count; [$($word),+].len()]);

        impl $counts {
            /// One more of that kind.
            pub fn up(&self, kind: $kind) {
                if let Some(count) = self.0.get(kind as usize) {
                    count.up();
                }
            }

            fn labelled(&self) -> impl Iterator<Item = (&'static str, u64)> {
                $kind::WORDS.iter().copied().zip(self.0.iter().map(Count::total))
            }
        }
    };
}

labelled!(
    /// Why a connection was closed before its first byte was read.
    Turned, TurnedAway {
        /// All connections in use.
        Budget => "budget",
        /// All of this address's connections in use.
        AddressBudget => "address_budget",
        /// The address is banned.
        Blacklist => "blacklist",
        /// Not one of those who may say whose connection it is, where that must be said.
        NoProxy => "no_proxy",
        /// A proxy that did not say whose connection it is.
        ProxyHeader => "proxy_header",
    }
);

labelled!(
    /// Why the edge itself refused a request.
    Denial, Denials {
        /// 401: no credentials where some are needed.
        NoToken => "no_token",
        /// 401: a token that did not verify.
        BadToken => "bad_token",
        /// 403: a good token without the role or scope.
        Forbidden => "forbidden",
        /// 403: a banned address behind a trusted proxy.
        Blacklist => "blacklist",
        /// 403 or 404: a filter matched.
        Filter => "filter",
        /// 429: too many requests from an address.
        RateAddress => "rate_address",
        /// 429: too many requests by an account.
        RateUser => "rate_user",
        /// 429: too many requests in a session.
        RateSession => "rate_session",
        /// 429: past a route's own rate.
        RateRoute => "rate_route",
        /// 429: too many tokens that did not verify, from an address.
        RateFailures => "rate_failures",
        /// Another 4xx: malformed, too large, no route …
        Malformed => "malformed",
    }
);

labelled!(
    /// What went wrong with an upstream.
    UpstreamFailure, UpstreamFailures {
        /// No server could be connected to.
        Unreachable => "unreachable",
        /// No room for one more connection to application servers.
        Full => "full",
        /// All servers had as many requests as they may, and too many waited, or for too long.
        Busy => "busy",
        /// All servers are drained.
        Drained => "drained",
        /// No name of its servers leads to an address.
        Unresolved => "unresolved",
        /// It broke off, or did not speak HTTP.
        Broken => "broken",
        /// No response in time.
        Timeout => "timeout",
    }
);

pub mod http2;
mod routes;
pub mod tunnels;

/// What one edge worker counts.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    /// Connections taken in.
    pub opened: Count,
    /// Of those, closed again.
    pub closed: Count,
    /// Connections not taken in.
    pub turned_away: TurnedAway,
    /// TLS handshakes completed.
    pub handshakes: Count,
    /// TLS handshakes failed or timed out.
    pub handshake_failures: Count,
    /// Requests refused by the edge itself.
    pub denials: Denials,
    /// Connections made to upstreams.
    pub upstream_connects: Count,
    /// Upstream exchanges on a kept-alive connection.
    pub upstream_reuses: Count,
    /// Upstream exchanges tried a second time.
    pub upstream_retries: Count,
    /// Upstream exchanges given up.
    pub upstream_failures: UpstreamFailures,
    /// Requests that panicked.
    pub panics: Count,
    /// Audit events of the edge that could not be written.
    pub audit_failures: Count,
    /// HTTP/2 connections ended for their client's fault.
    pub http2_ended: http2::EndedHttp2,
    /// Tunnels, and what was cut while it was open.
    pub tunnels: tunnels::TunnelCounters,
    responses: [Count; routes::CLASSES.len()],
    routes: routes::RouteTimes,
}

impl EdgeCounters {
    /// A request was answered: by which route, if one was found, its status, and the time to the
    /// response's head.
    pub fn answered(&self, route: Option<&Arc<str>>, status: u16, took: Duration) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.responses.get(class) {
            count.up();
        }
        self.routes.answered(route, status, took);
    }
}

/// The process's metrics.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// The names here are everybody's, not ours.
    process: Registry,
    edge: Arc<EdgeWorkers>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A registry that knows the edge's metrics.
    pub fn new(started_at: Timestamp) -> Self {
        let edge = Arc::new(EdgeWorkers::default());
        let mut registry = Registry::with_prefix("keepgate");
        registry.register_collector(Box::new(Arc::clone(&edge)));
        let mut process = Registry::default();
        process.register_collector(Box::new(Process { started_at }));
        Self { registry: Mutex::new(registry), process, edge }
    }

    /// Counters for one more edge worker; they are part of every later scrape.
    pub fn edge_worker(&self) -> Arc<EdgeCounters> {
        let counters = Arc::new(EdgeCounters::default());
        self.edge.0.lock().push(Arc::clone(&counters));
        counters
    }

    /// Lets another part register its metrics; names get the prefix `keepgate_`.
    pub fn register<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(&mut self.registry.lock())
    }

    /// Everything, as OpenMetrics text ([`super::exposition::OPEN_METRICS`]).
    pub fn encode(&self) -> String {
        let mut written = String::new();
        let encoded = text::encode_registry(&mut written, &self.process)
            .and_then(|()| text::encode(&mut written, &self.registry.lock()));
        match encoded {
            Ok(()) => written,
            Err(error) => {
                tracing::error!(%error, "metrics could not be encoded");
                String::new()
            }
        }
    }
}

#[derive(Debug, Default)]
struct EdgeWorkers(Mutex<Vec<Arc<EdgeCounters>>>);

type Labelled = Vec<(&'static str, u64)>;

fn sum(workers: &[Arc<EdgeCounters>], of: impl Fn(&EdgeCounters) -> &Count) -> u64 {
    workers.iter().map(|worker| of(worker).total()).sum()
}

fn sum_labelled<I>(workers: &[Arc<EdgeCounters>], of: impl Fn(usize) -> Option<I>) -> Labelled
where
    I: Iterator<Item = (&'static str, u64)>,
{
    let mut totals: Labelled = Vec::new();
    for (word, count) in (0..workers.len()).filter_map(of).flatten() {
        match totals.iter_mut().find(|(known, _)| *known == word) {
            Some((_, total)) => *total += count,
            None => totals.push((word, count)),
        }
    }
    totals
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, total: u64) -> fmt::Result {
    let counter = ConstCounter::new(total);
    let metric = to.encode_descriptor(name, help, None, counter.metric_type())?;
    counter.encode(metric)
}

fn labelled(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    totals: &Labelled,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (word, total) in totals {
        let labels = [(label, *word)];
        ConstCounter::new(*total).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Collector for EdgeWorkers {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.lock().clone();
        let to = &mut to;
        connections(to, &workers)?;
        requests(to, &workers)?;
        upstreams(to, &workers)?;
        http2::encode(to, &workers)?;
        tunnels::encode(to, &workers)?;
        counter(to, "panics", "Requests that panicked", sum(&workers, |w| &w.panics))?;
        let failures = sum(&workers, |w| &w.audit_failures);
        counter(to, "edge_audit_failures", "Audit events of the edge that could not be written", failures)
    }
}

fn connections(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    let opened = sum(workers, |w| &w.opened);
    let open = opened.saturating_sub(sum(workers, |w| &w.closed));
    counter(to, "connections", "Connections taken in", opened)?;
    let gauge = ConstGauge::new(open);
    let metric =
        to.encode_descriptor("connections_open", "Connections open now", None, gauge.metric_type())?;
    gauge.encode(metric)?;
    let away = sum_labelled(workers, |at| workers.get(at).map(|w| w.turned_away.labelled()));
    labelled(to, ("connections_turned_away", "Connections closed unread", "reason"), &away)?;
    let handshakes = sum(workers, |w| &w.handshakes);
    counter(to, "tls_handshakes", "TLS handshakes completed", handshakes)?;
    let failed = sum(workers, |w| &w.handshake_failures);
    counter(to, "tls_handshake_failures", "TLS handshakes failed or timed out", failed)
}

fn requests(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    let by_class = |at: usize| {
        let worker = workers.get(at)?;
        Some(routes::CLASSES.iter().copied().zip(worker.responses.iter().map(Count::total)))
    };
    let responses = sum_labelled(workers, by_class);
    labelled(to, ("requests", "Requests answered, by class of status", "status"), &responses)?;
    let denials = sum_labelled(workers, |at| workers.get(at).map(|w| w.denials.labelled()));
    labelled(to, ("denials", "Requests refused by the edge itself", "reason"), &denials)?;
    routes::encode(to, workers)
}

fn upstreams(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    counter(
        to,
        "upstream_connects",
        "Connections made to upstreams",
        sum(workers, |w| &w.upstream_connects),
    )?;
    let reuses = sum(workers, |w| &w.upstream_reuses);
    counter(to, "upstream_reuses", "Upstream exchanges on a kept-alive connection", reuses)?;
    let retries = sum(workers, |w| &w.upstream_retries);
    counter(to, "upstream_retries", "Upstream exchanges tried a second time", retries)?;
    let failures = sum_labelled(workers, |at| workers.get(at).map(|w| w.upstream_failures.labelled()));
    labelled(to, ("upstream_failures", "Upstream exchanges given up", "reason"), &failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_adds_up_what_the_workers_counted() {
        let metrics = Metrics::new(Timestamp::default());
        let (one, two) = (metrics.edge_worker(), metrics.edge_worker());
        one.answered(None, 200, Duration::from_millis(3));
        two.answered(Some(&"/app".into()), 204, Duration::from_millis(700));
        two.answered(None, 503, Duration::from_secs(100));
        one.denials.up(Denial::BadToken);
        two.denials.up(Denial::BadToken);
        one.opened.add(3);
        two.closed.add(1);
        let text = metrics.encode();
        for line in [
            r#"keepgate_requests_total{status="2xx"} 2"#,
            r#"keepgate_requests_total{status="5xx"} 1"#,
            r#"keepgate_denials_total{reason="bad_token"} 2"#,
            r#"keepgate_denials_total{reason="blacklist"} 0"#,
            "keepgate_connections_open 2",
            r#"keepgate_request_duration_seconds_bucket{le="0.005",route="none",status="2xx"} 1"#,
            r#"keepgate_request_duration_seconds_bucket{le="+Inf",route="none",status="5xx"} 1"#,
            r#"keepgate_request_duration_seconds_count{route="/app",status="2xx"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "no line {line:?} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn other_parts_can_register_their_own() {
        let metrics = Metrics::new(Timestamp::default());
        let logins = prometheus_client::metrics::counter::Counter::<u64>::default();
        metrics.register(|registry| registry.register("logins", "Logins", logins.clone()));
        logins.inc();
        assert!(metrics.encode().contains("keepgate_logins_total 1"));
    }
}
