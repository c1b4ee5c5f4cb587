//! Host, path and method to a route: a pure look-up that allocates nothing.
//!
//! The most specific host decides first, then the longest path prefix at a segment border, then the
//! method: a route that matches but does not allow the method answers 405, it does not fall through
//! to a shorter prefix whose rules may be laxer. Prefixes are kept as a trie of segments with a hash
//! map at each node, so a look-up costs the path's length however many routes there are.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use super::guard::Admitted;
use super::guard::target;
use super::rates::RouteLimit;
use super::respond::Refused;
use super::shape::{Defaults, Shape};
use super::statics::Files;
use super::upstream::canary::Canary;
use crate::config::route::{Route as RouteConfig, RouteAuth, RouteTarget};
use crate::model::role::Role;

/// Where a compiled route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Keepgate's own API.
    Api,
    /// The upstream group at this place.
    Upstream(usize),
    /// Elsewhere: the route's [`Shape`] says where.
    Redirect,
    /// These files.
    Files(Arc<Files>),
}

/// A route, ready to be asked.
#[derive(Debug)]
pub struct Route {
    /// `host/path`, for logs and audit events.
    pub name: Arc<str>,
    /// Where it leads.
    pub target: Target,
    /// Whether it wants a token.
    pub auth: RouteAuth,
    /// One of these roles; empty for none.
    pub roles: Vec<Role>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// Request body limit, bytes.
    pub body_bytes: u64,
    /// What clients may switch to, in lower case.
    pub upgrade: Vec<String>,
    /// How fast it may be asked.
    pub limit: Option<RouteLimit>,
    /// Who is sent to another group instead.
    pub canary: Option<Canary>,
    /// How its answers go out.
    pub content: crate::config::content::Content,
    /// What is changed on the way.
    pub shape: Shape,
    methods: Vec<Method>,
}

impl Route {
    /// Whether a caller must be somebody in particular.
    pub const fn has_demands(&self) -> bool {
        !self.roles.is_empty() || !self.scopes.is_empty()
    }
}

/// The routes make no sense together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum RouteError {
    /// A route leads to an upstream that is not configured.
    #[error("route {route}: no upstream is named '{upstream}'")]
    UnknownUpstream { route: String, upstream: String },
    /// The path cannot be matched.
    #[error("route {route}: {reason}")]
    Path { route: String, reason: String },
    /// Not a method's name.
    #[error("route {route}: '{method}' is not an HTTP method")]
    Method { route: String, method: String },
    /// Demands that nobody could meet, because nobody is asked.
    #[error("route {route}: roles or scopes with auth = \"none\", which looks at no token")]
    Unasked { route: String },
    /// Two routes answer the same requests.
    #[error("route {route} stands twice for {method}")]
    Twice { route: String, method: String },
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Self>,
    routes: Vec<Arc<Route>>,
}

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<Box<str>, Node>,
    any: Node,
}

/// What the table says of a request.
enum Found<'a> {
    Route(&'a Arc<Route>),
    MethodNotAllowed(&'a [Arc<Route>]),
    Nothing,
}

impl Table {
    /// Compiles routes. `upstream` tells a group's place from its name, `limit` makes or finds the
    /// limiter of a route of that name.
    pub fn compile(
        routes: &[RouteConfig],
        default_body_bytes: u64,
        upstream: impl Fn(&str) -> Option<usize>,
        limit: impl Fn(&RouteConfig, &str) -> Option<RouteLimit>,
        all: Defaults<'_>,
    ) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for config in routes {
            let name = format!("{}{}", config.host.as_deref().unwrap_or("*"), config.path);
            let place = |group: &String| {
                let missing = || RouteError::UnknownUpstream { route: name.clone(), upstream: group.clone() };
                upstream(group).ok_or_else(missing)
            };
            let path = normal_prefix(&name, &config.path)?;
            let target = match &config.target {
                RouteTarget::Api => Target::Api,
                RouteTarget::Upstream(group) => Target::Upstream(place(group)?),
                RouteTarget::Folder(it) => Target::Files(Arc::new(Files::new(it, &path, config.auth))),
                RouteTarget::Redirect(_) => Target::Redirect,
            };
            let canary = |canary: &_| Ok(Canary::new(canary, place(&canary.upstream)?));
            let canary = config.canary.as_ref().map(canary).transpose()?;
            let methods = methods(&name, &config.methods)?;
            if config.auth == RouteAuth::None && !(config.roles.is_empty() && config.scopes.is_empty()) {
                return Err(RouteError::Unasked { route: name });
            }
            let node = table.node(config.host.as_deref(), &path);
            refuse_twice(&name, &node.routes, &methods)?;
            node.routes.push(Arc::new(Route {
                limit: limit(config, &name),
                canary,
                content: config.content,
                shape: Shape::new(config, all),
                name: name.into(),
                target,
                auth: config.auth,
                roles: config.roles.clone(),
                scopes: config.scopes.clone(),
                body_bytes: config.body_bytes.unwrap_or(default_body_bytes),
                upgrade: config.upgrade.iter().map(|name| name.to_ascii_lowercase()).collect(),
                methods,
            }));
            // A route with methods is asked before one for all of them, wherever each was written.
            node.routes.sort_by_key(|route| route.methods.is_empty());
        }
        Ok(table)
    }

    fn node(&mut self, host: Option<&str>, path: &str) -> &mut Node {
        let mut node = match host {
            None => &mut self.any,
            Some(host) => self.hosts.entry(host.to_ascii_lowercase().into()).or_default(),
        };
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            node = node.children.entry(segment.into()).or_default();
        }
        node
    }

    fn routes(&self, host: &str, path: &str) -> &[Arc<Route>] {
        let specific = self.hosts.get(host).map_or(&[][..], |tree| tree.longest(path));
        if specific.is_empty() { self.any.longest(path) } else { specific }
    }

    fn look_up(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        let routes = self.routes(host, path);
        match routes.iter().find(|route| route.methods.is_empty() || route.methods.contains(method)) {
            Some(route) => Found::Route(route),
            None if routes.is_empty() => Found::Nothing,
            None => Found::MethodNotAllowed(routes),
        }
    }

    /// Whether a request like this would be the API's to answer, or to refuse.
    pub fn leads_to_api(&self, host: &str, path: &str, method: &Method) -> bool {
        match self.look_up(host, path, method) {
            Found::Route(route) => route.target == Target::Api,
            Found::MethodNotAllowed(routes) => routes.iter().any(|route| route.target == Target::Api),
            Found::Nothing => false,
        }
    }

    /// Finds the route of an admitted request.
    pub fn find(&self, admitted: Box<Admitted>) -> Result<Routed, Refused> {
        let found = self.look_up(admitted.host(), admitted.path(), admitted.method());
        let route = match found {
            Found::Route(route) => route,
            Found::Nothing => return Err(nothing()),
            Found::MethodNotAllowed(routes) => return Err(method_not_allowed(routes)),
        };
        if let Some(plain) = admitted.plain_path() {
            let same = |other: &Arc<Route>| Arc::ptr_eq(route, other);
            match self.look_up(admitted.host(), plain, admitted.method()) {
                Found::Route(other) if same(other) => {}
                _ => {
                    return Err(Refused::bad_request(
                        "the path could be read as another route's, for an escaped character, a doubled slash or a ';' in it",
                    ));
                }
            }
        }
        Ok(Routed { route: Arc::clone(route), admitted })
    }
}

impl Node {
    fn longest(&self, path: &str) -> &[Arc<Route>] {
        let mut node = self;
        let mut best = &self.routes[..];
        for segment in path.split('/').skip(1) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => break,
            }
            if !node.routes.is_empty() {
                best = &node.routes;
            }
        }
        best
    }
}

fn normal_prefix(route: &str, path: &str) -> Result<String, RouteError> {
    let refuse = |reason: String| RouteError::Path { route: route.to_owned(), reason };
    let reading = target::read_path(path).map_err(|error| refuse(error.to_string()))?;
    if reading.plain.is_some() {
        return Err(refuse("the path must not have escapes, doubled slashes, or ';'".to_owned()));
    }
    Ok(reading.path.into_owned())
}

fn methods(route: &str, names: &[String]) -> Result<Vec<Method>, RouteError> {
    let parse = |name: &String| {
        Method::from_bytes(name.as_bytes())
            .map_err(|_| RouteError::Method { route: route.to_owned(), method: name.clone() })
    };
    let mut methods = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    // RFC 9110 §9.1: who serves GET serves HEAD.
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    Ok(methods)
}

fn refuse_twice(route: &str, known: &[Arc<Route>], methods: &[Method]) -> Result<(), RouteError> {
    let twice = |method: &str| RouteError::Twice { route: route.to_owned(), method: method.to_owned() };
    if methods.is_empty() {
        return match known.iter().any(|other| other.methods.is_empty()) {
            true => Err(twice("every method")),
            false => Ok(()),
        };
    }
    match methods.iter().find(|method| known.iter().any(|other| other.methods.contains(method))) {
        Some(method) => Err(twice(method.as_str())),
        None => Ok(()),
    }
}

/// 404, where no route leads.
pub fn nothing() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "no-route", "Not found")
        .detail("nothing is served under this host and path")
}

fn method_not_allowed(routes: &[Arc<Route>]) -> Refused {
    let mut names: Vec<&str> = routes.iter().flat_map(|route| &route.methods).map(Method::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let allow = HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""));
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
        .detail("the Allow header lists the methods that this path takes")
        .header(ALLOW, allow)
}

/// A request that has a route.
#[derive(Debug)]
pub struct Routed {
    route: Arc<Route>,
    admitted: Box<Admitted>,
}

impl Routed {
    /// Its route.
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The request.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// For the stage that sends it on.
    pub fn into_parts(self) -> (Arc<Route>, Box<Admitted>) {
        (self.route, self.admitted)
    }
}

#[cfg(test)]
mod tests;
