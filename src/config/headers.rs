//! `[request_headers]`, `[response_headers]` and those tables of a route: what is changed of a message's headers
//! on its way through.
//!
//! Which headers nobody may touch is said here: what frames a message or ends at a hop, what the gate itself
//! says of callers and connections, and secrets that have no place in a configuration. A rule for one of them
//! is refused when the configuration is read, so that nothing has to be asked for each request.

use http::HeaderName;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To the application.
    Request,
    /// To the client.
    Response,
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is written.
    Text(String),
    /// `{host}`: the name that the client asked for, without a port. In requests only.
    Host,
    /// `{client_ip}`
    ClientIp,
    /// `{request_id}`
    RequestId,
}

/// A header to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Vec<Part>,
}

/// What is changed: `remove` first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// In place of whatever is there.
    pub set: Vec<Line>,
    /// Beside whatever is there.
    pub add: Vec<Line>,
    /// Gone.
    pub remove: Vec<HeaderName>,
    /// Those that browsers protect a page by, where the application does not say them. In responses only.
    pub security: bool,
}

/// Why a header cannot be touched.
pub fn untouchable(name: &HeaderName, side: Side, writes: bool) -> Option<&'static str> {
    let name = name.as_str();
    let hop = matches!(
        name,
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "http2-settings"
    );
    if hop || name.starts_with("proxy-") {
        return Some("ends at each hop: the gate writes it");
    }
    if matches!(name, "content-length" | "content-encoding" | "content-range") {
        return Some("says what the body's bytes mean, and rules change no bodies");
    }
    if name == "x-request-id" {
        return Some("is the gate's own");
    }
    match side {
        Side::Response => None,
        Side::Request => untouchable_in_requests(name, writes),
    }
}

/// Why no filter can go by a header: it is gone, or is not always there, when filters look.
pub fn unseen(name: &str) -> Option<&'static str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let forwarding = name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip");
    let ours = name.starts_with("x-auth-") || name.starts_with("x-keepgate-") || name == "x-request-id";
    match name {
        "host" => Some(
            "is not there over HTTP/2, which has :authority; requests without a route are refused already",
        ),
        _ if !plain || forwarding || ours => {
            Some("is what a client may not say, and is dropped before filters look")
        }
        _ => None,
    }
}

fn untouchable_in_requests(name: &str, writes: bool) -> Option<&'static str> {
    // Some applications read `X_Auth_Subject`, and even `X.Auth.Subject`, as `X-Auth-Subject`.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Some(
            "has other characters than letters, digits and hyphens, and could be read as another name",
        );
    }
    if name.starts_with("x-auth-") || name.starts_with("x-keepgate-") {
        return Some("is what the gate says of the caller");
    }
    let forwarding = name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "via");
    match name {
        _ if forwarding => Some("is what the gate says of where a request came from ([forwarding])"),
        "host" => Some("is the host that the request was routed by, and goes on as it came"),
        "expect" => Some("is answered by the gate"),
        "x-original-url" | "x-original-uri" | "x-rewrite-url" => {
            Some("names another path than the one that was routed, to some applications")
        }
        "authorization" | "cookie" if writes => {
            Some("is a secret, which has no place in a configuration; it can only be removed")
        }
        _ => None,
    }
}
