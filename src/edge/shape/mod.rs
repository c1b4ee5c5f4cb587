//! What is changed of messages on their way: headers by rules, the beginning of a path, and where a redirect
//! sends a client. Compiled when a plan is made; a route that changes nothing costs nothing.
//!
//! Invariant: what goes on is what was checked. A path is cut only where the route's own path was matched on the
//! one reading that there is ([`target`](super::guard::target)), and what is left is refused where it could be read as
//! something else than a path; no rule reaches what frames a message or what the gate itself says
//! ([`config::headers`](crate::config::headers)).

pub mod headers;
pub mod prefix;
pub mod redirect;

use std::sync::Arc;

use self::headers::Rules;
use self::prefix::Prefix;
use self::redirect::Redirect;
use crate::config::headers::HeaderRules;
use crate::config::route::{Route, RouteTarget};

/// The rules for all routes.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// `[request_headers]`
    pub request: &'a HeaderRules,
    /// `[response_headers]`
    pub response: &'a HeaderRules,
}

/// What one route changes.
#[derive(Debug, Default)]
pub struct Shape {
    /// Of requests to an application.
    pub request: Option<Rules>,
    /// Of answers. Shared, because the answer is made when the route is gone.
    pub response: Option<Arc<Rules>>,
    /// Of the path.
    pub prefix: Option<Prefix>,
    /// Where it sends everybody.
    pub redirect: Option<Redirect>,
}

impl Shape {
    /// As configured for a route, with what is configured for all.
    pub fn new(route: &Route, all: Defaults<'_>) -> Self {
        let shape = &route.shape;
        Self {
            request: Rules::new(all.request, &shape.request_headers),
            response: Rules::new(all.response, &shape.response_headers).map(Arc::new),
            prefix: Prefix::new(shape),
            redirect: match &route.target {
                RouteTarget::Redirect(to) => Redirect::new(to, &route.path),
                RouteTarget::Api | RouteTarget::Upstream(_) | RouteTarget::Folder(_) => None,
            },
        }
    }
}
