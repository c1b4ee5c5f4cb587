//! `[limits]`: the edge's budgets. Past one, the answer is a clear 4xx or 503, never more memory.

use std::time::Duration;

/// Budgets of the edge, over all its threads.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections from one address.
    pub connections_per_address: usize,
    /// Request line and headers, bytes (431 past it).
    pub head_bytes: usize,
    /// Header lines (431 past it).
    pub header_count: usize,
    /// Request body, bytes, where the route sets no other (413 past it).
    pub body_bytes: u64,
    /// HTTP/2 streams open at once on one connection.
    pub http2_streams: u32,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// Request head, from its first byte.
    pub head_timeout: Duration,
    /// Keep-alive connection without a request.
    pub idle_timeout: Duration,
    /// Body or response without progress.
    pub stall_timeout: Duration,
    /// Connecting to an upstream.
    pub connect_timeout: Duration,
    /// Waiting for an upstream's response head.
    pub response_timeout: Duration,
    /// Tunnel (an accepted upgrade) in which nothing moves.
    pub tunnel_idle_timeout: Duration,
    /// Tunnel or streaming response: longest life, whatever moves in it.
    pub tunnel_lifetime: Duration,
    /// Finishing open requests at shutdown.
    pub drain_timeout: Duration,
    /// Finishing them in a process that another has replaced.
    pub handover_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            head_bytes: 32 * 1024,
            header_count: 100,
            body_bytes: 10 * 1024 * 1024,
            http2_streams: 100,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(65),
            stall_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(3600),
            tunnel_lifetime: Duration::from_secs(24 * 3600),
            drain_timeout: Duration::from_secs(30),
            handover_timeout: Duration::from_secs(600),
        }
    }
}
