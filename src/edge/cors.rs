//! CORS for Keepgate's own API (Fetch standard, "CORS protocol"): which web pages may read its
//! answers. Upstreams speak for themselves.
//!
//! It stands before the rates and before authentication. A preflight carries no token and must be
//! answered without one; and what the edge refuses (401, 413, 429) must be readable by the page that
//! asked. That is why it is not tower-http's layer: around the API that would see neither.
//!
//! It grants reading, never access: a request of a foreign page is served or refused like any other,
//! and a browser that minds keeps the answer from the page.

use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::Outgoing;
use super::guard::Admitted;
use super::respond::Beside;
use super::route::Table;
use crate::config::cors::{Cors as Config, Origins};

/// What the API's endpoints take.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What the API says in headers that a page could not read otherwise.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, location, ratelimit, ratelimit-policy, retry-after, www-authenticate, x-request-id",
);
/// What an answer depends on, for caches in between.
const VARIES: HeaderValue = HeaderValue::from_static("origin");

/// Whose pages may read.
#[derive(Debug)]
enum Readers {
    Any,
    Listed(HashSet<Box<[u8]>>),
}

/// The rules.
#[derive(Debug)]
pub struct Cors {
    readers: Readers,
    credentials: bool,
    headers: HeaderValue,
    max_age: HeaderValue,
}

/// A preflight to be answered.
#[derive(Debug)]
pub struct Preflight(());

impl Cors {
    /// As configured; none if nobody may read.
    pub fn new(config: &Config) -> Option<Self> {
        let readers = match &config.origins {
            Origins::Any => Readers::Any,
            Origins::Listed(origins) => {
                Readers::Listed(origins.iter().map(|origin| origin.as_bytes().into()).collect())
            }
        };
        let headers = HeaderValue::try_from(config.headers.join(", "));
        (!config.is_off()).then(|| Self {
            readers,
            credentials: config.credentials,
            headers: headers.unwrap_or_else(|_| HeaderValue::from_static("")),
            max_age: HeaderValue::from(config.max_age.as_secs()),
        })
    }

    /// Adds what the answer to a request of the API must carry, whatever the answer is. Whether the
    /// request is a preflight, which [`Preflight::answer`] then answers.
    pub fn look(&self, admitted: &Admitted, routes: &Table, beside: &mut Beside) -> Option<Preflight> {
        let headers = admitted.headers();
        let asked = match *admitted.method() {
            Method::OPTIONS => headers.get(ACCESS_CONTROL_REQUEST_METHOD),
            _ => None,
        };
        let preflight = asked.is_some() && headers.contains_key(ORIGIN);
        let method = asked.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let method = method.as_ref().filter(|_| preflight).unwrap_or(admitted.method());
        if !routes.leads_to_api(admitted.host(), admitted.path(), method) {
            return None;
        }
        let granted = self.granted(headers.get_all(ORIGIN).iter());
        if !matches!(self.readers, Readers::Any) {
            beside.push((VARY, VARIES));
        }
        if let Some(origin) = granted {
            beside.push((ACCESS_CONTROL_ALLOW_ORIGIN, origin));
            if self.credentials {
                beside.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
            }
            if preflight {
                beside.push((ACCESS_CONTROL_ALLOW_METHODS, METHODS));
                beside.push((ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()));
                beside.push((ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
            } else {
                beside.push((ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED));
            }
        }
        preflight.then_some(Preflight(()))
    }

    /// What `Access-Control-Allow-Origin` says to this `Origin`. Compared byte by byte, as browsers do;
    /// `null` is on no list, because any sandboxed page has that origin.
    fn granted<'a>(&self, mut origins: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
        let origin = origins.next()?;
        if origins.next().is_some() {
            return None;
        }
        match &self.readers {
            Readers::Any => Some(HeaderValue::from_static("*")),
            Readers::Listed(listed) => listed.contains(origin.as_bytes()).then(|| origin.clone()),
        }
    }
}

impl Preflight {
    /// 204. What it grants stands in the headers that [`Cors::look`] added, or does not.
    pub fn answer(self) -> Response<Outgoing> {
        let mut response = Response::new(Outgoing::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}
