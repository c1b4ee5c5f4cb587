//! What is changed on the way: header rules of all routes and of one, what is taken off a path and put before it,
//! and where a redirect leads. All of it is refused here if it could not be done safely, so that the edge has
//! nothing left to ask.

use http::HeaderName;

use super::kind::{self, flag, list, text, wrong};
use super::routes::prefix;
use super::section::Section;
use super::tree::{Node, Value};
use crate::config::headers::{HeaderRules, Line, Part, Side, untouchable};
use crate::config::route::{Redirect, RouteTarget, Shape};

/// Longest header line, bytes: a Content-Security-Policy may be long.
const LINE_BYTES: usize = 4096;
/// Most rules of one table and kind.
const MOST: usize = 50;

/// Which messages a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Requests to applications.
    Requests,
    /// What an application answers.
    Answers,
    /// Answers of the API, or of everybody.
    AllAnswers,
}

impl Whose {
    const fn side(self) -> Side {
        match self {
            Self::Requests => Side::Request,
            Self::Answers | Self::AllAnswers => Side::Response,
        }
    }

    fn refuses(self, name: &HeaderName, writes: bool) -> Option<&'static str> {
        let cors = self == Self::AllAnswers && name.as_str().starts_with("access-control-");
        let cors = cors.then_some("is [cors]'s to say for the API; write it for routes to applications");
        cors.or_else(|| untouchable(name, self.side(), writes))
    }
}

/// One table of rules.
pub(super) fn headers(mut section: Section<'_>, whose: Whose) -> HeaderRules {
    let mut rules = HeaderRules::default();
    section.set("set", list(|node: &Node| line(node, whose)), &mut rules.set);
    section.set("add", list(|node: &Node| line(node, whose)), &mut rules.add);
    section.set("remove", list(|node: &Node| name(node, whose)), &mut rules.remove);
    if whose.side() == Side::Response {
        section.set("security", flag, &mut rules.security);
    }
    for (key, count) in [("set", rules.set.len()), ("add", rules.add.len()), ("remove", rules.remove.len())] {
        if count > MOST {
            section.problem(key, None, &format!("has {count} items"), &format!("write at most {MOST}"));
        }
    }
    let twice = |(at, line): &(usize, &Line)| {
        let before = rules.set.iter().take(*at).map(|line| &line.name);
        before.chain(&rules.remove).any(|name| *name == line.name)
    };
    if let Some((_, line)) = rules.set.iter().enumerate().find(twice) {
        let shown = Some(format!("{:?}", line.name.as_str()));
        section.problem("set", shown, "is also set or removed by another rule here", "write one of them");
    }
    section.finish();
    rules
}

/// `"Name: value"`
fn line(node: &Node, whose: Whose) -> kind::Read<Line> {
    let refuse = |message: &str| wrong(node, message, "write a header such as \"X-Frame-Options: DENY\"");
    let (Value::Text(written) | Value::Loose(written)) = &node.value else {
        return refuse("is not a header");
    };
    let Some((name, value)) = written.split_once(':').filter(|_| written.len() <= LINE_BYTES) else {
        return refuse("is not a header");
    };
    let value = value.trim();
    let name = header_name(node, name, whose, true)?;
    // RFC 9110 §5.5. No tabs and nothing past ASCII: who reads it may see something else.
    if value.is_empty() || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return refuse("is not a header's value");
    }
    match parts(value, whose.side()) {
        Ok(value) => Ok(Line { name, value }),
        Err(message) => wrong(node, message, variables(whose.side())),
    }
}

fn name(node: &Node, whose: Whose) -> kind::Read<HeaderName> {
    header_name(node, &text(node)?, whose, false)
}

fn header_name(node: &Node, name: &str, whose: Whose, writes: bool) -> kind::Read<HeaderName> {
    // RFC 9110 §5.1: a token, which is what the type takes.
    let Ok(name) = HeaderName::try_from(name) else {
        return wrong(node, "is not a header's name", "write one such as \"X-Frame-Options\"");
    };
    match whose.refuses(&name, writes) {
        Some(why) => wrong(node, format!("{name} {why}"), "remove it"),
        None => Ok(name),
    }
}

const fn variables(side: Side) -> &'static str {
    match side {
        Side::Request => "write {host}, {client_ip} or {request_id}; other braces stand for themselves",
        Side::Response => "write {client_ip} or {request_id}; other braces stand for themselves",
    }
}

/// A value's pieces. A name in braces must be a variable, so that a slip of the pen is not sent on; any other
/// brace is itself (values in JSON have many).
fn parts(value: &str, side: Side) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        let name = after.split_once('}').map(|(name, _)| name);
        let word =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let Some(name) = name.filter(word) else {
            plain.push('{');
            rest = after;
            continue;
        };
        let part = match (name, side) {
            ("host", Side::Request) => Part::Host,
            ("client_ip", _) => Part::ClientIp,
            ("request_id", _) => Part::RequestId,
            _ => return Err("has a variable that is not known here"),
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(part);
        rest = after.get(name.len() + 1..).unwrap_or_default();
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// What a route changes.
pub(super) fn shape(
    section: &mut Section<'_>,
    (path, target): (Option<&str>, Option<&RouteTarget>),
) -> Shape {
    let answers = match target {
        Some(RouteTarget::Api) => Whose::AllAnswers,
        _ => Whose::Answers,
    };
    let to_nobody = match target {
        Some(RouteTarget::Api) => Some("api"),
        Some(RouteTarget::Redirect(_)) => Some("redirect"),
        Some(RouteTarget::Folder(_)) => Some("root"),
        Some(RouteTarget::Upstream(_)) | None => None,
    };
    if let Some(to) = to_nobody {
        for key in
            ["request_headers", "strip_prefix", "upstream_path"].into_iter().filter(|key| section.has(key))
        {
            let message = format!("is not used with `{to}`: nothing is sent to an application");
            section.problem(key, None, &message, "remove it");
        }
    }
    let request_headers = headers(section.child("request_headers"), Whose::Requests);
    let response_headers = headers(section.child("response_headers"), answers);
    let strip_prefix = section.optional("strip_prefix", strip).and_then(|strip| match strip {
        Strip::Nothing => None,
        Strip::Path => path.map(str::to_owned),
        Strip::Prefix(prefix) => Some(prefix),
    });
    let covers = |prefix: &str| {
        let rest = path.and_then(|path| path.strip_prefix(prefix));
        prefix != "/" && (path.is_none() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    if let Some(prefix) = strip_prefix.as_deref().filter(|prefix| !covers(prefix)) {
        let message = "is no beginning of the route's path that could be taken off";
        let remedy = "write true, or the first segments of `path`";
        section.problem("strip_prefix", Some(format!("{prefix:?}")), message, remedy);
    }
    let upstream_path = section.optional("upstream_path", prefix).filter(|path| path != "/");
    Shape { request_headers, response_headers, strip_prefix, upstream_path }
}

enum Strip {
    Nothing,
    Path,
    Prefix(String),
}

fn strip(node: &Node) -> kind::Read<Strip> {
    let refuse =
        || wrong(node, "is neither true nor a path prefix", "write true, or a prefix such as \"/app\"");
    match flag(node) {
        Ok(true) => Ok(Strip::Path),
        Ok(false) => Ok(Strip::Nothing),
        Err(_) => prefix(node).map(Strip::Prefix).or_else(|_| refuse()),
    }
}

/// `redirect` and `redirect_status`.
pub(super) fn redirect(section: &mut Section<'_>) -> Option<Redirect> {
    let given = section.has("redirect");
    let to = section.optional("redirect", destination);
    let status_given = section.has("redirect_status");
    let status = section.optional("redirect_status", status).unwrap_or(307);
    if status_given && !given {
        section.problem(
            "redirect_status",
            None,
            "is not used without `redirect`",
            "set redirect, or remove it",
        );
    }
    let (to, keeps_path) = to?;
    Some(Redirect { to, keeps_path, status })
}

fn status(node: &Node) -> kind::Read<u16> {
    let status = match &node.value {
        Value::Integer(number) => u16::try_from(*number).ok(),
        Value::Loose(text) => text.parse().ok(),
        _ => None,
    };
    match status {
        Some(status @ (301 | 302 | 303 | 307 | 308)) => Ok(status),
        _ => wrong(
            node,
            "is not a redirect's status",
            "write 307 (temporary) or 308 (permanent), or 301, 302, 303, which may turn a POST into a GET",
        ),
    }
}

/// Where to: an https URL or a path of the same host, and whether `{path}` stands at its end. There and nowhere
/// else, behind a slash: what a client wrote is never part of a host's name, nor of the query.
fn destination(node: &Node) -> kind::Read<(String, bool)> {
    let remedy = "write \"https://new.example.com/{path}\", \"/new/{path}\", or a place without {path}";
    let refuse = |message: &str| wrong(node, message, remedy);
    let written = text(node)?;
    let (to, keeps_path) = match written.strip_suffix("{path}") {
        Some(before) => (before, true),
        None => (written.as_str(), false),
    };
    let mark = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
    if !to.bytes().all(mark) {
        return refuse(
            "has characters that no URL has, or a fragment, or {path} in another place than at its end",
        );
    }
    if keeps_path && (!to.ends_with('/') || to.contains('?')) {
        return refuse("has {path} elsewhere than behind a path's slash");
    }
    let local = to.starts_with('/') && !to.starts_with("//");
    let path = if local { Some(to) } else { path_of_url(to) };
    let Some(path) = path else { return refuse("is neither an https URL nor a path of the same host") };
    let path = path.split('?').next().unwrap_or_default();
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refuse("has '.' or '..' segments");
    }
    Ok((to.to_owned(), keeps_path))
}

/// The path of an https URL without user and with a host.
fn path_of_url(url: &str) -> Option<&str> {
    let after = url.strip_prefix("https://")?;
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, path) = after.split_at_checked(end)?;
    let parsed = authority.parse::<http::uri::Authority>().ok()?;
    let after = authority.strip_prefix(parsed.host())?;
    let port = |text: &str| text.parse().is_ok_and(|port: u16| port > 0);
    let good = after.is_empty() || after.strip_prefix(':').is_some_and(port);
    (!parsed.host().is_empty() && good).then_some(path)
}

#[cfg(test)]
mod tests;
