//! What the house measures besides the edge: security decisions as they are committed, and how far
//! the stores and the views in memory are. Counted where they happen or asked when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keepgate_guard::verifier::Verifier;
use keepgate_guard::view::RevocationView;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::control::view::word;
use super::core::Core;
use crate::auth::throttle::Throttle;
use crate::model::change::{Change, LogChange};
use crate::model::event::{Intent, Outcome};
use crate::observe::metrics::Metrics;
use crate::store::commit::{Committer, Follower};

/// Decisions since the start, by what was intended and how it ended.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Decisions(Arc<Mutex<BTreeMap<(Intent, Outcome), u64>>>);

impl Decisions {
    /// Counts what is committed: an event is counted exactly if it is in the audit log.
    pub fn follower(&self) -> Follower {
        let counts = Arc::clone(&self.0);
        Box::new(move |committed| {
            for change in &committed.changes {
                if let Change::Log(LogChange::Event(event)) = change {
                    *counts.lock().entry((event.intent, event.outcome)).or_default() +=
                        u64::from(event.count);
                }
            }
        })
    }
}

/// What is asked when somebody scrapes.
struct Measures {
    decisions: Decisions,
    committer: Committer,
    revocations: Arc<RevocationView>,
    verifier: Arc<Verifier>,
    throttle: Throttle,
}

/// Adds the house's own measures to the edge's.
pub(in crate::app) fn register(core: &Core, verifier: Arc<Verifier>, metrics: &Metrics) {
    let measures = Measures {
        decisions: core.decisions.clone(),
        committer: core.stores.committer.clone(),
        revocations: core.revocations.view(),
        verifier,
        throttle: core.auth.throttle.clone(),
    };
    metrics.register(|registry| registry.register_collector(Box::new(measures)));
}

// `Collector` wants it, for a registry's own `Debug`.
impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measures")
    }
}

impl Collector for Measures {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Security decisions, as the audit log has them";
        let counts = self.decisions.0.lock().clone();
        let mut metric = to.encode_descriptor("decisions", help, None, MetricType::Counter)?;
        for ((intent, outcome), count) in counts {
            let labels = [("intent", word(&intent)), ("outcome", word(&outcome))];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        let to = &mut to;
        let tally = self.throttle.tally();
        let help = "Password tries that got a verdict, by who made them";
        labelled(to, ("password_tries", help, "from"), MetricType::Counter, &tally.tried)?;
        let help = "Password tries refused before hashing, by whose failures";
        labelled(to, ("password_throttled", help, "by"), MetricType::Counter, &tally.refused)?;
        let help = "Accounts, devices and addresses with failed tries in memory";
        labelled(to, ("throttle_entries", help, "table"), MetricType::Gauge, &tally.entries)?;
        gauge(to, "journal_position", "Newest durable position of the journal", self.committer.durable().0)?;
        let read_only = u64::from(self.committer.read_only().is_some());
        gauge(to, "read_only", "1 if the node takes no writes", read_only)?;
        gauge(to, "revocations", "Revocations in force", self.revocations.len() as u64)?;
        gauge(to, "revocation_position", "Newest revocation's position", self.revocations.newest_seq())?;
        gauge(to, "verified_tokens", "Verified tokens remembered", self.verifier.remembered() as u64)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = to.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn labelled(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    kind: MetricType,
    values: &[(&'static str, u64)],
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, kind)?;
    for (word, value) in values {
        let labels = [(label, *word)];
        let family = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(*value).encode(family)?,
            _ => ConstGauge::new(*value).encode(family)?,
        }
    }
    Ok(())
}
