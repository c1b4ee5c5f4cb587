//! How the upstream groups stand, for whoever scrapes. Labels are names and addresses of the
//! configuration in force.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::shared::Shared;
use super::state::ServerState;
use crate::config::upstream::Member;
use crate::edge::plan::Plans;

/// Asks the groups in force when somebody scrapes.
pub struct Groups(pub Arc<Plans>);

// `Collector` wants it, for a registry's own `Debug`.
impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups")
    }
}

type Name<'a> = (&'a str, &'a str);

/// What a server's series is told by. A zone only where the configuration names one.
fn labels<'a>(group: &'a Shared, member: &'a Member, server: &'a ServerState) -> Vec<Name<'a>> {
    let zone = member.zone.as_deref().map(|zone| ("zone", zone));
    [("upstream", &*group.name), ("server", server.label())].into_iter().chain(zone).collect()
}

/// A counter or a gauge for each server.
fn servers(
    to: &mut DescriptorEncoder<'_>,
    groups: &[Arc<Shared>],
    (kind, (name, help)): (MetricType, Name<'_>),
    of: impl Fn(&Shared, &ServerState) -> u64,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, kind)?;
    for group in groups {
        for (member, server) in group.members.iter().zip(&group.servers) {
            let labels = labels(group, member, server);
            let to = metric.encode_family(&labels)?;
            encode(to, kind, of(group, server))?;
        }
    }
    Ok(())
}

/// A counter or a gauge for each group.
fn groups(
    to: &mut DescriptorEncoder<'_>,
    groups: &[Arc<Shared>],
    (kind, (name, help)): (MetricType, Name<'_>),
    of: impl Fn(&Shared) -> u64,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, kind)?;
    for group in groups {
        let labels = [("upstream", &*group.name)];
        encode(metric.encode_family(&labels)?, kind, of(group))?;
    }
    Ok(())
}

fn encode(to: prometheus_client::encoding::MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(to),
        _ => ConstGauge::new(value).encode(to),
    }
}

fn checks(to: &mut DescriptorEncoder<'_>, groups: &[Arc<Shared>]) -> fmt::Result {
    let help = "Checks of application servers, by what they found";
    let mut metric = to.encode_descriptor("upstream_checks", help, None, MetricType::Counter)?;
    for group in groups {
        for (member, server) in group.members.iter().zip(&group.servers) {
            let (good, bad) = server.checks();
            for (found, total) in [("good", good), ("bad", bad)] {
                let mut labels = labels(group, member, server);
                labels.push(("found", found));
                ConstCounter::new(total).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

impl Collector for Groups {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let (to, all) = (&mut to, self.0.current().upstreams());
        let all = &*all;
        let (counter, gauge) = (|name| (MetricType::Counter, name), |name| (MetricType::Gauge, name));
        let in_service = |group: &Shared, server: &ServerState| {
            u64::from(server.share(group.config.passive.slow_start, || group.now()) > 0)
        };
        let name = ("upstream_server_up", "Whether an application server is in service");
        servers(to, all, gauge(name), in_service)?;
        let name = ("upstream_server_in_flight", "Requests under way at an application server");
        servers(to, all, gauge(name), |_, server| u64::from(server.in_flight()))?;
        let name = ("upstream_server_requests", "Requests given to an application server");
        servers(to, all, counter(name), |_, server| server.requests())?;
        let name = ("upstream_server_failures", "Requests that an application server failed at");
        servers(to, all, counter(name), |_, server| server.failures())?;
        let name = ("upstream_server_ejections", "Times that failed requests put an application server out");
        servers(to, all, counter(name), |_, server| server.ejections())?;
        checks(to, all)?;
        let name = ("upstream_waiting", "Requests that wait for an application server to have room");
        groups(to, all, gauge(name), |group| group.line().len() as u64)?;
        let name = ("upstream_waited", "Requests that had to wait for room");
        groups(to, all, counter(name), |group| group.line().counts().0)?;
        let name = ("upstream_turned_away", "Requests that found no room, or not in time");
        groups(to, all, counter(name), |group| group.line().counts().1)?;
        let name = ("upstream_retries_denied", "Retries that the budget did not allow");
        groups(to, all, counter(name), |group| group.counts().0)?;
        let name =
            ("upstream_panics", "Requests sent without regard to health: too few servers were in service");
        groups(to, all, counter(name), |group| group.counts().1)?;
        let name = ("upstream_spilled", "Requests sent out of the node's own zone");
        groups(to, all, counter(name), |group| group.spilled())
    }
}
