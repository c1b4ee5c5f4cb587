//! The audit log in other programs' formats: JSON lines, and CEF (ArcSight's Common Event Format,
//! version 0). Almost every field may have been chosen by a stranger: no value can end its field or
//! its line, whatever it holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::new_file::{NewFile, Signals};
use super::output::{self, Reader};
use crate::app::control::view::{Event, Events};
use crate::model::event::Fields;
use crate::model::time::Timestamp;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    Jsonl,
    /// Common Event Format, version 0
    Cef,
}

/// An export under way.
pub(super) struct Export {
    format: Format,
    file: Option<NewFile>,
    count: usize,
}

impl Export {
    /// To a new file, or to standard output. A file that is there is not replaced: it may be the
    /// only copy of records that were pruned since.
    pub fn to(out: Option<(&Path, &Signals)>, format: Format) -> anyhow::Result<Self> {
        let file = out.map(|(path, signals)| NewFile::create(path, signals)).transpose()?;
        Ok(Self { format, file, count: 0 })
    }

    /// Writes a page.
    pub fn write(&mut self, page: &Events) -> anyhow::Result<Reader> {
        let text = match self.format {
            Format::Jsonl => json_lines(page)?,
            Format::Cef => cef_lines(page),
        };
        self.count += page.events.len() + page.unreadable.len();
        match &mut self.file {
            None => Ok(output::print(&text)?),
            Some(file) => {
                file.write(&text)?;
                Ok(Reader::There)
            }
        }
    }

    /// Makes a file durable; gives how many events are in it. Nothing of standard output, where the events stand.
    pub fn finish(self) -> anyhow::Result<Option<(usize, PathBuf)>> {
        let Some(file) = self.file else { return Ok(None) };
        let path = file.path().to_owned();
        file.finish()?;
        Ok(Some((self.count, path)))
    }
}

/// The lines of readable and unreadable records in the order of the chain.
fn in_order<L>(
    page: &Events,
    event: impl Fn(&Event) -> L,
    unreadable: impl Fn(u64) -> L,
) -> impl Iterator<Item = L> {
    let events = page.events.iter().map(|it| (it.index, event(it)));
    let mut lines: Vec<_> = events.chain(page.unreadable.iter().map(|it| (*it, unreadable(*it)))).collect();
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line)
}

/// One object a line; a record that cannot be read has its index and says so.
pub(super) fn json_lines(page: &Events) -> serde_json::Result<String> {
    let unreadable = |index| Ok(serde_json::json!({ "index": index, "unreadable": true }).to_string());
    in_order(page, serde_json::to_string, unreadable).map(|line| line.map(|line| line + "\n")).collect()
}

fn cef_lines(page: &Events) -> String {
    let unreadable = |index: u64| {
        let header = header("unreadable", "unreadable record", 9);
        format!("{header}externalId={index} msg=run keepgate audit verify\n")
    };
    in_order(page, cef_line, unreadable).collect()
}

/// `CEF:0|vendor|product|version|class|name|severity|`
fn header(class: &str, name: &str, severity: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let escaped = |text: &str| output::plain(text).replace('\\', r"\\").replace('|', r"\|");
    format!("CEF:0|Keepgate|Keepgate|{version}|{}|{}|{severity}|", escaped(class), escaped(name))
}

fn cef_line(event: &Event) -> String {
    let Event { index, at, actor, address, subject, personal, intent, outcome, target, reason, .. } = event;
    let severity = match (intent.as_str(), outcome.as_str()) {
        ("refresh_reuse", _) => 9,
        (_, "granted") => 3,
        (_, "denied") => 5,
        _ => 7,
    };
    let mut line = header(intent, &format!("{intent} {outcome}"), severity);
    let _ = write!(line, "externalId={index} cnt={}", event.count);
    if let Some(at) = Timestamp::from_rfc3339(at) {
        let _ = write!(line, " rt={}", at.as_millis());
    }
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(line, " {name}={}", extension(value));
        }
    };
    let is_v6 = |address: &String| address.contains(':');
    field("suser", actor);
    field("outcome", outcome);
    field("reason", reason);
    field("src", address.as_deref().filter(|address| !address.contains(':')).unwrap_or_default());
    if let Some(address) = address.as_ref().filter(|address| is_v6(address)) {
        field("c6a2", address);
        field("c6a2Label", "Source IPv6 Address");
    }
    let personal = match personal {
        Fields::Open => "",
        Fields::Erased => "erased",
        Fields::Locked => "locked",
    };
    let customs = [
        ("cs1", "target", target.as_str()),
        ("cs2", "request", event.request.as_deref().unwrap_or_default()),
        ("cs3", "subject", subject.as_deref().unwrap_or_default()),
        ("cs4", "personal", personal),
    ];
    for (name, label, value) in customs.into_iter().filter(|(_, _, value)| !value.is_empty()) {
        field(name, value);
        field(&format!("{name}Label"), label);
    }
    line + "\n"
}

/// An extension's value: backslashes and equals signs escaped; no control character, and so no line
/// break, is left as it is. A pipe needs no escape here.
fn extension(value: &str) -> String {
    output::plain(value).replace('\\', r"\\").replace('=', r"\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            index: 7,
            at: "2026-11-22T10:00:00.123Z".into(),
            actor: "account:0190".into(),
            address: Some("192.0.2.7".into()),
            subject: Some("0190".into()),
            personal: Fields::Open,
            intent: "login".into(),
            outcome: "granted".into(),
            target: "session".into(),
            reason: String::new(),
            request: Some("0191".into()),
            count: 1,
        }
    }

    #[test]
    fn both_formats_are_pinned() {
        let hostile = Event {
            index: 8,
            actor: "console:0".into(),
            address: Some("2001:db8::7".into()),
            subject: None,
            intent: "access".into(),
            outcome: "denied".into(),
            target: "a|b=c\\d\nCEF:0|x|y|z|q|w|1|msg=fake\r\u{1b}[2J\u{202e} src=1.2.3.4".into(),
            reason: "revoked".into(),
            request: None,
            count: 40,
            ..event()
        };
        let erased = Event { index: 9, address: None, personal: Fields::Erased, ..event() };
        let page =
            Events { events: vec![event(), hostile, erased], unreadable: vec![3], last: 9, more: false };
        let (cef, json) = (cef_lines(&page), json_lines(&page).unwrap());
        assert_eq!((cef.lines().count(), json.lines().count()), (4, 4), "a value cannot end its line");
        assert!(!cef.contains(['\u{1b}', '\u{202e}', '\r']));
        assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        insta::assert_snapshot!(format!("{cef}{json}").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    /// Reads an extension as a receiver does: a key is a word before an unescaped equals sign.
    fn keys(line: &str) -> Vec<String> {
        let extension = line.splitn(8, '|').nth(7).unwrap();
        let mut keys = Vec::new();
        let (mut word, mut escaped) = (String::new(), false);
        for c in extension.chars() {
            match c {
                _ if escaped => (word, escaped) = (String::new(), false),
                '\\' => escaped = true,
                '=' => keys.push(std::mem::take(&mut word)),
                ' ' => word.clear(),
                c => word.push(c),
            }
        }
        keys
    }

    #[test]
    fn no_value_can_add_a_field_or_a_header() {
        for target in ["x act=blocked", "\\ src=1.2.3.4", "\\\\= src=1.1.1.1", "a\nb=c", "|||", "=", "\\"] {
            let line = cef_line(&Event { target: target.into(), reason: target.into(), ..event() });
            let expected = [
                "externalId",
                "cnt",
                "rt",
                "suser",
                "outcome",
                "reason",
                "src",
                "cs1",
                "cs1Label",
                "cs2",
                "cs2Label",
                "cs3",
                "cs3Label",
            ];
            assert_eq!(keys(&line), expected, "{target}: {line}");
        }
        let line = cef_line(&Event { intent: "a|b\\c\nd".into(), ..event() });
        assert!(line.contains(r"|a\|b\\c\\u{a}d|a\|b\\c\\u{a}d granted|3|"), "{line}");
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let caught = Signals::caught().unwrap();
        let mut export = Export::to(Some((&path, &caught)), Format::Jsonl).unwrap();
        export.write(&Events { events: vec![event()], ..Events::default() }).unwrap();
        assert_eq!(export.finish().unwrap(), Some((1, path.clone())));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        let error = Export::to(Some((&path, &caught)), Format::Jsonl).err().unwrap();
        assert!(format!("{error:#}").contains("exists"), "{error:#}");
    }
}
