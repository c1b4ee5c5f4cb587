//! What the edge counts of HTTP/2 connections that ended for their client's fault.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Count, EdgeCounters, labelled, sum_labelled};

labelled!(
    /// Why the edge ended a connection of HTTP/2.
    Ended, EndedHttp2 {
        /// More streams reset than were answered.
        Resets => "resets",
        /// Too many PING frames.
        Pings => "pings",
        /// Too many SETTINGS frames.
        Settings => "settings",
        /// Too many WINDOW_UPDATE frames for what was sent.
        WindowUpdates => "window_updates",
        /// Too many PRIORITY frames.
        Priorities => "priorities",
        /// Too many frames of DATA, HEADERS or CONTINUATION with nothing in them.
        EmptyFrames => "empty_frames",
        /// Too many frames that have no meaning here.
        UnknownFrames => "unknown_frames",
        /// ENHANCE_YOUR_CALM by h2's own count: streams reset before they began, streams that had to be reset, many
        /// CONTINUATION, tiny DATA, an enormous list of headers.
        Calm => "calm",
        /// PROTOCOL_ERROR.
        Protocol => "protocol",
        /// FLOW_CONTROL_ERROR.
        FlowControl => "flow_control",
        /// FRAME_SIZE_ERROR.
        FrameSize => "frame_size",
        /// COMPRESSION_ERROR.
        Compression => "compression",
        /// Another error.
        Other => "other",
        /// A response stood still for longer than `limits.stall_timeout`.
        Stalled => "stalled",
    }
);

impl Ended {
    /// By the error code of a GOAWAY (RFC 9113 §7); nothing where there was no error.
    pub const fn by_code(code: u32) -> Option<Self> {
        match code {
            0x0 => None,
            0x1 => Some(Self::Protocol),
            0x3 => Some(Self::FlowControl),
            0x6 => Some(Self::FrameSize),
            0x9 => Some(Self::Compression),
            0xb => Some(Self::Calm),
            _ => Some(Self::Other),
        }
    }
}

pub(super) fn encode(to: &mut DescriptorEncoder<'_>, workers: &[Arc<EdgeCounters>]) -> fmt::Result {
    let ended = sum_labelled(workers, |at| workers.get(at).map(|w| w.http2_ended.labelled()));
    let help = "HTTP/2 connections ended for what their client sent or did not take";
    labelled(to, ("http2_connections_ended", help, "reason"), &ended)
}
