//! How long requests take, by route and class of status. Routes are the configuration's, so there are
//! few; what a client sends never becomes a label.
//!
//! Each edge thread has its own table: its lock is never waited for but by a scrape.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{BOUNDS, EdgeCounters};

/// Classes of status.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Routes told apart, over all reloads; further ones are counted together.
const ROUTES: usize = 1000;
/// The route of requests that were answered before one was found.
const NONE: &str = "none";
/// The route of those past [`ROUTES`].
const OTHER: &str = "other";

/// One route and class.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    buckets: [u64; BOUNDS.len() + 1],
    micros: u64,
}

/// One thread's table.
#[derive(Debug, Default)]
pub(super) struct RouteTimes(Mutex<HashMap<Arc<str>, [Times; CLASSES.len()]>>);

impl RouteTimes {
    pub(super) fn answered(&self, route: Option<&Arc<str>>, status: u16, took: Duration) {
        let mut table = self.0.lock();
        let name: &str = route.map_or(NONE, |route| route);
        let name = if table.contains_key(name) || table.len() < ROUTES { name } else { OTHER };
        if !table.contains_key(name) {
            table.insert(name.into(), Default::default());
        }
        let class = usize::from(status / 100).saturating_sub(1);
        let times = table.get_mut(name).and_then(|classes| classes.get_mut(class));
        let seconds = took.as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some((times, at)) = times.map(|times| (times, at)) {
            times.buckets.iter_mut().skip(at).take(1).for_each(|bucket| *bucket += 1);
            times.micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        }
    }
}

pub(super) fn encode(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    let mut all: BTreeMap<(Arc<str>, usize), Times> = BTreeMap::new();
    for worker in workers {
        for (route, classes) in worker.routes.0.lock().iter() {
            for (class, times) in classes.iter().enumerate().filter(|(_, times)| times.micros > 0) {
                let sum = all.entry((Arc::clone(route), class)).or_default();
                sum.buckets.iter_mut().zip(times.buckets).for_each(|(sum, count)| *sum += count);
                sum.micros += times.micros;
            }
        }
    }
    let help = "Time from a request's head to its response's head";
    let mut metric = to.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
    let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
    for ((route, class), times) in &all {
        let buckets: Vec<(f64, u64)> = bounds.clone().zip(times.buckets).collect();
        let count = times.buckets.iter().sum();
        let seconds = Duration::from_micros(times.micros).as_secs_f64();
        let status = CLASSES.get(*class).copied().unwrap_or_default();
        let labels = [("route", &**route), ("status", status)];
        let mut family = metric.encode_family(&labels)?;
        family.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_apart_up_to_a_bound() {
        let times = RouteTimes::default();
        for number in 0..2 * ROUTES {
            times.answered(Some(&Arc::from(format!("/{number}"))), 200, Duration::from_millis(1));
        }
        let table = times.0.lock();
        assert_eq!(table.len(), ROUTES + 1);
        let other: u64 = table[OTHER][1].buckets.iter().sum();
        assert_eq!(other, ROUTES as u64);
    }
}
