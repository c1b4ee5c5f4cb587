//! `[[filters]]` and `[bans]`.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::kind::{self, count, duration, list, network, one_of, text, wrong};
use super::routes::method;
use super::section::Section;
use super::tree::Node;
use crate::config::filter::{Action, Bans, Filter, SCANNERS, Scanned, Want};
use crate::config::headers;

/// Most filters: each is asked of each request.
const MOST: usize = 100;
/// Longest pattern, bytes.
const PATTERN_BYTES: usize = 256;

pub(super) fn filters(sections: Vec<Section<'_>>) -> Vec<Filter> {
    let mut names = BTreeSet::new();
    let mut filters = Vec::new();
    for (at, section) in sections.into_iter().enumerate() {
        if at == MOST {
            let remedy = "put patterns of one action together in one filter";
            section.problem("", None, &format!("is one of more than {MOST} filters"), remedy);
        }
        filters.extend(filter(section, &mut names));
    }
    filters
}

fn filter(mut section: Section<'_>, names: &mut BTreeSet<String>) -> Option<Filter> {
    let name = section.required("name", "write a short name, such as \"no-xml\"", name);
    if let Some(twice) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
        section.problem("name", Some(format!("{twice:?}")), "is another filter's name", "give each its own");
    }
    let given = ["methods", "paths", "query", "headers", "content_types"];
    let given: Vec<_> = given.into_iter().filter(|key| section.has(key)).collect();
    let methods = section.optional("methods", list(method));
    let paths = section.optional("paths", list(path));
    let query = section.optional("query", list(pattern));
    let headers = section.optional("headers", list(header));
    let content_types = section.optional("content_types", list(pattern));
    let lists = [&methods, &paths, &query, &content_types].map(|list| list.as_ref().map(Vec::len));
    let empty = lists.into_iter().chain([headers.as_ref().map(Vec::len)]).filter(|length| *length == Some(0));
    match given.first() {
        None => section.problem(
            "",
            None,
            "has no condition: it would match everything",
            "write one, such as paths",
        ),
        Some(key) if empty.count() == given.len() => {
            section.problem(
                key,
                None,
                "leaves no condition: it would match everything",
                "name something in it",
            );
        }
        Some(_) => {}
    }
    let actions = one_of(&[
        ("refuse", Action::Refuse),
        ("not_found", Action::NotFound),
        ("log", Action::Log),
        ("ban", Action::Ban),
    ]);
    let action = section.optional("action", actions).unwrap_or_default();
    section.finish();
    Some(Filter {
        name: name?,
        methods: methods.unwrap_or_default(),
        paths: paths.unwrap_or_default(),
        query: query.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        content_types: content_types.unwrap_or_default(),
        action,
    })
}

fn name(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    match name.as_str() {
        SCANNERS => wrong(node, "is the name of the built-in filter", "write another"),
        _ if name.len() <= 40 && name.bytes().all(plain) => Ok(name),
        _ => wrong(node, "is not a filter's name", "write 1 to 40 of a-z, 0-9, '-' and '_'"),
    }
}

/// `*` stands for anything, any other character for itself in either case.
fn pattern(node: &Node) -> kind::Read<String> {
    let written = text(node)?;
    if written.len() <= PATTERN_BYTES && written.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(written);
    }
    wrong(
        node,
        "is not a pattern",
        format!(
            "write at most {PATTERN_BYTES} printable ASCII characters; '*' stands for anything, \"%2A\" for a star"
        ),
    )
}

/// A pattern that a path can meet.
fn path(node: &Node) -> kind::Read<String> {
    let written = pattern(node)?;
    // What the one reading of a path never has, a pattern would wait for in vain.
    let never =
        written.contains("/../") || written.contains("/./") || written.bytes().any(|b| b" ?#\\".contains(&b));
    if written.split('%').skip(1).any(is_needless) {
        return wrong(
            node,
            "has an escape that paths are looked at without",
            "write the character itself: '@' for \"%40\", ';' for \"%3B\"",
        );
    }
    if written.starts_with(['/', '*']) && !never {
        return Ok(written);
    }
    wrong(
        node,
        "is a pattern that no path meets",
        "write one such as \"/admin/*\" or \"*.php\": as paths are once they are normalised, without a query",
    )
}

/// Whether what follows a `%` has it stand for a character that could be written as it is. An escaped slash is not
/// always a slash, a star stands for anything; the rest has no other spelling in a path.
fn is_needless(escape: &str) -> bool {
    let byte = escape.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    byte.is_some_and(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'/' | b'*'))
}

/// `"name"`, `"!name"` or `"name: pattern"`.
fn header(node: &Node) -> kind::Read<(HeaderName, Want)> {
    let written = pattern(node)?;
    let (name, want) = match (written.split_once(':'), written.strip_prefix('!')) {
        (None, None) => (written.as_str(), Want::Present),
        (None, Some(name)) => (name, Want::Absent),
        (Some((name, value)), _) => (name, Want::Like(value.trim().to_owned())),
    };
    let empty = matches!(&want, Want::Like(pattern) if pattern.is_empty());
    match HeaderName::try_from(name).ok().filter(|_| !empty) {
        Some(name) => match headers::unseen(name.as_str()) {
            Some(why) => wrong(node, format!("`{name}` {why}"), "go by another header, or by the path"),
            None => Ok((name, want)),
        },
        None => wrong(
            node,
            "is no condition on a header",
            "write \"name\" (it is there), \"!name\" (it is not) or \"name: pattern\"",
        ),
    }
}

pub(super) fn bans(mut section: Section<'_>) -> Bans {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut bans = Bans::default();
    let scanned = one_of(&[
        ("secrets", Scanned::Secrets),
        ("wordpress", Scanned::Wordpress),
        ("php", Scanned::Php),
        ("java", Scanned::Java),
        ("devices", Scanned::Devices),
    ]);
    section.set("scanners", list(scanned), &mut bans.scanners);
    section.set("offences", count(1, 1000), &mut bans.offences);
    section.set("window", duration(Duration::from_secs(1), DAY), &mut bans.window);
    section.set("ladder", list(duration(Duration::from_secs(1), DAY * 365)), &mut bans.ladder);
    section.set("forget", duration(Duration::from_secs(1), DAY * 365), &mut bans.forget);
    section.set("never", list(never), &mut bans.never);
    if bans.ladder.is_empty() || bans.ladder.len() > 10 || !bans.ladder.is_sorted() {
        let remedy = "write 1 to 10 durations, none shorter than the one before, such as [\"1m\", \"1h\"]";
        section.problem("ladder", None, "is no ladder", remedy);
        bans.ladder = Bans::default().ladder;
    }
    section.finish();
    bans
}

/// A network that is not banned.
fn never(node: &Node) -> kind::Read<IpNet> {
    let refuse = |mut wrongs: Vec<kind::Wrong>| {
        wrongs.iter_mut().for_each(|wrong| wrong.remedy = "write one such as \"192.0.2.0/24\"".to_owned());
        wrongs
    };
    network(node).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};
    use super::*;

    #[test]
    fn filters_and_bans_are_read() {
        let text = format!(
            "{LEAST}[[filters]]\nname = \"a\"\nmethods = [\"POST\"]\npaths = [\"/x/*\", \"*.php\"]\nquery = [\"*<script*\"]\n\
             headers = [\"x-a\", \"!User-Agent\", \"user-agent: *sqlmap*\"]\ncontent_types = [\"*xml\"]\naction = \"ban\"\n\
             [bans]\nscanners = [\"secrets\", \"php\"]\noffences = 1\nladder = [\"5s\", \"10s\"]\nnever = [\"192.0.2.0/24\"]\n"
        );
        let config = config(&text, &[("KEEPGATE_BANS__WINDOW", "30s")]);
        let [filter] = &config.filters[..] else { panic!("one filter") };
        let wants: Vec<_> = filter.headers.iter().map(|(name, want)| (name.as_str(), want.clone())).collect();
        let like = Want::Like("*sqlmap*".to_owned());
        assert_eq!(wants, [("x-a", Want::Present), ("user-agent", Want::Absent), ("user-agent", like)]);
        assert_eq!((filter.action, filter.paths.len()), (Action::Ban, 2));
        assert_eq!(config.bans.scanners, [Scanned::Secrets, Scanned::Php]);
        assert_eq!((config.bans.window, config.bans.ladder.len()), (Duration::from_secs(30), 2));
    }

    #[test]
    fn what_is_no_filter_or_would_match_everything_is_refused_in_words() {
        let text = format!(
            "{LEAST}[[filters]]\nname = \"scanners\"\npaths = [\"admin\", \"/a/../b\", \"/a?x\", \"/\u{e9}\", \"/%40a\"]\n\
             [[filters]]\nname = \"B\"\nmethods = [\"get\"]\n\
             [[filters]]\nname = \"c\"\npaths = []\n[[filters]]\nname = \"c\"\n\
             [[filters]]\nname = \"d\"\nheaders = [\"a b\", \"x:\", \"!\", \"!x: y\"]\naction = \"drop\"\n\
             [bans]\nscanners = [\"all\"]\noffences = 0\nladder = [\"10s\", \"5s\"]\nnever = [\"0.0.0.0/0\"]\n"
        );
        insta::assert_snapshot!(report(&text, &[]));
        assert!(report(&format!("{LEAST}[bans]\nladder = []\n"), &[]).contains("is no ladder"));
        let kept = format!(
            "{LEAST}[[filters]]\nname = \"a\"\npaths = [\"*%2f*\", \"/a%20b%25%C3%A9*\", \"/%2A\"]\n"
        );
        assert_eq!(config(&kept, &[]).filters.len(), 1);
    }
}
