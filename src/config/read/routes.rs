//! `[[routes]]`, which only the file can hold.

use http::{HeaderName, HeaderValue};

use super::content;
use super::kind::{self, count, flag, list, one_of, size, text, wrong};
use super::limiting;
use super::section::Section;
use super::sections::{BODY, host};
use super::shaping;
use super::tree::Node;
use crate::config::rates::{RateBy, RouteRate};
use crate::config::route::{Canary, Route, RouteAuth, RouteTarget};
use crate::model::role::Role;

const ROLE_SYNTAX: &str = "use 1 to 32 of a-z, 0-9, '-', '_', '.', ':', starting with a letter";

/// The routes that could be read, each with its index in the file.
pub(super) fn routes(sections: Vec<Section<'_>>) -> Vec<(usize, Route)> {
    sections
        .into_iter()
        .enumerate()
        .filter_map(|(index, section)| route(section).map(|route| (index, route)))
        .collect()
}

fn route(mut section: Section<'_>) -> Option<Route> {
    let path = section.required("path", "write a path prefix such as \"/\" or \"/app\"", prefix);
    let host_given = section.has("host");
    let host = section.optional("host", host);
    let host_read = host.is_some() || !host_given;
    let methods = section.optional("methods", list(method)).unwrap_or_default();
    let target = target(&mut section);
    let choices = one_of(&[
        ("none", RouteAuth::None),
        ("optional", RouteAuth::Optional),
        ("required", RouteAuth::Required),
    ]);
    // Where else to ask is nobody's secret.
    let usual = if section.has("redirect") { RouteAuth::None } else { RouteAuth::default() };
    let auth = section.optional("auth", choices).unwrap_or(usual);
    let roles = section
        .optional("roles", list(kind::parsed::<Role>("is not a role", ROLE_SYNTAX)))
        .unwrap_or_default();
    let scopes = section.optional("scopes", list(scope)).unwrap_or_default();
    if auth != RouteAuth::Required && !(roles.is_empty() && scopes.is_empty()) {
        let (key, others) = if roles.is_empty() { ("scopes", "scopes") } else { ("roles", "roles") };
        let remedy = "set auth = \"required\" (the default), or remove them";
        section.problem(
            "auth",
            None,
            &format!("lets callers in without the {others} that `{key}` asks for"),
            remedy,
        );
    }
    let body_bytes = section.optional("body_bytes", size(BODY.0, BODY.1));
    let upgrade = upgrade(&mut section, target.as_ref());
    let rate = limiting::route(&mut section);
    if auth == RouteAuth::None && matches!(rate, Some(RouteRate { by: RateBy::User | RateBy::Session, .. })) {
        let remedy = "write \"address\" or \"route\", or let the route look at tokens";
        section.problem("rate_by", None, "needs a token, which auth = \"none\" does not look at", remedy);
    }
    let canary = canary(&mut section, target.as_ref());
    let content = content::content(&mut section, target.as_ref());
    let shape = shaping::shape(&mut section, (path.as_deref(), target.as_ref()));
    section.finish();
    let (path, target) = (path?, target?);
    let route = Route {
        host,
        path,
        methods,
        target,
        auth,
        roles,
        scopes,
        body_bytes,
        upgrade,
        rate,
        canary,
        shape,
        content,
    };
    host_read.then_some(route)
}

/// `canary`, and for whom.
fn canary(section: &mut Section<'_>, target: Option<&RouteTarget>) -> Option<Canary> {
    let whom = ["canary_percent", "canary_header", "canary_cookie"];
    let given = section.has("canary");
    let first = whom.into_iter().find(|key| section.has(key));
    let upstream = section.optional("canary", text);
    let percent = section.optional("canary_percent", count(0, 100)).unwrap_or_default();
    let header = section.optional("canary_header", header);
    let cookie = section.optional("canary_cookie", cookie);
    match (given, first) {
        (false, Some(key)) => {
            section.problem(key, None, "is not used without `canary`", "set canary, or remove it")
        }
        (true, None) => {
            let remedy = "set canary_percent, canary_header or canary_cookie";
            section.problem("canary", None, "is for nobody", remedy);
        }
        (true, _) if target == Some(&RouteTarget::Api) => {
            section.problem("canary", None, "is not used with `api`, which is one", "remove it");
        }
        (true, _) if matches!(target, Some(RouteTarget::Redirect(_))) => {
            section.problem("canary", None, "is not used with `redirect`", "remove it");
        }
        (true, _) if matches!(target, Some(RouteTarget::Folder(_))) => {
            section.problem("canary", None, "is not used with `root`", "remove it");
        }
        _ => {}
    }
    Some(Canary { upstream: upstream?, percent, header, cookie })
}

/// `"x-canary: yes"`
fn header(node: &Node) -> kind::Read<(HeaderName, HeaderValue)> {
    let line = text(node)?;
    let parts = line.split_once(':').map(|(name, value)| (name, value.trim()));
    let parsed = parts.filter(|(_, value)| !value.is_empty()).and_then(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    parsed.map_or_else(|| wrong(node, "is not a header", "write one such as \"x-canary: yes\""), Ok)
}

/// `"canary=yes"`
fn cookie(node: &Node) -> kind::Read<String> {
    let pair = text(node)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() && pair.bytes().all(plain) => Ok(pair),
        _ => wrong(node, "is not a cookie", "write one such as \"canary=yes\""),
    }
}

fn target(section: &mut Section<'_>) -> Option<RouteTarget> {
    let given = ["api", "upstream", "redirect", "root"];
    let given: Vec<_> = given.into_iter().filter(|key| section.has(key)).collect();
    let api = section.optional("api", flag);
    let upstream = section.optional("upstream", text);
    let redirect = shaping::redirect(section);
    let folder = content::folder(section);
    let remedy =
        "write exactly one of upstream = \"NAME\", root = \"/FOLDER\", redirect = \"URL\" and api = true";
    match (&given[..], api) {
        (["api"], Some(false)) | ([], _) => section.problem("", None, "leads nowhere", remedy),
        (["api"], _) => return api.map(|_| RouteTarget::Api),
        (["upstream"], _) => return upstream.map(RouteTarget::Upstream),
        (["redirect"], _) => return redirect.map(RouteTarget::Redirect),
        (["root"], _) => return folder.map(RouteTarget::Folder),
        (["api", "upstream"], _) => {
            section.problem("", None, "leads both to the API and to an upstream", remedy);
        }
        _ => section.problem("", None, "leads to several places", remedy),
    }
    None
}

/// A path prefix in the one spelling that requests are compared in: no escapes, no dot segments, no
/// empty segments, no path parameters (`;x`, which some upstreams drop), no slash at the end, so that
/// no two prefixes mean the same.
pub(super) fn prefix(node: &Node) -> kind::Read<String> {
    let path = text(node)?;
    let remedy = "write a prefix such as \"/\" or \"/app/api\": plain characters, no slash at the end";
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&b);
    let segment = |part: &str| !part.is_empty() && part != "." && part != "..";
    match path.strip_prefix('/') {
        Some("") => Ok(path),
        Some(rest) if path.bytes().all(plain) && rest.split('/').all(segment) => Ok(path),
        _ => wrong(node, "is not a path prefix", remedy),
    }
}

pub(super) fn method(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    let token =
        !name.is_empty() && name.len() <= 20 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match name.as_str() {
        "CONNECT" | "TRACE" => wrong(node, "is never let through", "remove it"),
        _ if token => Ok(name),
        _ => wrong(node, "is not a method", "write one in capitals, such as \"GET\""),
    }
}

/// `upgrade`: what clients may switch to. The API switches to nothing.
fn upgrade(section: &mut Section<'_>, target: Option<&RouteTarget>) -> Vec<String> {
    let given = section.has("upgrade");
    let upgrade = section.optional("upgrade", list(protocol)).unwrap_or_else(Route::usual_upgrades);
    let to = match target {
        Some(RouteTarget::Api) => "api",
        Some(RouteTarget::Redirect(_)) => "redirect",
        Some(RouteTarget::Folder(_)) => "root",
        Some(RouteTarget::Upstream(_)) | None => return upgrade,
    };
    if given {
        let message = format!("is not used with `{to}`, which switches to nothing");
        section.problem("upgrade", None, &message, "remove it");
    }
    Vec::new()
}

/// `protocol` of RFC 9110 §7.8, in lower case: they are compared in any.
fn protocol(node: &Node) -> kind::Read<String> {
    let name = text(node)?.to_ascii_lowercase();
    let token = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !part.is_empty() && part.bytes().all(plain)
    };
    let (protocol, version) = name.split_once('/').unwrap_or((&name, "1"));
    match name.as_str() {
        "h2c" | "h2" => wrong(node, "is never switched to: it would pass the edge unread", "remove it"),
        _ if token(protocol) && token(version) => Ok(name),
        _ => wrong(node, "is not a protocol", "write one such as \"websocket\""),
    }
}

/// `scope-token` of RFC 6749 §3.3.
fn scope(node: &Node) -> kind::Read<String> {
    let scope = text(node)?;
    if scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        Ok(scope)
    } else {
        wrong(node, "is not a scope", "write one word such as \"orders:read\"")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};

    #[test]
    fn a_canary_is_for_somebody_and_not_for_the_api() {
        let app = |lines: &str| {
            format!(
                "{LEAST}[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n[upstreams.new]\nservers = [\"127.0.0.1:2\"]\n\
                 [[routes]]\npath = \"/app\"\nupstream = \"app\"\n{lines}\n"
            )
        };
        let lines = "canary = \"new\"\ncanary_percent = 5\ncanary_header = \"X-Canary:  yes\"\ncanary_cookie = \"c=1\"";
        let canary = config(&app(lines), &[]).routes[0].canary.clone().unwrap();
        assert_eq!(
            (canary.upstream.as_str(), canary.percent, canary.cookie.as_deref()),
            ("new", 5, Some("c=1"))
        );
        let (name, value) = canary.header.unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-canary", "yes"));
        for (lines, words) in [
            ("canary = \"new\"", "is for nobody"),
            ("canary_percent = 5", "not used without `canary`"),
            ("canary = \"old\"\ncanary_percent = 5", "routes[1].canary"),
            ("canary = \"new\"\ncanary_header = \"yes\"", "is not a header"),
            ("canary = \"new\"\ncanary_cookie = \"a;b=c\"", "is not a cookie"),
            ("canary = \"new\"\ncanary_percent = 101", "from 0 to 100"),
        ] {
            let said = report(&app(lines), &[]);
            assert!(said.contains(words), "{lines}: {said}");
        }
        let said = report(&format!("{LEAST}canary = \"x\"\ncanary_percent = 1\n"), &[]);
        assert!(said.contains("`api`"), "{said}");
    }

    #[test]
    fn a_route_switches_to_websockets_unless_it_says_what_else_and_the_api_to_nothing() {
        let upgrades = |line: &str| {
            let text = format!(
                "{LEAST}[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n[[routes]]\npath = \"/app\"\nupstream = \"app\"\n{line}\n"
            );
            let routes = config(&text, &[]).routes;
            routes.into_iter().map(|route| (route.path, route.upgrade.join(" "))).collect::<Vec<_>>()
        };
        let of = |app: &str| [("/app".to_owned(), app.to_owned()), ("/".to_owned(), String::new())];
        assert_eq!(upgrades(""), of("websocket"));
        assert_eq!(upgrades("upgrade = [\"WebSocket\", \"foo/1.0\"]"), of("websocket foo/1.0"));
        assert_eq!(upgrades("upgrade = []"), of(""));
        let said = report(&format!("{LEAST}upgrade = [\"H2C\", \"a b\", \"/1\", \"a/1/2\"]\n"), &[]);
        assert_eq!(said.matches("is not a protocol").count(), 3, "{said}");
        assert!(said.contains("\"H2C\" is never switched to") && said.contains("`api`"), "{said}");
    }
}
