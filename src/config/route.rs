//! `[[routes]]`: which requests go where, and what they must show.

use http::{HeaderName, HeaderValue};

use super::content::{Content, Folder};
use super::headers::HeaderRules;
use super::rates::RouteRate;
use crate::model::role::Role;

/// Whether a route wants a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteAuth {
    /// No token is looked at; no identity headers are sent on.
    None,
    /// A good token is used; none or a bad one passes as anonymous.
    Optional,
    /// Without a good token: 401. The default.
    #[default]
    Required,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// `api = true`: Keepgate's own API.
    Api,
    /// `upstream = "NAME"`: the group of that name.
    Upstream(String),
    /// `redirect = "…"`: elsewhere.
    Redirect(Redirect),
    /// `root = "/FOLDER"`: the files in it.
    Folder(Folder),
}

/// Where a client is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// An https URL, or a path of the same host.
    pub to: String,
    /// Whether what follows the route's path is put behind it (`{path}`); then `to` ends with a slash.
    pub keeps_path: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What is changed of a route's messages on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `request_headers`
    pub request_headers: HeaderRules,
    /// `response_headers`
    pub response_headers: HeaderRules,
    /// `strip_prefix`: what is taken off the beginning of the path. The route's path, or whole segments of it.
    pub strip_prefix: Option<String>,
    /// `upstream_path`: what is put before what is left.
    pub upstream_path: Option<String>,
}

impl Route {
    /// `upgrade` where nothing is said: what browsers ask for, and no other proxy stands in the way of.
    pub fn usual_upgrades() -> Vec<String> {
        vec!["websocket".to_owned()]
    }
}

/// One route. The longest matching path prefix on the most specific host wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host name, or `None` for any.
    pub host: Option<String>,
    /// Path prefix, matched at segment borders: `/app` matches `/app` and `/app/x`, not `/apple`.
    pub path: String,
    /// Methods allowed; empty for all. Others get 405.
    pub methods: Vec<String>,
    /// Where it leads.
    pub target: RouteTarget,
    /// Whether it wants a token.
    pub auth: RouteAuth,
    /// The caller needs one of these roles; empty for none.
    pub roles: Vec<Role>,
    /// The token needs all of these scopes.
    pub scopes: Vec<String>,
    /// Request body limit in bytes, in place of `limits.body_bytes`.
    pub body_bytes: Option<u64>,
    /// Protocols that a client may switch to (`Upgrade`), in lower case; empty for none.
    pub upgrade: Vec<String>,
    /// How fast it may be asked, besides `[rates]`.
    pub rate: Option<RouteRate>,
    /// Who is sent to another group instead.
    pub canary: Option<Canary>,
    /// How its answers go out.
    pub content: Content,
    /// What is changed on the way.
    pub shape: Shape,
}

/// A second group, for some of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// `canary`: its name.
    pub upstream: String,
    /// `canary_percent`: so many percent of the clients.
    pub percent: u32,
    /// `canary_header`: whoever sends this one.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// `canary_cookie`: whoever sends this one, as `name=value`.
    pub cookie: Option<String>,
}
