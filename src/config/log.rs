//! `[log]`: where Keepgate's own log and the access log go.

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output (journald keeps it).
    #[default]
    Stdout,
    /// Daily files in `data_dir/log`, this many kept.
    Files {
        /// Days kept.
        keep: usize,
        /// Bytes of all files together.
        max_bytes: u64,
    },
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// `target`, `keep`
    pub target: LogTarget,
    /// A `tracing` filter such as `info` or `info,keepgate::edge=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
    /// Whether each request gets a line.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { target: LogTarget::Stdout, level: "info".into(), json: false, access: true }
    }
}
