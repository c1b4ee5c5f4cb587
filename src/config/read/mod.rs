//! Reading a configuration: TOML file, then the environment's overrides, then the rules. Reports
//! every problem of the whole file at once and returns a `Config` only if there is none.
//!
//! It opens no file but the one it is given: whether certificates and secrets can be read is
//! [`super::probe`]'s business, so that a file can be checked on another machine.

mod catalog;
mod content;
mod error_pages;
mod filters;
mod forwarding;
mod kind;
mod limiting;
#[cfg(test)]
mod log_filter;
#[cfg(test)]
mod page;
mod routes;
mod rules;
mod section;
mod sections;
mod shaping;
#[cfg(test)]
mod tests;
mod tls;
mod tree;
mod upstream_tls;
mod upstreams;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rules::Rules;
use section::{Report, Section};
use shaping::Whose;
use tree::{Node, Value};

use super::problem::{Place, Problem, Problems};
use super::route::Route;
use super::setting::{Known, Setting};
use super::{Config, Environment};

/// Longest file that is read, bytes.
const LONGEST: u64 = 1024 * 1024;
/// Most problems that are told.
const MOST_SHOWN: usize = 100;

/// Reads the file at `path` and the process's `KEEPGATE_…` variables.
pub fn load(path: &Path) -> Result<Config, Problems> {
    parse(&text(path)?, &path.display().to_string(), environment()?)
}

/// The text of the file at `path`.
pub fn text(path: &Path) -> Result<String, Problems> {
    read_file(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => "run it with sudo, or as the user that keepgate runs as",
            ErrorKind::InvalidData => "write it in UTF-8; is it the right file?",
            _ => {
                "name the configuration with --config, or a development folder with --data; `keepgate init` \
                 writes a first one"
            }
        };
        whole(&path.display().to_string(), format!("the file cannot be read: {error}"), remedy)
    })
}

/// The data folder that the file at `path` names, whatever else is wrong with it; `None` if it cannot be
/// read at all.
pub fn data_dir(path: &Path) -> Option<PathBuf> {
    let text = read_file(path).ok()?;
    let named = std::env::var_os("KEEPGATE_DATA_DIR").map(PathBuf::from);
    let written = || {
        let (table, _) = toml::de::DeTable::parse_recoverable(&text);
        table.get_ref().get("data_dir")?.get_ref().as_str().map(PathBuf::from)
    };
    Some(named.or_else(written).unwrap_or_else(|| PathBuf::from(super::DATA_DIR)))
}

/// The process's `KEEPGATE_…` variables.
pub fn environment() -> Result<Vec<(String, String)>, Problems> {
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => environment.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with("KEEPGATE_") => {
                return Err(whole("the environment", format!("{name} is not UTF-8"), "unset it"));
            }
            _ => {}
        }
    }
    Ok(environment)
}

/// A problem of the whole.
fn whole(file: &str, message: String, remedy: &str) -> Problems {
    Problems {
        file: file.to_owned(),
        problems: vec![Problem {
            place: Place::Unset,
            key: String::new(),
            value: None,
            message,
            remedy: remedy.to_owned(),
        }],
    }
}

/// Reads a configuration from its text. `file` is what messages call it, `environment` the
/// variables that may override it (others than `KEEPGATE_…` are ignored).
pub fn parse(text: &str, file: &str, environment: Vec<(String, String)>) -> Result<Config, Problems> {
    match examine(text, environment) {
        (Some(config), _, _) => Ok(config),
        (None, problems, _) => Err(Problems { file: file.to_owned(), problems: shown(problems) }),
    }
}

/// Every key of a good configuration, its value, and where that was set; arguments as of [`parse`].
pub fn explain(text: &str, file: &str, environment: Vec<(String, String)>) -> Result<Vec<Setting>, Problems> {
    let report = Report::default();
    let (_, problems) = examine_into(&report, text, environment);
    if !problems.is_empty() {
        return Err(Problems { file: file.to_owned(), problems });
    }
    Ok(catalog::settings(report.asked()))
}

/// Every key there is, in the order of their names.
pub fn keys() -> Vec<Known> {
    let report = Report::asking();
    // Asked of the example, which has an entry of every list.
    let _ = examine_into(&report, catalog::EXAMPLE, Vec::new());
    let mut entries = catalog::entries();
    let known = |(key, takes): (String, String)| {
        let catalog::Entry { comment, default, .. } = entries.remove(&key).unwrap_or_default();
        Known { key, takes, default, comment }
    };
    report.words().into_iter().map(known).collect()
}

/// The configuration as far as the text can be read, with defaults in place of what is wrong; `None` if it is
/// not even TOML. And the problems: only without any is the configuration one to use.
pub(in crate::config) fn as_far_as_it_goes(
    text: &str,
    environment: Vec<(String, String)>,
) -> (Option<Config>, Vec<Problem>) {
    examine_into(&Report::default(), text, environment)
}

/// What the rules refuse of a configuration that is put together from several: a file with what waits for a
/// restart, or with arguments.
pub(in crate::config) fn standing(config: &Config) -> Vec<Problem> {
    let root = Node { place: Place::Unset, value: Value::Table(BTreeMap::new()) };
    let report = Report::default();
    let routes: Vec<_> = config.routes.iter().cloned().enumerate().collect();
    Rules { root: &root, report: &report, config }.check(&routes, routes.len());
    report.finish()
}

/// The roots of routes as a file has them: the route's number, the line, and the value.
pub(in crate::config) fn roots(text: &str) -> Vec<(usize, Place, PathBuf)> {
    let routes = tree::parse(text).ok().and_then(|root| root.into_child("routes"));
    let Some(Value::List(routes)) = routes.map(|node| node.value) else { return Vec::new() };
    let root = |(at, route): (usize, Node)| {
        let root = route.into_child("root")?;
        let Value::Text(path) = root.value else { return None };
        Some((at, root.place, PathBuf::from(path)))
    };
    routes.into_iter().enumerate().filter_map(root).collect()
}

/// As many as anyone reads at once. A file of another kind has one on every line.
pub(in crate::config) fn shown(mut problems: Vec<Problem>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        problems.truncate(MOST_SHOWN);
        problems.push(Problem {
            place: Place::Unset,
            key: String::new(),
            value: None,
            message: format!("and {more} more, which are not shown"),
            remedy: "mend these first; is it the right file?".to_owned(),
        });
    }
    problems
}

/// The configuration, if it is good, else its problems; and every key that was asked for.
fn examine(
    text: &str,
    environment: Vec<(String, String)>,
) -> (Option<Config>, Vec<Problem>, BTreeSet<String>) {
    let report = Report::default();
    let (config, problems) = examine_into(&report, text, environment);
    (config.filter(|_| problems.is_empty()), problems, report.known())
}

/// As [`as_far_as_it_goes`]; `report` keeps what else was found on the way.
fn examine_into(
    report: &Report,
    text: &str,
    environment: Vec<(String, String)>,
) -> (Option<Config>, Vec<Problem>) {
    let mut root = match tree::parse(text) {
        Ok(root) => root,
        Err(problems) => return (None, problems),
    };
    report.extend(tree::overlay(&mut root, environment));
    let mut section = Section::root(&root, report);
    let environments = kind::one_of(&[
        ("development", Environment::Development),
        ("stage", Environment::Stage),
        ("production", Environment::Production),
    ]);
    let zone = section.optional("zone", upstreams::zone);
    let mut config = Config {
        environment: section.optional("environment", environments).unwrap_or_default(),
        data_dir: section.optional("data_dir", kind::path).unwrap_or_else(|| PathBuf::from(super::DATA_DIR)),
        listen: sections::listen(section.child("listen")),
        tls: tls::tls(section.child("tls")),
        limits: sections::limits(section.child("limits")),
        rates: limiting::rates(section.child("rates")),
        cors: limiting::cors(section.child("cors")),
        forwarding: forwarding::forwarding(section.child("forwarding")),
        request_headers: shaping::headers(section.child("request_headers"), Whose::Requests),
        response_headers: shaping::headers(section.child("response_headers"), Whose::AllAnswers),
        blacklist: sections::blacklist(section.child("blacklist")),
        filters: filters::filters(section.tables("filters")),
        bans: filters::bans(section.child("bans")),
        routes: Vec::new(),
        error_pages: error_pages::error_pages(section.tables("error_pages")),
        upstreams: upstreams::upstreams(section.child("upstreams"), zone.as_deref()),
        zone,
        accounts: sections::accounts(section.child("accounts")),
        users: sections::users(section.child("users")),
        passwords: sections::passwords(section.child("passwords")),
        throttle: sections::throttle(section.child("throttle")),
        tokens: sections::tokens(section.child("tokens")),
        keys: sections::keys(section.child("keys")),
        store: sections::store(section.child("store")),
        audit: sections::audit(section.child("audit")),
        log: sections::log(section.child("log")),
    };
    let written = section.tables("routes");
    let count = written.len();
    let routes = routes::routes(written);
    section.finish();
    Rules { root: &root, report, config: &config }.check(&routes, count);
    config.routes = routes.into_iter().map(|(_, route)| route).collect();
    sort(&mut config.routes);
    (Some(config), report.finish())
}

/// Most specific first: a host before any host, a longer prefix before a shorter, some methods
/// before all.
pub(in crate::config) fn sort(routes: &mut [Route]) {
    routes.sort_by_key(|route| {
        (route.host.is_none(), Reverse(route.path.len()), route.methods.is_empty(), route.path.clone())
    });
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}
