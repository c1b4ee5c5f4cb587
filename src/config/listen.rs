//! `[listen]`: where Keepgate accepts connections.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// Listeners. Port 0 lets the system choose; the chosen ports stand in `run/ports.json`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// HTTPS addresses.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP addresses, which only redirect to HTTPS. May be empty.
    pub http: Vec<SocketAddr>,
    /// Metrics and health, not for the public. `None` turns it off.
    pub internal: Option<SocketAddr>,
    /// Edge threads, each with its own runtime; 0 is one per processor.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For` is believed. Nobody by default.
    pub trusted_proxies: Vec<IpNet>,
    /// Of the addresses above, those where every connection begins with a PROXY header.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Peers that may connect there, and whose PROXY header is believed.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            https: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443))],
            http: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))],
            internal: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            workers: 0,
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            proxy_protocol_from: Vec::new(),
        }
    }
}
