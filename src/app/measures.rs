//! What the house measures besides the edge: security decisions as they are committed, and how far
//! the stores and the views in memory are. Counted where they happen or asked when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use keepgate_guard::verifier::Verifier;
use keepgate_guard::view::RevocationView;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::control::view::word;
use super::core::Core;
use super::disk::Disk;
use crate::audit::outside::Counts;
use crate::auth::throttle::Throttle;
use crate::edge::acme::keeper::Keeper;
use crate::edge::acme::measures::Measures as CertificateMeasures;
use crate::model::change::Change;
use crate::model::event::{Intent, Outcome};
use crate::observe::encode::{counters, float, gauges, whole};
use crate::observe::files::Files;
use crate::observe::identity::IdentityMeters;
use crate::observe::logging;
use crate::observe::metrics::Metrics;
use crate::observe::stores::StoreMeters;
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
                if let Change::Log(change) = change
                    && let Some((event, _)) = change.event()
                {
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
    disk: Disk,
    revocations: Arc<RevocationView>,
    verifier: Arc<Verifier>,
    outside: Arc<Counts>,
    throttle: Throttle,
    log: logging::Handle,
}

/// A place in the registry for what is measured by a house, of which there may be another later.
struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    fn put(&self, measures: T) {
        *self.0.lock() = Some(measures);
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

// `Collector` wants it, for a registry's own `Debug`.
impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl<T: Collector> Collector for Slot<T> {
    fn encode(&self, to: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.lock().as_ref().map_or(Ok(()), |measures| measures.encode(to))
    }
}

/// The places of all that a house measures.
#[derive(Clone, Default)]
pub(in crate::app) struct Slots {
    house: Slot<Measures>,
    stores: Slot<Arc<StoreMeters>>,
    identity: Slot<Arc<IdentityMeters>>,
    certificates: Slot<CertificateMeasures>,
}

impl Slots {
    /// Adds the house's own measures to the edge's.
    pub fn register(metrics: &Metrics, data_dir: PathBuf) -> Self {
        let slots = Self::default();
        let Self { house, stores, identity, certificates } = slots.clone();
        metrics.register(|registry| {
            registry.register_collector(Box::new(house));
            registry.register_collector(Box::new(stores));
            registry.register_collector(Box::new(identity));
            registry.register_collector(Box::new(Files { data_dir }));
            registry.register_collector(Box::new(certificates));
        });
        slots
    }

    /// Measures this house.
    pub fn put(&self, core: &Core, verifier: Arc<Verifier>, log: logging::Handle, keeper: Arc<Keeper>) {
        self.house.put(Measures {
            decisions: core.decisions.clone(),
            committer: core.stores.committer.clone(),
            disk: core.disk.clone(),
            revocations: core.revocations.view(),
            verifier,
            outside: core.heads.outside_counts(),
            throttle: core.auth.throttle.clone(),
            log,
        });
        self.stores.put(Arc::clone(&core.stores.meters));
        self.identity.put(Arc::clone(&core.auth.meters));
        self.certificates.put(CertificateMeasures(keeper));
    }

    /// Lets the house go.
    pub fn clear(&self) {
        *self.house.0.lock() = None;
        *self.stores.0.lock() = None;
        *self.identity.0.lock() = None;
        *self.certificates.0.lock() = None;
    }
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
        let contradictions = "Times a copy of the audit witness ended in what the log does not bear out";
        for (name, help, count) in [
            (
                "audit_witness_failures",
                "Deliveries of signed audit heads to outside witnesses that failed, and heads that were let go",
                self.outside.failures(),
            ),
            ("audit_witness_contradictions", contradictions, self.outside.contradictions()),
            (
                "log_lines_dropped",
                "Lines of the log dropped because it could not be written, or not fast enough",
                self.log.dropped_lines(),
            ),
        ] {
            ConstCounter::new(count).encode(to.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let to = &mut to;
        let help = "Always 1; the label says which Keepgate this is";
        gauges(to, ("build_info", help, "version"), [(env!("CARGO_PKG_VERSION"), 1.0)])?;
        let tally = self.throttle.tally();
        let help = "Password tries that got a verdict, by who made them";
        counters(to, ("password_tries", help, "from"), tally.tried)?;
        let help = "Password tries refused before hashing, by whose failures";
        counters(to, ("password_throttled", help, "by"), tally.refused)?;
        let help = "Accounts, devices and addresses with failed tries in memory";
        let entries = tally.entries.into_iter().map(|(table, count)| (table, float(count)));
        gauges(to, ("throttle_entries", help, "table"), entries)?;
        whole(to, "journal_position", "Newest durable position of the journal", self.committer.durable().0)?;
        let segments = self.committer.journal_segments() as u64;
        whole(to, "journal_segments", "Segments of the journal on disk", segments)?;
        let read_only = u64::from(self.committer.read_only().is_some());
        whole(to, "read_only", "1 if the node takes no writes", read_only)?;
        let help =
            "How short the disk is: 0 plenty, 1 below warn_free, 2 below stop_free, 3 below a quarter of it";
        whole(to, "disk_short", help, self.disk.level() as u64)?;
        whole(
            to,
            "revocations",
            "Revocations kept in memory, those included that lapsed less than a day ago",
            self.revocations.len() as u64,
        )?;
        whole(to, "revocation_position", "Newest revocation's position", self.revocations.newest_seq())?;
        whole(to, "verified_tokens", "Verified tokens remembered", self.verifier.remembered() as u64)
    }
}
