//! What replies look like: aligned tables for people, JSON for scripts.
//!
//! Much of what is shown was written by strangers (device names, reasons, user names): control
//! characters are escaped, so that nobody's session list can command an operator's terminal.

mod node;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::app::control::ca::Authority;
use crate::app::control::certificate::Certificate;
use crate::app::control::data::Document;
use crate::app::control::proof::{Pruned, Verification};
use crate::app::control::reply::Reply;
use crate::app::control::upstream::UpstreamServer;
use crate::app::control::view::{Ban, Event, Events, Invite, Key, Session, Throttle, User};
use crate::model::event::Fields;
use crate::model::text;

/// Whether anyone still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Someone does.
    There,
    /// Nobody does: going on makes no sense, but it is no error.
    Gone,
}

/// Writes to standard output. A reader that has gone (`| head`) is not an error.
pub(super) fn print(text: &str) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("standard output cannot be written: {error}")))
        }
    }
}

/// Waits, and notices if nobody can read standard output any more. It blocks: who follows a
/// log does nothing else.
pub(super) fn wait(pause: Duration) -> Reader {
    let out = io::stdout();
    // No event is asked for: the end of the reader is always told. A file has no reader that ends.
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    let pause = Timespec::try_from(pause).ok();
    match poll(&mut watched, pause.as_ref()) {
        Ok(events) if events > 0 => Reader::Gone,
        // A signal cut the wait short: then it is a short one.
        Ok(_) | Err(_) => Reader::There,
    }
}

/// A reply of another kind than the command's own: a defect, or a daemon of another version.
pub(super) fn unexpected(reply: &Reply) -> anyhow::Error {
    let kind = serde_json::to_value(reply).ok().and_then(|value| value.get("reply").cloned());
    anyhow::anyhow!("the daemon answered with {}, which was not asked for", kind.unwrap_or_default())
}

/// Writes to standard error; if that fails there is nobody to tell.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// So many of a thing: "1 route", "2 routes".
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A reply as text or as JSON without its envelope.
pub(super) fn render(reply: &Reply, json: bool) -> serde_json::Result<String> {
    if json { as_json(reply) } else { Ok(as_text(reply)) }
}

/// Any value as the JSON that scripts get.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

fn as_json(reply: &Reply) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(reply)?;
    let payload = value.get_mut("with").map(serde_json::Value::take);
    pretty(&payload.unwrap_or_else(|| serde_json::json!({})))
}

fn as_text(reply: &Reply) -> String {
    match reply {
        Reply::Done => "done\n".to_owned(),
        Reply::User(user) => one_user(user),
        Reply::Users(users) => table(["ID", "E-MAIL", "NAME", "ROLES", "STATUS", "CREATED"], users, user_row),
        // Shown by whoever asked, in other words.
        Reply::Exported(_) | Reply::Imported(_) => String::new(),
        Reply::Documents(documents) => table(["KEY", "BYTES", "VERSION", "UPDATED"], documents, document_row),
        Reply::Document(document) => lines(&document.body),
        Reply::Invited { invite, code } => {
            format!("{}\nThe code, shown this once:\n{code}\n", invites(std::slice::from_ref(invite)))
        }
        Reply::Invites(list) => invites(list),
        Reply::Sessions(sessions) => {
            table(["ID", "DEVICE", "ADDRESS", "REFRESHED", "LAST USED", "ENDS"], sessions, session_row)
        }
        Reply::Bans(bans) => {
            table(["NETWORK", "SOURCE", "REASON", "AUTHOR", "SINCE", "UNTIL"], bans, ban_row)
        }
        Reply::Keys(keys) => table(["ID", "ALGORITHM", "STATE", "CREATED", "CHANGED"], keys, key_row),
        Reply::Certificates(list) => {
            table(["NAMES", "SOURCE", "EXPIRES", "NEXT ORDER", "LAST ERROR"], list, certificate_row)
        }
        Reply::Authority(ca) => authority(ca),
        // Written to files by whoever asked.
        Reply::Issued(_) => String::new(),
        Reply::Upstreams(list) => {
            let head = ["UPSTREAM", "SERVER", "ZONE", "WEIGHT", "HEALTH", "IN FLIGHT", "SINCE", "WHY"];
            table(head, list, upstream_row)
        }
        Reply::Events(found) => event_lines(found),
        Reply::Verified(verification) => verified(verification),
        Reply::WitnessRenewed { old: Some(old) } => {
            format!("the witness is begun anew; the old one is {}\n", old.display())
        }
        Reply::WitnessRenewed { old: None } => "the witness is begun anew; there was no old one\n".to_owned(),
        Reply::Status(status) => node::status(status),
        Reply::Reloaded(done) => node::reloaded(done),
        Reply::Restarting { pid } => format!("Process {pid} takes over.\n"),
        // The command line reports it as the error that it is.
        Reply::Misconfigured(problems) => problems.to_string(),
    }
}

fn one_user(user: &User) -> String {
    let mut rows = vec![
        ("id", user.id.clone()),
        ("e-mail", user.email.clone()),
        ("name", user.name.clone()),
        ("roles", user.roles.join(", ")),
        ("status", word(&user.status)),
        ("created", user.created_at.clone()),
        (
            "password set",
            user.password_set_at.clone().unwrap_or_else(|| "never: nobody can log in".to_owned()),
        ),
    ];
    rows.extend(user.throttle.as_ref().map(|throttle| ("failed logins", failed_logins(throttle))));
    fields(&rows)
}

fn failed_logins(throttle: &Throttle) -> String {
    let Throttle { strangers_failures, strangers_until, known_failures, known_waiting } = throttle;
    if (*strangers_failures, *known_failures) == (0, 0) {
        return "none lately".to_owned();
    }
    let until = strangers_until.as_ref().map(|until| format!(", the next not before {until}"));
    let waiting = (*known_waiting > 0).then(|| format!(", {known_waiting} of them waiting"));
    format!(
        "by strangers {strangers_failures}{}; from known devices {known_failures}{}",
        until.unwrap_or_default(),
        waiting.unwrap_or_default()
    )
}

fn user_row(user: &User) -> [String; 6] {
    let User { id, email, name, roles, status, created_at, .. } = user;
    [id.clone(), email.clone(), name.clone(), roles.join(","), word(status), created_at.clone()]
}

fn document_row(document: &Document) -> [String; 4] {
    let Document { key, bytes, version, updated_at } = document;
    [key.clone(), bytes.to_string(), version.to_string(), updated_at.clone()]
}

/// A text of several lines, each of them [`plain`].
fn lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

fn invites(list: &[Invite]) -> String {
    let row = |invite: &Invite| {
        let email = invite.email.clone().unwrap_or_else(|| "anyone".to_owned());
        [invite.id.clone(), email, invite.roles.join(","), invite.author.clone(), invite.expires_at.clone()]
    };
    table(["ID", "E-MAIL", "ROLES", "AUTHOR", "UNTIL"], list, row)
}

fn session_row(session: &Session) -> [String; 6] {
    let address = session.address.clone().unwrap_or_default();
    let refreshed = format!("{}×", session.generation);
    let (used, ends) = (session.used_at.clone(), session.expires_at.clone());
    [session.id.clone(), session.device.clone(), address, refreshed, used, ends]
}

fn ban_row(ban: &Ban) -> [String; 6] {
    let Ban { network, source, reason, author, created_at, expires_at } = ban.clone();
    let until = expires_at.unwrap_or_else(|| "(until removed)".to_owned());
    [network, source, reason, author.unwrap_or_default(), created_at.unwrap_or_default(), until]
}

fn certificate_row(certificate: &Certificate) -> [String; 5] {
    let Certificate { names, source, file, expires_at, order_at, error } = certificate;
    let source = file.as_ref().unwrap_or(source).clone();
    [names.join(","), source, expires_at.clone(), order_at.clone().unwrap_or_default(), error.clone()]
}

fn authority(ca: &Authority) -> String {
    let Authority { name, from, until, fingerprint, file, .. } = ca.clone();
    fields(&[("name", name), ("from", from), ("until", until), ("sha-256", fingerprint), ("file", file)])
}

fn upstream_row(server: &UpstreamServer) -> [String; 8] {
    let UpstreamServer { upstream, server, weight, backup, zone, health, in_flight, since, why } =
        server.clone();
    let weight = if backup { format!("{weight}, backup") } else { weight.to_string() };
    let since = since.unwrap_or_else(|| "(the start)".to_owned());
    [upstream, server, zone.unwrap_or_default(), weight, health, in_flight.to_string(), since, why]
}

fn key_row(key: &Key) -> [String; 5] {
    let (created, changed) = (key.created_at.clone(), key.changed_at.clone());
    [key.id.clone(), key.algorithm.clone(), word(&key.state), created, changed]
}

/// One event in one line: what is always there first, what may be missing as `key=value`.
/// A line for each event and each record that cannot be read, in order.
pub(super) fn event_lines(found: &Events) -> String {
    let unreadable =
        |index: &u64| (*index, format!("record {index} cannot be read: run `keepgate audit verify`\n"));
    let events = found.events.iter().map(|event| (event.index, event_line(event)));
    let mut lines: Vec<_> = events.chain(found.unreadable.iter().map(unreadable)).collect();
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn event_line(event: &Event) -> String {
    let Event { index, at, actor, intent, outcome, .. } = event;
    let mut line = format!("{index} {at} {outcome} {intent} by {}", plain(actor));
    let rest = [
        ("from", event.address.as_deref().unwrap_or(closed(event.personal))),
        ("target", &event.target),
        ("reason", &event.reason),
        ("request", event.request.as_deref().unwrap_or_default()),
    ];
    for (name, value) in rest.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(line, " {name}={}", plain(value));
    }
    if event.count > 1 {
        let _ = write!(line, " count={}", event.count);
    }
    line + "\n"
}

/// What stands for personal fields that are not there.
const fn closed(fields: Fields) -> &'static str {
    match fields {
        Fields::Open => "",
        Fields::Erased => "(erased)",
        Fields::Locked => "(locked)",
    }
}

fn verified(found: &Verification) -> String {
    let proven = format!("{} records, signed heads: {}", found.records, found.heads);
    let pruned = found.pruned.as_ref().map(dropped).unwrap_or_default();
    if found.intact {
        return format!(
            "The audit log is intact. Proven: {proven}, last hash {}.\nSigned through record {} by key {}.\n{pruned}",
            found.hash, found.signed, found.public_key
        );
    }
    let findings: String = found.findings.iter().map(|finding| format!("  {}\n", plain(finding))).collect();
    format!("THE AUDIT LOG IS NOT INTACT:\n{findings}Read: {proven}.\n{pruned}")
}

fn dropped(pruned: &Pruned) -> String {
    let Pruned { through, at, older_than } = pruned;
    let age = older_than.as_ref().map(|than| format!(", all older than {than},")).unwrap_or_default();
    format!("Records 1 to {through}{age} were dropped on {at}.\n")
}

pub(super) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", plain(value))).collect()
}

/// Columns as wide as their widest cell. Nothing but a word where there are no rows, so that `grep`
/// and eyes are not misled by a lonely heading.
pub(super) fn table<T, const N: usize>(
    head: [&str; N],
    items: &[T],
    row: impl Fn(&T) -> [String; N],
) -> String {
    if items.is_empty() {
        return "none\n".to_owned();
    }
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(items.iter().map(|item| row(item).map(|cell| plain(&cell))))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text without control characters, which could command a terminal, and without the invisible ones
/// that reorder a line.
pub(super) fn plain(given: &str) -> String {
    let mut shown = String::with_capacity(given.len());
    for c in given.chars() {
        if text::commands(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The serialised name of a unit variant.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
