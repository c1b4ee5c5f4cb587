//! HTTP/1.1 and HTTP/2 as connections are served with: hyper's settings, all of them said.

use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::config::limits::Limits;

/// What new connections are served with.
#[derive(Clone, Debug)]
pub struct Protocols {
    /// HTTP/1.1
    pub http1: http1::Builder,
    /// HTTP/2
    pub http2: http2::Builder<LocalExecutor>,
}

impl Protocols {
    /// Within these limits.
    pub fn new(limits: &Limits) -> Self {
        Self { http1: http1(limits), http2: http2(limits) }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // The connection's own timer watches heads; see `connection`.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .max_buf_size((64 * 1024).max(limits.head_bytes))
        // Not `pipeline_flush`: with bytes of a next request at hand it closes without having
        // written the last answer.
        .half_close(false);
    if limits.header_count > 100 {
        // hyper parses up to 100 on the stack; fewer are counted by the guard.
        http1.max_headers(limits.header_count);
    }
    http1
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
