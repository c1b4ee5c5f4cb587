//! HTTP/2 as connections are served with: hyper's settings, all of them said. HTTP/1 is ours: [`super::http1`].

use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;

use crate::config::limits::Limits;

/// What new connections are served with.
#[derive(Clone, Debug)]
pub struct Protocols {
    /// HTTP/2
    pub http2: http2::Builder<LocalExecutor>,
}

impl Protocols {
    /// Within these limits.
    pub fn new(limits: &Limits) -> Self {
        Self { http2: http2(limits) }
    }
}

fn http2(limits: &Limits) -> http2::Builder<LocalExecutor> {
    let mut http2 = http2::Builder::new(LocalExecutor);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .header_table_size(4096)
        .max_send_buf_size(64 * 1024)
        // Rapid reset (CVE-2023-44487) and its reverse (CVE-2025-8671): few, then GOAWAY.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http2
}

/// Runs HTTP/2's tasks on this thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}
