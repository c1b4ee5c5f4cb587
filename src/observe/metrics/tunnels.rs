//! What the edge counts of tunnels (accepted upgrades), and of what it cuts while it is open.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Count, EdgeCounters, counter, labelled, sum, sum_labelled};

labelled!(
    /// How a tunnel ended.
    TunnelEnd, TunnelEnds {
        /// Both sides were done.
        Finished => "finished",
        /// Its grounds fell away; see [`Cut`].
        Cut => "cut",
        /// Nothing moved.
        Idle => "idle",
        /// One side broke off.
        Broken => "broken",
    }
);

labelled!(
    /// Why something open was cut.
    Cut, Cuts {
        /// The token it began with was revoked.
        Revoked => "revoked",
        /// The client was banned.
        Banned => "banned",
        /// It was open for as long as may be.
        Lapsed => "lapsed",
    }
);

/// What one edge worker counts of tunnels and streams.
#[derive(Debug, Default)]
pub struct TunnelCounters {
    /// Tunnels opened.
    pub opened: Count,
    /// Of those, closed again.
    pub closed: Count,
    /// How.
    pub ended: TunnelEnds,
    /// Bytes that came from clients.
    pub from_clients: Count,
    /// Bytes that came from upstreams.
    pub from_upstreams: Count,
    /// Tunnels and streaming responses cut.
    pub cut: Cuts,
}

pub(super) fn encode(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    let opened = sum(workers, |w| &w.tunnels.opened);
    let open = opened.saturating_sub(sum(workers, |w| &w.tunnels.closed));
    counter(to, "tunnels", "Tunnels opened (accepted upgrades)", opened)?;
    let gauge = ConstGauge::new(open);
    let metric = to.encode_descriptor("tunnels_open", "Tunnels open now", None, gauge.metric_type())?;
    gauge.encode(metric)?;
    let ended = sum_labelled(workers, |at| workers.get(at).map(|w| w.tunnels.ended.labelled()));
    labelled(to, ("tunnels_ended", "Tunnels ended, and how", "how"), &ended)?;
    let bytes = vec![
        ("client", sum(workers, |w| &w.tunnels.from_clients)),
        ("upstream", sum(workers, |w| &w.tunnels.from_upstreams)),
    ];
    labelled(to, ("tunnel_bytes", "Bytes through tunnels, by who sent them", "from"), &bytes)?;
    let cut = sum_labelled(workers, |at| workers.get(at).map(|w| w.tunnels.cut.labelled()));
    let help = "Tunnels and streaming responses cut because they may not stay open";
    labelled(to, ("streams_cut", help, "reason"), &cut)
}
