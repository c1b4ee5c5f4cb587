//! `root` and what goes with it, `compress` and `intercept` of a route.

use http::HeaderValue;

use super::kind::{self, flag, path, text, wrong};
use super::section::Section;
use super::tree::{Node, Value};
use crate::config::content::{Compress, Content, Folder};
use crate::config::route::RouteTarget;

/// What only a folder has.
const OF_FOLDERS: [&str; 3] = ["index", "fallback", "cache_control"];

/// `root`, if it is set and good.
pub(super) fn folder(section: &mut Section<'_>) -> Option<Folder> {
    let given = section.has("root");
    let root = section.optional("root", path);
    let index = section.optional("index", index).unwrap_or_else(|| "index.html".to_owned());
    let fallback = section.optional("fallback", fallback);
    let cache_control = section.optional("cache_control", header);
    if !given {
        for key in OF_FOLDERS.into_iter().filter(|key| section.has(key)) {
            section.problem(key, None, "is not used without `root`", "set root, or remove it");
        }
    }
    Some(Folder { root: root?, index, fallback, cache_control })
}

/// How answers go out.
pub(super) fn content(section: &mut Section<'_>, target: Option<&RouteTarget>) -> Content {
    let (compresses, intercepts) = (section.has("compress"), section.has("intercept"));
    let compress = section.optional("compress", compress).unwrap_or_default();
    let intercept = section.optional("intercept", flag).unwrap_or_default();
    let never = match target {
        Some(RouteTarget::Api) => Some("is not used with `api`, whose answers are short and hold secrets"),
        Some(RouteTarget::Redirect(_)) => Some("is not used with `redirect`, whose answers are empty"),
        Some(RouteTarget::Upstream(_) | RouteTarget::Folder(_)) | None => None,
    };
    if let Some(message) = never.filter(|_| compresses && compress != Compress::Off) {
        section.problem("compress", None, message, "remove it");
    }
    if intercepts && !matches!(target, Some(RouteTarget::Upstream(_)) | None) {
        section.problem("intercept", None, "is for the answers of an upstream", "remove it");
    }
    Content { compress, intercept }
}

fn compress(node: &Node) -> kind::Read<Compress> {
    match (&node.value, flag(node)) {
        (_, Ok(true)) => Ok(Compress::On),
        (_, Ok(false)) => Ok(Compress::Off),
        (Value::Text(word) | Value::Loose(word), _) if word == "always" => Ok(Compress::Always),
        _ => wrong(node, "is not one of the choices", "write true, false or \"always\""),
    }
}

/// A name that is served: the gate shows nothing that begins with a dot.
fn is_served(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn index(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    match is_served(&name) {
        true => Ok(name),
        false => wrong(node, "is not a file's name", "write one such as \"index.html\", without a folder"),
    }
}

fn fallback(node: &Node) -> kind::Read<String> {
    let path = text(node)?;
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_served) => Ok(rest.to_owned()),
        _ => wrong(node, "is not a file beneath the root", "write its path there, such as \"/index.html\""),
    }
}

fn header(node: &Node) -> kind::Read<HeaderValue> {
    let value = text(node)?;
    match HeaderValue::try_from(value.trim()) {
        Ok(value) => Ok(value),
        Err(_) => wrong(node, "is not a header's value", "write one such as \"public, max-age=3600\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};
    use super::*;

    fn route(lines: &str) -> String {
        format!("{LEAST}[[routes]]\npath = \"/site\"\n{lines}\n")
    }

    #[test]
    fn a_route_leads_to_a_folder_with_an_index_and_more_where_it_is_said() {
        let read = |lines: &str| config(&route(lines), &[]).routes[0].clone();
        let plain = read("root = \"/srv/site\"");
        let folder = |fallback: Option<&str>, cache: Option<&'static str>| {
            RouteTarget::Folder(Folder {
                root: "/srv/site".into(),
                index: "index.html".into(),
                fallback: fallback.map(str::to_owned),
                cache_control: cache.map(HeaderValue::from_static),
            })
        };
        assert_eq!((plain.target, plain.upgrade.len()), (folder(None, None), 0));
        assert_eq!(plain.content, Content::default());
        let lines = "root = \"/srv/site\"\nfallback = \"/app/index.html\"\ncache_control = \"no-store\"\ncompress = \"always\"";
        let full = read(lines);
        assert_eq!(full.target, folder(Some("app/index.html"), Some("no-store")));
        assert_eq!(full.content.compress, Compress::Always);
        assert_eq!(read("root = \"/srv/site\"\ncompress = true").content.compress, Compress::On);
    }

    #[test]
    fn what_a_folder_cannot_be_is_named() {
        for (lines, words) in [
            ("root = \"site\"", "is not an absolute path"),
            ("root = \"/s\"\napi = true", "leads to several places"),
            ("root = \"/s\"\nupstream = \"app\"", "leads to several places"),
            ("index = \"a.html\"\napi = true", "is not used without `root`"),
            ("root = \"/s\"\nindex = \"a/b.html\"", "is not a file's name"),
            ("root = \"/s\"\nindex = \".htaccess\"", "is not a file's name"),
            ("root = \"/s\"\nfallback = \"/a/../b\"", "is not a file beneath the root"),
            ("root = \"/s\"\nfallback = \"index.html\"", "is not a file beneath the root"),
            ("root = \"/s\"\ncompress = \"yes\"", "write true, false or \"always\""),
            ("root = \"/s\"\nintercept = true", "is for the answers of an upstream"),
            ("api = true\ncompress = true", "is not used with `api`"),
            ("root = \"/s\"\nredirect = \"/x\"", "leads to several places"),
            ("root = \"/s\"\nredirect_status = 301", "is not used without `redirect`"),
            ("root = \"/s\"\nstrip_prefix = true", "strip_prefix (config.toml:"),
            ("root = \"/s\"\nupstream_path = \"/x\"", "is not used with `root`"),
            ("root = \"/s\"\nrequest_headers = { remove = [\"X-A\"] }", "is not used with `root`"),
            ("redirect = \"/x\"\nfallback = \"/a\"", "is not used without `root`"),
            ("redirect = \"/x\"\ncompress = true", "is not used with `redirect`"),
            ("redirect = \"/x\"\nintercept = true", "is for the answers of an upstream"),
            ("root = \"/s\"\nupgrade = [\"websocket\"]", "which switches to nothing"),
            ("root = \"/s\"\ncanary = \"app\"\ncanary_percent = 1", "is not used with `root`"),
        ] {
            let said = report(&route(lines), &[]);
            assert!(said.contains(words), "{lines}: {said}");
        }
    }
}
