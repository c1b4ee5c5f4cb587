//! How an event becomes a line of the log: as JSON, in colours on a terminal, or as plain text.
//!
//! Plain lines, which files and collectors get, read as the library's own ([`Format`]), which composes each of them
//! of styles that are then not shown and asks the calendar for each: a twentieth of a proxied request, since every
//! request writes one.
//!
//! Invariant: a plain event is one line, whatever is in its values; only a backtrace has several.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer, format};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::time::{Clock as _, SystemClock, Timestamp};

/// The one field whose value may have several lines.
const BACKTRACE: &str = "backtrace";

/// `2026-11-22T10:53:05.120`: what is the same for a second is 19 letters of it.
const SECOND: usize = 19;

thread_local! {
    /// The second that was written last, and how.
    static LAST: Cell<(i64, [u8; SECOND])> = const { Cell::new((i64::MIN, [0; SECOND])) };
}

/// All formats, one of them in use. Fields of spans are kept as text for both, so that the format can
/// change while spans are open; JSON lines leave them out.
pub(super) struct Lines {
    json: Arc<AtomicBool>,
    as_json: Format<Json, Time>,
    in_colours: Format<Full, Time>,
}

impl Lines {
    /// As JSON while that is true, else as text.
    pub(super) fn new(json: Arc<AtomicBool>) -> Self {
        let timed = || format().with_timer(Time);
        let as_json = timed().json().flatten_event(true).with_current_span(false).with_span_list(false);
        Self { json, as_json, in_colours: timed() }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.json.load(Ordering::Relaxed) {
            true => self.as_json.format_event(ctx, to, event),
            false if to.has_ansi_escapes() => self.in_colours.format_event(ctx, to, event),
            false => write_plain(ctx, to, event),
        }
    }
}

/// When a line was written, in every format: RFC 3339 in UTC with milliseconds, as the audit log has it.
struct Time;

impl FormatTime for Time {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write_time(to, SystemClock.now())
    }
}

/// Writes an event as plain text.
fn write_plain<S, N>(ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    write_time(&mut to, SystemClock.now())?;
    to.write_str(match *event.metadata().level() {
        Level::ERROR => " ERROR ",
        Level::WARN => "  WARN ",
        Level::INFO => "  INFO ",
        Level::DEBUG => " DEBUG ",
        Level::TRACE => " TRACE ",
    })?;
    for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        to.write_str(span.metadata().name())?;
        if let Some(fields) =
            span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty())
        {
            write!(OneLine(&mut to), "{{{fields}}}")?;
        }
        to.write_str(": ")?;
    }
    to.write_str(event.metadata().target())?;
    to.write_str(":")?;
    let mut values = Values { to: &mut to, result: Ok(()) };
    event.record(&mut values);
    values.result?;
    to.write_char('\n')
}

fn write_time(to: &mut impl Write, now: Timestamp) -> fmt::Result {
    let (known, mut text) = LAST.get();
    if known != now.as_secs() {
        let written = now.rfc3339();
        let Some(second) = written.as_bytes().first_chunk() else { return to.write_str(&written) };
        text = *second;
        LAST.set((now.as_secs(), text));
    }
    to.write_str(str::from_utf8(&text).unwrap_or_default())?;
    let millis = u16::try_from(now.as_millis().rem_euclid(1000)).unwrap_or_default();
    let digits = [100, 10, 1].map(|place| char::from_digit(u32::from(millis / place % 10), 10));
    to.write_char('.')?;
    digits.into_iter().flatten().try_for_each(|digit| to.write_char(digit))?;
    to.write_char('Z')
}

/// Writes an event's fields: its message as it is, the others by name.
struct Values<'a, W> {
    to: &'a mut W,
    result: fmt::Result,
}

impl<W: Write> Values<'_, W> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        let name = field.name();
        let named = || {
            self.to.write_char(' ')?;
            if name != "message" {
                self.to.write_str(name.strip_prefix("r#").unwrap_or(name))?;
                self.to.write_char('=')?;
            }
            value(self.to)
        };
        if self.result.is_ok() {
            self.result = named();
        }
    }
}

impl<W: Write> Visit for Values<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |to| match field.name() {
            "message" => OneLine(to).write_str(value),
            _ if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') => {
                to.write_char('"')?;
                to.write_str(value)?;
                to.write_char('"')
            }
            _ => write!(to, "{value:?}"),
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |to| write!(to, "{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, |to| {
            let mut line = OneLine(to);
            write!(line, "{value}")?;
            let mut cause = value.source();
            while let Some(error) = cause {
                write!(line, ": {error}")?;
                cause = error.source();
            }
            Ok(())
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |to| match field.name() {
            BACKTRACE => write!(to, "{value:?}"),
            _ => write!(OneLine(to), "{value:?}"),
        });
    }
}

/// Writes control characters as they are written in a program: nothing begins a line that is none, or is obeyed
/// by a terminal.
struct OneLine<'a, W>(&'a mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|letter| match letter.is_control() {
            true => write!(self.0, "{}", letter.escape_default()),
            false => self.0.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::logging::testing::lines;

    fn at(millis: i64) -> String {
        let mut text = String::new();
        write_time(&mut text, Timestamp::from_millis(millis)).unwrap();
        text
    }

    #[test]
    fn the_time_is_what_the_calendar_says_also_when_it_goes_back() {
        for millis in [1_795_400_000_000, 1_795_400_000_999, 1_795_400_001_007, 1_795_400_000_050, 0, -1] {
            assert_eq!(at(millis), Timestamp::from_millis(millis).rfc3339());
        }
    }

    #[test]
    fn a_line_says_when_how_grave_where_what_and_each_field_by_its_name() {
        let said = lines(|| {
            let error = std::io::Error::other("the disk is gone");
            let nothing: Option<u64> = None;
            tracing::warn!(target: "keepgate::x", n = 7, name = "a \"b\"", free = %"as it is", %error, nothing, "it happened");
            tracing::info!(target: "keepgate::access", method = "GET", path = "/", status = 200_u16, r#type = ?Some(1));
        });
        let rest: Vec<_> = said.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            rest,
            [
                r#" WARN keepgate::x: it happened n=7 name="a \"b\"" free=as it is error=the disk is gone"#,
                r#" INFO keepgate::access: method="GET" path="/" status=200 type=Some(1)"#,
            ]
        );
        assert!(said.iter().all(|line| Timestamp::from_rfc3339(line.split_once(' ').unwrap().0).is_some()));
    }

    #[test]
    fn nobody_can_write_a_line_of_their_own_or_speak_to_a_terminal() {
        let evil = "x\n2026-01-01T00:00:00.000Z  INFO keepgate: all is well\u{1b}[2J\u{9b}\r\0";
        let said = lines(|| {
            tracing::info!(text = evil, shown = %evil, debug = ?evil, "{evil}");
        });
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(!said[0].chars().any(char::is_control), "{said:?}");
        assert!(said[0].contains(r"shown=x\n2026") && said[0].contains(r"\u{1b}[2J"), "{said:?}");
    }

    #[test]
    fn an_error_comes_with_its_causes_and_a_span_with_its_fields() {
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct Outer(#[source] std::io::Error);
        let said = lines(|| {
            let _span = tracing::info_span!("connection", peer = "x").entered();
            let error = Outer(std::io::Error::other("broken pipe"));
            tracing::info!(error = &error as &dyn Error, "failed");
        });
        assert!(said[0].contains(r#"connection{peer="x"}: keepgate::"#), "{said:?}");
        assert!(said[0].ends_with("failed error=no answer: broken pipe"), "{said:?}");
    }
}
