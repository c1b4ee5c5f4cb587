//! A histogram that threads fill without a lock: relaxed atomics, added up when somebody scrapes.
//! (`prometheus_client`'s own takes a lock for each observation.)

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use super::metrics::Count;

/// Bounds for what takes from microseconds to seconds, seconds.
pub const LATENCY: &[f64] = &[
    0.000_025, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Bounds for how many there were.
pub const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

/// Millionths in a whole: what the sum is kept in.
const MILLION: f64 = 1e6;

/// Counts by upper bound, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Vec<Count>,
    millionths: Count,
}

impl Histogram {
    /// An empty one with these upper bounds, in ascending order.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Count::default()).collect();
        Self { bounds, buckets, millionths: Count::default() }
    }

    /// Something took that long.
    pub fn took(&self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    /// There were that many.
    pub fn counted(&self, many: usize) {
        self.record(f64::from(u32::try_from(many).unwrap_or(u32::MAX)));
    }

    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.up();
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is ≥ 0")]
        self.millionths.add((value * MILLION) as u64);
    }

    /// How many observations so far.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::total).sum()
    }

    /// Writes it where the encoder stands.
    pub fn encode(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.buckets.iter().map(Count::total)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a sum for averages")]
        let sum = self.millionths.total() as f64 / MILLION;
        to.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_it_and_the_largest_to_no_bound() {
        let histogram = Histogram::new(SIZES);
        [1, 2, 3, 5000].into_iter().for_each(|many| histogram.counted(many));
        let totals: Vec<u64> = histogram.buckets.iter().map(Count::total).collect();
        assert_eq!(totals, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((histogram.count(), histogram.millionths.total()), (4, 5_006_000_000));
    }
}
