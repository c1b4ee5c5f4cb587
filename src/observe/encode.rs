//! How a collector writes its metrics: one call a metric, so that name, help, type and labels stand on
//! one line where they are read.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::histogram::Histogram;

/// A counter; `_total` is added to its name.
pub fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, total: u64) -> fmt::Result {
    let counter = ConstCounter::new(total);
    let metric = to.encode_descriptor(name, help, None, counter.metric_type())?;
    counter.encode(metric)
}

/// A gauge.
pub fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = to.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// A gauge of whole numbers.
pub fn whole(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    gauge(to, name, help, float(value))
}

/// As a gauge has it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "positions and sizes stay below 2^53")]
pub const fn float(value: u64) -> f64 {
    value as f64
}

/// A counter for each value of one label.
pub fn counters<'w>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    totals: impl IntoIterator<Item = (&'w str, u64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (word, total) in totals {
        let labels = [(label, word)];
        ConstCounter::new(total).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A gauge for each value of one label.
pub fn gauges<'w>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    values: impl IntoIterator<Item = (&'w str, f64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (word, value) in values {
        let labels = [(label, word)];
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A histogram.
pub fn histogram(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: &Histogram) -> fmt::Result {
    of.encode(to.encode_descriptor(name, help, None, MetricType::Histogram)?)
}

/// A histogram for each value of one label.
pub fn histograms<'w>(
    to: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    of: impl IntoIterator<Item = (&'w str, &'w Histogram)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (word, histogram) in of {
        let labels = [(label, word)];
        histogram.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
