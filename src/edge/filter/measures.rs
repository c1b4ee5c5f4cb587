//! How often each filter matched, for whoever scrapes. The counts outlive plans: a filter that a reload leaves under
//! its name counts on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::edge::guard::blacklist::Blacklist;
use crate::model::time::SharedClock;
use crate::observe::metrics::Count;

/// One filter's name and count.
#[derive(Debug)]
pub struct Tally {
    name: Arc<str>,
    matches: Count,
}

impl Tally {
    /// One more.
    pub fn up(&self) {
        self.matches.up();
    }

    /// The filter's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// The counts of all filters in use.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<BTreeMap<Arc<str>, Weak<Tally>>>);

impl Tallies {
    /// The count of a filter of this name: the one in use, or a new one.
    pub fn of(&self, name: &str) -> Arc<Tally> {
        let mut tallies = self.0.lock();
        tallies.retain(|_, tally| tally.strong_count() > 0);
        if let Some(known) = tallies.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let tally = Arc::new(Tally { name: name.into(), matches: Count::default() });
        tallies.insert(Arc::clone(&tally.name), Arc::downgrade(&tally));
        tally
    }

    fn in_use(&self) -> Vec<Arc<Tally>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}

/// Asks filters and ladder when somebody scrapes.
pub struct Measures {
    /// The filters' counts.
    pub tallies: Arc<Tallies>,
    /// Who has the ladder.
    pub blacklist: Arc<Blacklist>,
    /// The time.
    pub clock: SharedClock,
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

impl Collector for Measures {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let tallies = self.tallies.in_use();
        if !tallies.is_empty() {
            let help = "Requests that a filter matched";
            let mut metric = to.encode_descriptor("filter_matches", help, None, MetricType::Counter)?;
            for tally in tallies {
                let labels = [("filter", &*tally.name)];
                ConstCounter::new(tally.matches.total()).encode(metric.encode_family(&labels)?)?;
            }
        }
        let ladder = self.blacklist.ladder();
        let standing = ladder.standing(self.clock.now());
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(to.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("ladder_addresses", "Addresses whose offences are remembered", standing.remembered)?;
        gauge("ladder_banned", "Addresses banned for their offences now", standing.banned)?;
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(to.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("ladder_bans", "Bans for offences", standing.bans)?;
        counter("ladder_forgone", "Offences not remembered for want of room", standing.forgone)
    }
}
