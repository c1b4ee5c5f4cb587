//! Which route is found, and which tables of them are refused.

use super::*;
use crate::config::headers::HeaderRules;

fn route(host: Option<&str>, path: &str, methods: &[&str]) -> RouteConfig {
    RouteConfig {
        host: host.map(str::to_owned),
        path: path.to_owned(),
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        target: RouteTarget::Upstream("app".to_owned()),
        auth: RouteAuth::Required,
        roles: Vec::new(),
        scopes: Vec::new(),
        body_bytes: None,
        upgrade: Vec::new(),
        rate: None,
        canary: None,
        shape: crate::config::route::Shape::default(),
        content: crate::config::content::Content::default(),
    }
}

fn compile(routes: &[RouteConfig]) -> Result<Table, RouteError> {
    let none = HeaderRules::default();
    let all = Defaults { request: &none, response: &none };
    Table::compile(routes, 10, |name| (name == "app").then_some(0), |_, _| None, all)
}

fn ask(table: &Table, host: &str, path: &str, method: Method) -> String {
    match table.look_up(host, path, &method) {
        Found::Route(route) => route.name.to_string(),
        Found::Nothing => "404".to_owned(),
        Found::MethodNotAllowed(_) => "405".to_owned(),
    }
}

#[test]
fn the_longest_prefix_at_a_segment_border_wins() {
    let table =
        compile(&[route(None, "/", &[]), route(None, "/app", &[]), route(None, "/app/admin/", &[])]).unwrap();
    for (path, want) in [
        ("/", "*/"),
        ("/apple", "*/"),
        ("/app", "*/app"),
        ("/app/x", "*/app"),
        ("/app/admin", "*/app/admin/"),
        ("/app/admin/x/y", "*/app/admin/"),
        ("/app/administrator", "*/app"),
    ] {
        assert_eq!(ask(&table, "h", path, Method::GET), want, "{path}");
    }
}

#[test]
fn the_most_specific_host_decides_first() {
    let table =
        compile(&[route(None, "/app/deep", &[]), route(Some("App.example.com"), "/app", &[])]).unwrap();
    assert_eq!(ask(&table, "app.example.com", "/app/deep", Method::GET), "App.example.com/app");
    assert_eq!(ask(&table, "other", "/app/deep", Method::GET), "*/app/deep");
    assert_eq!(ask(&table, "app.example.com", "/else", Method::GET), "404");
}

#[test]
fn a_method_that_is_not_allowed_does_not_fall_through() {
    let table =
        compile(&[route(None, "/", &[]), route(None, "/app", &["GET"]), route(None, "/app", &["POST"])])
            .unwrap();
    assert_eq!(ask(&table, "h", "/app", Method::HEAD), "*/app");
    assert_eq!(ask(&table, "h", "/app/x", Method::POST), "*/app");
    assert_eq!(ask(&table, "h", "/app", Method::DELETE), "405");
    let refused = method_not_allowed(table.routes("h", "/app"));
    assert!(format!("{refused:?}").contains("GET, HEAD, POST"));
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let mut unknown = route(None, "/", &[]);
    unknown.target = RouteTarget::Upstream("nope".to_owned());
    assert!(matches!(compile(&[unknown]), Err(RouteError::UnknownUpstream { .. })));
    assert!(matches!(compile(&[route(None, "/a/../b", &[])]), Err(RouteError::Path { .. })));
    for ambiguous in ["/a;x", "/a%3Bx", "/a//b", "/a%2Fb", "/%40a"] {
        assert!(matches!(compile(&[route(None, ambiguous, &[])]), Err(RouteError::Path { .. })));
    }
    assert!(matches!(compile(&[route(None, "/a", &["GE T"])]), Err(RouteError::Method { .. })));
    let mut unasked = route(None, "/a", &[]);
    (unasked.auth, unasked.scopes) = (RouteAuth::None, vec!["x".to_owned()]);
    assert!(matches!(compile(&[unasked]), Err(RouteError::Unasked { .. })));
    let twice = [route(None, "/a", &["GET"]), route(None, "/a/", &["HEAD"])];
    assert!(matches!(compile(&twice), Err(RouteError::Twice { .. })));
}

#[test]
fn ten_thousand_routes_each_find_their_own() {
    let routes: Vec<_> = (0..10_000).map(|at| route(None, &format!("/a/{at}"), &[])).collect();
    let table = compile(&routes).unwrap();
    assert_eq!(ask(&table, "h", "/a/9999/x", Method::GET), "*/a/9999");
    assert_eq!(ask(&table, "h", "/a/10000", Method::GET), "404");
}
