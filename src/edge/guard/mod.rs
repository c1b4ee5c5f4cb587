//! The guard: what a request must be before anything is decided about it.
//!
//! It takes a request as it was parsed and returns it as [`Admitted`]: one host, one reading of
//! the path, framing without contradictions, within the limits, from an address that is not banned,
//! and without any header that only Keepgate may set. It never looks at who the caller is.

pub mod address;
pub mod blacklist;
pub mod headers;
pub mod host;
pub mod ladder;
pub mod target;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_LENGTH, EXPECT, RETRY_AFTER, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use self::address::TrustedProxies;
use self::blacklist::Blacklist;
use self::host::Host;
use super::connection::Peer;
use super::decisions::Denied;
use super::forwarding::Forwarding;
use super::http1::refused::{FramingRefused, TARGET_BYTES};
use super::incoming::Incoming;
use super::rates::limiter::whole_seconds;
use super::respond::{REQUEST_ID, Refused};
use super::upgrade::Offer;
use crate::config::limits::Limits;
use crate::model::caller::Origin;
use crate::model::id::RequestId;
use crate::model::time::Timestamp;
use crate::observe::metrics::Denial;

/// Longest `User-Agent` that is kept, bytes.
const USER_AGENT_BYTES: usize = 200;

/// What the guard goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Sizes.
    pub limits: &'a Limits,
    /// Whose forwarding headers are believed.
    pub trusted: &'a TrustedProxies,
    /// How a request that goes round in circles is known.
    pub forwarding: &'a Forwarding,
    /// Who may not come in.
    pub blacklist: &'a Blacklist,
}

/// Where a request came from.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address.
    pub address: IpAddr,
    /// For `X-Real-IP`.
    pub real_ip: HeaderValue,
    /// For `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// The blacklist's version at which it was found free.
    pub free_at: u64,
}

/// A request that may be routed.
#[derive(Debug)]
pub struct Admitted {
    parts: Parts,
    body: Incoming,
    host: Host,
    plain_path: Option<String>,
    client: Client,
    id: RequestId,
    hop_by_hop: bool,
    offer: Option<Offer>,
}

/// A request from a banned address.
#[derive(Debug)]
pub struct Banned {
    origin: Origin,
    /// How much longer, of a ban that the address has earned.
    pub left: Option<Duration>,
}

impl Banned {
    /// As the audit log tells it.
    pub fn into_denied(self) -> Denied {
        Denied { origin: self.origin, reason: "blacklisted", target: "guard".into(), caller: None }
    }
}

/// Why the guard refuses.
#[derive(Debug)]
pub enum Stopped {
    /// The request is wrong.
    Refused(Refused),
    /// The client is banned.
    Banned(Banned),
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// The id of a request: the one a trusted proxy gave it, or `fresh`.
pub fn request_id(parts: &http::HeaderMap, peer: &Peer, fresh: RequestId) -> RequestId {
    if !peer.is_trusted() {
        return fresh;
    }
    let given = parts.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(|text| text.parse().ok()).unwrap_or(fresh)
}

/// When and over what a request came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The far end.
    pub peer: &'a Peer,
    /// What is wrong with the bytes, if anything is.
    pub framing: Option<FramingRefused>,
    /// Whether the connection can switch protocols after this request.
    pub may_switch: bool,
    /// Now.
    pub now: Timestamp,
}

/// 400 for broken framing, 414 and 431 for a head that is too large.
pub fn misframed(breach: FramingRefused, limits: &Limits) -> Refused {
    match breach {
        FramingRefused::TargetTooLong => target_too_long(),
        FramingRefused::HeadTooLarge => head_too_large(limits),
        _ => Refused::bad_request(breach.to_string()),
    }
    .closing()
}

fn target_too_long() -> Refused {
    Refused::new(StatusCode::URI_TOO_LONG, "target-too-long", "Request target too long")
        .detail(format!("a request target has at most {TARGET_BYTES} bytes"))
}

fn head_too_large(limits: &Limits) -> Refused {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let Limits { header_count, head_bytes, .. } = limits;
    Refused::new(status, "head-too-large", "Request head too large")
        .detail(format!("a request head has at most {header_count} header lines and {head_bytes} bytes"))
}

/// Admits a request, or says why not. `from` is whose request it is as far as that is known, for the access log: also
/// of one that is refused.
pub fn admit(
    rules: Rules<'_>,
    Arrival { peer, framing, may_switch, now }: Arrival<'_>,
    request: Request<Incoming>,
    (id, from): (RequestId, &mut IpAddr),
) -> Result<Box<Admitted>, Stopped> {
    // Framing first: when it is contradictory nothing else in the request means anything.
    if let Some(breach) = framing {
        return Err(misframed(breach, rules.limits).into());
    }
    let (mut parts, body) = request.into_parts();
    // The address is read before the headers it stands in are deleted.
    let client = client(rules, peer, &parts);
    *from = client.address;
    check_method(&parts.method)?;
    check_length(&parts)?;
    let host = host::check_scheme(&parts.uri, peer.is_trusted()).and_then(|()| Host::of(&parts));
    let host = host.map_err(|error| Refused::bad_request(error.to_string()).closing())?;
    let seen = headers::clean(&mut parts.headers, peer.is_trusted());
    check_size(rules.limits, &parts, &seen)?;
    if seen.expects {
        check_expectation(&parts)?;
    }
    if seen.via && rules.forwarding.goes_round(&parts.headers) {
        return Err(goes_round().into());
    }
    if is_banned(rules.blacklist, peer, client.address, now) {
        let until = rules.blacklist.until(client.address, now);
        let left = until.map(|until| until.since(now));
        return Err(Stopped::Banned(Banned { origin: origin(&parts, &client, id), left }));
    }
    let plain_path = settle_path(&mut parts)?;
    let offer = may_switch.then(|| Offer::of(&parts.headers)).flatten();
    let hop_by_hop = seen.hop_by_hop;
    // Boxed: half a kilobyte that every stage takes and hands on.
    Ok(Box::new(Admitted { parts, body, host, plain_path, client, id, hop_by_hop, offer }))
}

/// 403 for a banned address, and how much longer it is banned, if that is known.
pub fn banned(left: Option<Duration>) -> Refused {
    let refused = Refused::new(StatusCode::FORBIDDEN, "blacklisted", "Forbidden")
        .detail("requests from this address are not accepted")
        .denial(Denial::Blacklist)
        .closing();
    match left {
        Some(left) => refused.header(RETRY_AFTER, HeaderValue::from(whole_seconds(left))),
        None => refused,
    }
}

/// RFC 5842 §7.2 has the status, RFC 9110 §7.6.3 the reason.
fn goes_round() -> Refused {
    Refused::new(StatusCode::LOOP_DETECTED, "loop", "Loop detected")
        .detail("the request has come by here again and again: an upstream sends it back")
}

fn check_method(method: &Method) -> Result<(), Refused> {
    // CONNECT makes a tunnel of the proxy, TRACE reads other people's headers back.
    if !matches!(*method, Method::CONNECT | Method::TRACE) {
        return Ok(());
    }
    let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
        .detail("CONNECT and TRACE are not served")
        .header(ALLOW, allow)
        .closing())
}

/// HTTP/2 frames its bodies itself, so that several lengths, even of one value, only tell of tampering.
fn check_length(parts: &Parts) -> Result<(), Refused> {
    let lengths = || parts.headers.get_all(CONTENT_LENGTH).iter().count();
    if parts.version == Version::HTTP_2 && lengths() > 1 {
        return Err(Refused::bad_request(FramingRefused::Length.to_string()));
    }
    Ok(())
}

fn check_size(limits: &Limits, parts: &Parts, seen: &headers::Seen) -> Result<(), Refused> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES {
        return Err(target_too_long());
    }
    if seen.lines > limits.header_count || seen.bytes + target > limits.head_bytes {
        return Err(head_too_large(limits));
    }
    Ok(())
}

/// RFC 9110 §10.1.1. Over HTTP/1 the 100 itself is sent once the body is asked for, which is after
/// authentication.
fn check_expectation(parts: &Parts) -> Result<(), Refused> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if parts.headers.get_all(EXPECT).iter().all(known) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::EXPECTATION_FAILED, "expectation-failed", "Expectation failed")
        .detail("the only expectation supported is 100-continue")
        .closing())
}

fn client(Rules { trusted, blacklist, .. }: Rules<'_>, peer: &Peer, parts: &Parts) -> Client {
    // Before it is looked up.
    let free_at = blacklist.version();
    if !peer.is_trusted() {
        let (real_ip, forwarded_for) = (peer.header.clone(), peer.header.clone());
        return Client { address: peer.address, real_ip, forwarded_for, free_at };
    }
    let (address, forwarded_for) = address::behind_proxy(&parts.headers, peer.address, trusted);
    let real_ip = HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| peer.header.clone());
    Client { address, real_ip, forwarded_for, free_at }
}

/// The peer itself was looked up when it connected; it is looked up again only when there are new
/// bans since.
fn is_banned(blacklist: &Blacklist, peer: &Peer, client: IpAddr, now: Timestamp) -> bool {
    if client != peer.address && blacklist.contains(client, now) {
        return true;
    }
    let version = blacklist.version();
    if peer.cleared_at.get() == version {
        return false;
    }
    let banned = blacklist.contains(peer.address, now);
    if !banned {
        peer.cleared_at.set(version);
    }
    banned
}

/// Gives the request the one path that is matched and forwarded; returns its plain reading where
/// that differs.
fn settle_path(parts: &mut Parts) -> Result<Option<String>, Refused> {
    let malformed = || Refused::bad_request("the request target is malformed");
    let reading =
        target::read_path(parts.uri.path()).map_err(|error| Refused::bad_request(error.to_string()))?;
    let plain = reading.plain;
    let encoded = parts.uri.query().and_then(target::encode_past_ascii);
    let query = encoded.as_deref().or_else(|| parts.uri.query());
    let rewritten = match (&reading.path, query) {
        (Cow::Borrowed(_), _) if encoded.is_none() => None,
        (path, None) => Some(path.as_ref().to_owned()),
        (path, Some(query)) => Some(format!("{path}?{query}")),
    };
    let target = match rewritten {
        Some(text) => Some(PathAndQuery::try_from(text).map_err(|_| malformed())?),
        None if parts.uri.authority().is_some() => parts.uri.path_and_query().cloned(),
        None => None,
    };
    if let Some(target) = target {
        parts.uri = Uri::from(target);
    }
    Ok(plain)
}

fn origin(parts: &Parts, client: &Client, id: RequestId) -> Origin {
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let user_agent = agent.get(..agent.len().min(USER_AGENT_BYTES)).unwrap_or_default().to_owned();
    Origin { request: id, address: Some(client.address), user_agent }
}

impl Admitted {
    /// The host's name in lower case.
    pub fn host(&self) -> &str {
        self.host.name()
    }

    /// The path that is matched and forwarded.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The target: that path, and the query.
    pub const fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// How a lenient upstream might read the path, where that differs.
    pub fn plain_path(&self) -> Option<&str> {
        self.plain_path.as_deref()
    }

    /// The request's id.
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The headers that are left.
    pub const fn headers(&self) -> &http::HeaderMap {
        &self.parts.headers
    }

    /// The version the client speaks.
    pub const fn version(&self) -> Version {
        self.parts.version
    }

    /// The client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether there are headers that end here.
    pub const fn hop_by_hop(&self) -> bool {
        self.hop_by_hop
    }

    /// Where the request came from, for services and audit events. Allocates.
    pub fn origin(&self) -> Origin {
        origin(&self.parts, &self.client, self.id)
    }

    /// What the client offers to switch to.
    pub const fn take_offer(&mut self) -> Option<Offer> {
        self.offer.take()
    }

    /// For the stage that sends it on.
    pub fn into_parts(self) -> (Parts, Incoming, Client, Host) {
        (self.parts, self.body, self.client, self.host)
    }
}
