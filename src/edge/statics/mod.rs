//! Files of a folder, for a small site: `root` on a route. What is read of the disk is read on the runtime's
//! blocking threads (a few for each edge thread, see `edge::start`), one job at a time for each request: a slow disk
//! keeps no proxied request waiting.
//!
//! It never lists a folder, never leaves its root ([`beneath`]) and never shows a name that begins with a dot
//! ([`path`]). Authentication and rates stand before it as before an application.

pub mod beneath;
pub mod body;
pub mod conditions;
mod find;
pub mod kinds;
mod path;
mod trouble;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use self::body::{FileBody, Rooms};
use self::conditions::Verdict;
use self::find::{Found, Outcome};
use self::path::Wanted;
use self::trouble::Trouble;
use super::authenticate::{Vetted, Who};
use super::body::Outgoing;
use super::codings::{Accepted, vary};
use super::compress::Unsent;
use super::respond::Refused;
use super::watch::{Grounds, Watched, Watchlist};
use crate::config::content::Folder;
use crate::config::limits::Limits;
use crate::config::route::RouteAuth;

/// A folder, as a route serves it.
#[derive(Debug, PartialEq, Eq)]
pub struct Files {
    root: PathBuf,
    /// The route's path, which stands for the root.
    prefix: String,
    index: String,
    fallback: Option<String>,
    cache_control: HeaderValue,
    trouble: Trouble,
}

/// What serving takes of its surroundings.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Times.
    pub limits: &'a Limits,
    /// For open files.
    pub rooms: &'a Rooms,
    /// What is held open.
    pub watchlist: &'a Rc<Watchlist>,
    /// Seconds since the epoch.
    pub now: i64,
}

impl Files {
    /// Of a route with this prefix. Unless it is said otherwise a client keeps what it gets and asks each time
    /// whether it is still so; what a token was looked at for is kept by nobody else.
    pub fn new(folder: &Folder, prefix: &str, auth: RouteAuth) -> Self {
        let Folder { root, index, fallback, cache_control } = folder.clone();
        let usual = match auth {
            RouteAuth::None => "no-cache",
            RouteAuth::Optional | RouteAuth::Required => "private, no-cache",
        };
        let cache_control = cache_control.unwrap_or(HeaderValue::from_static(usual));
        Self { root, prefix: prefix.to_owned(), index, fallback, cache_control, trouble: Trouble::default() }
    }
}

/// Answers a request with a file.
pub async fn serve(
    files: &Arc<Files>,
    vetted: Vetted,
    around: Around<'_>,
) -> Result<Response<Outgoing>, Refused> {
    let (routed, who) = vetted.into_parts();
    let (parts, _, client, _) = routed.into_parts().1.into_parts();
    let get = match parts.method {
        Method::GET => true,
        Method::HEAD => false,
        _ => return Err(not_allowed()),
    };
    let Some(wanted) = Wanted::read(parts.uri.path(), &files.prefix) else { return Err(not_found()) };
    let now = u64::try_from(around.now).unwrap_or_default();
    let Some(room) = around.rooms.take() else { return Err(full()) };
    let (outcome, room) = {
        let (of, headers) = (Arc::clone(files), parts.headers.clone());
        // The job keeps its room when nobody waits for it any more: a disk that hangs gathers no more of them.
        let job = move || (find::find(&of, &wanted, &headers, (get, now)), Some(room));
        let finding = tokio::task::spawn_blocking(job);
        match tokio::time::timeout(around.limits.response_timeout, finding).await {
            Ok(found) => found.unwrap_or((Outcome::Broken, None)),
            Err(_) => {
                files.trouble.disk(&files.root, now);
                return Err(timed_out());
            }
        }
    };
    match (outcome, room) {
        (Outcome::Found(found), Some(room)) => {
            let verified = match who {
                Who::Authenticated(somebody) => Some(somebody.into_verified()),
                Who::Anonymous(_) => None,
            };
            let grounds = Grounds::new(verified, &client, around.limits.tunnel_lifetime);
            let watched = Watched::new(around.watchlist, grounds);
            let body = |found: Found, part| {
                let stall = around.limits.stall_timeout;
                Outgoing::file(FileBody::new((found.file, room), part, found.first, stall, watched))
            };
            Ok(answer(&files.cache_control, *found, get, body))
        }
        (Outcome::Folder, _) => with_slash(&parts),
        (Outcome::Absent, _) => Err(not_found()),
        (Outcome::Broken | Outcome::Found(_), _) => Err(Refused::internal()),
    }
}

fn answer(
    cache_control: &HeaderValue,
    found: Found,
    get: bool,
    body: impl FnOnce(Found, (u64, u64)) -> Outgoing,
) -> Response<Outgoing> {
    let size = found.state.size;
    let unsent = Unsent { kind: found.kind, size, coded: found.coding.is_some() };
    let mut headers = HeaderMap::new();
    // A refusal that a cache kept would be everybody's answer, for as long as the route says (RFC 9111 §3).
    let refused = matches!(found.verdict, Verdict::Failed | Verdict::Unsatisfiable);
    let kept = if refused { HeaderValue::from_static("no-store") } else { cache_control.clone() };
    headers.insert(CACHE_CONTROL, kept);
    found.state.tell(&mut headers);
    if kinds::is_compressible(found.kind) {
        vary(&mut headers, "accept-encoding");
    }
    let (status, part) = match found.verdict {
        Verdict::Whole => (StatusCode::OK, Some((0, size))),
        Verdict::Part(at, length) => (StatusCode::PARTIAL_CONTENT, Some((at, length))),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, None),
        Verdict::Failed => (StatusCode::PRECONDITION_FAILED, None),
        Verdict::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let range = match found.verdict {
        Verdict::Part(at, length) => Some(format!("bytes {at}-{}/{size}", at + (length - 1))),
        Verdict::Unsatisfiable => Some(format!("bytes */{size}")),
        _ => None,
    };
    if let Some(Ok(range)) = range.map(HeaderValue::try_from) {
        headers.insert(CONTENT_RANGE, range);
    }
    let mut body_of = Outgoing::empty();
    if let Some((at, length)) = part {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.kind));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(coding) = found.coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        if get && length > 0 {
            body_of = body(found, (at, length));
        }
    }
    let mut response = Response::new(body_of);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    if status == StatusCode::NOT_MODIFIED {
        // For whoever would have compressed what is not sent.
        response.extensions_mut().insert(unsent);
    }
    response
}

/// To the folder's own name: what a page in it names is meant relative to that.
fn with_slash(parts: &Parts) -> Result<Response<Outgoing>, Refused> {
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{}/{query}", parts.uri.path()));
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location.map_err(|_| Refused::internal())?);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "no-file", "Not found").detail("there is no file under this path")
}

fn not_allowed() -> Refused {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
        .detail("files are served to GET and HEAD")
        .header(ALLOW, HeaderValue::from_static("GET, HEAD"))
}

fn full() -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "files-full", "Too many open files")
        .detail("as many files are being sent as may be at once; try again in a moment")
        .header(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn timed_out() -> Refused {
    Refused::new(StatusCode::GATEWAY_TIMEOUT, "disk-timeout", "Storage timed out")
        .detail("the storage did not answer in time")
}

/// What a client takes of files that lie there compressed.
fn accepted(headers: &HeaderMap, kind: &str) -> Accepted {
    if kinds::is_compressible(kind) { Accepted::of(headers) } else { Accepted::default() }
}
