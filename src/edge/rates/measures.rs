//! How crowded the rates' tables are, for whoever scrapes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::limiter::Limiters;

/// Asks the limiters when somebody scrapes.
#[derive(Debug)]
pub struct Crowd(pub Arc<Limiters>);

impl Collector for Crowd {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let (clients, crowded) = self.0.crowd();
        let clients = ConstGauge::new(clients as u64);
        let help = "Clients that rates keep a bucket for";
        clients.encode(to.encode_descriptor("rate_buckets", help, None, clients.metric_type())?)?;
        let crowded = ConstCounter::new(crowded);
        let help = "Requests counted in a bucket shared with neighbours, for want of room";
        crowded.encode(to.encode_descriptor("rate_buckets_shared", help, None, crowded.metric_type())?)
    }
}
