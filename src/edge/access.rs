//! The access log: one event for each request, when its response's head is ready; and one more for a
//! tunnel, when it ends.
//!
//! Target `keepgate::access`, so that a filter turns it off. The query is left out: it is where
//! tokens and personal data end up. The line is put together on this thread and
//! written by the log's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Uri, Version};
use uuid::Uuid;

use super::respond::CLIENT_GONE;
use super::shape::headers::Rules;
use crate::model::id::RequestId;
use crate::observe::metrics::EdgeCounters;

/// Bytes of a path that a line has at most, up to the end of a letter.
const PATH_BYTES: usize = 1024;

/// What the log says of one request, gathered on the way.
#[derive(Debug)]
pub struct Entry {
    method: Method,
    uri: Uri,
    version: Version,
    /// The client's address.
    pub client: IpAddr,
    /// The request's id.
    pub request: RequestId,
    /// The account, once it is proved.
    pub account: Option<Uuid>,
    /// The route's name, once it is found.
    pub route: Option<Arc<str>>,
    /// Why the edge refused, if it did.
    pub refused: Option<&'static str>,
    /// What the answer's headers go by. Not of the log, but found on the same way.
    pub rules: Option<Arc<Rules>>,
}

/// A request under way. Dropped before it is over, its client has gone: that is counted and logged too.
#[derive(Debug)]
pub struct UnderWay<'a> {
    /// What is known of it.
    pub entry: &'a mut Entry,
    counters: &'a EdgeCounters,
    started: Instant,
    over: bool,
}

impl<'a> UnderWay<'a> {
    /// Since `started`.
    pub const fn new(entry: &'a mut Entry, counters: &'a EdgeCounters, started: Instant) -> Self {
        Self { entry, counters, started, over: false }
    }

    /// There is an answer.
    pub fn is_over(mut self) {
        self.over = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.over {
            let took = self.started.elapsed();
            self.entry.refused = Some("client-gone");
            self.counters.answered(self.entry.route.as_ref(), CLIENT_GONE, took);
            self.entry.write(CLIENT_GONE, took);
        }
    }
}

/// A path as the log has it: with a mark where it is cut, so that long ones do not fill memory while the disk
/// hangs. It need not be ASCII: over HTTP/2 it may be any UTF-8.
fn shown(path: &str) -> Cow<'_, str> {
    match path.split_at_checked(path.floor_char_boundary(PATH_BYTES)) {
        Some((start, rest)) if !rest.is_empty() => Cow::Owned(format!("{start}...")),
        _ => Cow::Borrowed(path),
    }
}

impl Entry {
    /// The start of an entry. Copies reference counts, not text.
    pub fn of<B>(request: &Request<B>, client: IpAddr, id: RequestId) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            client,
            request: id,
            account: None,
            route: None,
            refused: None,
            rules: None,
        }
    }

    /// The version the client speaks.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Writes it.
    pub fn write(&self, status: u16, took: Duration) {
        tracing::info!(
            target: "keepgate::access",
            method = self.method.as_str(),
            path = &*shown(self.uri.path()),
            status,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            request = %self.request.0,
            version = ?self.version,
            account = self.account.map(tracing::field::display),
            route = self.route.as_deref(),
            refused = self.refused,
        );
    }

    /// Writes the end of the tunnel that the request became: how, the bytes that the client and the
    /// upstream sent, and how long it was open. The request's id joins it to its first line.
    pub fn write_tunnel(&self, end: &'static str, (sent, received): (u64, u64), took: Duration) {
        tracing::info!(
            target: "keepgate::access",
            tunnel = end,
            path = &*shown(self.uri.path()),
            bytes_from_client = sent,
            bytes_from_upstream = received,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            request = %self.request.0,
            account = self.account.map(tracing::field::display),
            route = self.route.as_deref(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_cut_with_a_mark_and_another_is_not() {
        let path = format!("/{}", "a".repeat(PATH_BYTES - 1));
        assert_eq!(shown(&path), path);
        assert_eq!(shown(&format!("{path}bc")), format!("{path}..."));
        let start = &path[..PATH_BYTES - 1];
        assert_eq!(
            shown(&format!("{start}é and on")),
            format!("{start}..."),
            "no half of a letter, and no whole path"
        );
    }
}
