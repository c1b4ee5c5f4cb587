//! Keepgate's own log: text or JSON lines on standard output or in daily files ([`super::daily`]), filtered as the
//! configuration says, and every panic with its backtrace.
//!
//! Lines are written by a thread of their own behind a bounded queue. When it is full, lines are
//! dropped and counted: a stuck disk or terminal must never stop a request. What must not be lost
//! goes to the audit trail, not here.

use std::backtrace::Backtrace;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::daily::{Bounds, DailyFiles};
use super::gathered::Queue;
use super::lines::Lines;
use super::lost::CountsLost;
use crate::config::log::{Log, LogTarget};
use crate::model::time::SystemClock;

/// What waits for the log's thread: a line, or some that a thread has gathered; a third of a second of them under
/// load, and no more than 60 MB while the disk hangs. The queue's places are memory from the start (32 bytes
/// each), and the library's own 128,000 of them were a sixth of an idle node.
const QUEUED: usize = 16 * 1024;

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `log.level` is not a filter. Reading a configuration refuses it before this.
    #[error(
        "log.level = {0:?} is not a log filter: write one such as \"info\" or \"info,keepgate::edge=debug\""
    )]
    Filter(String),
    /// The log folder cannot be made or written.
    #[error("the log folder {path} cannot be used: {reason}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// Something in this process logs already.
    #[error("logging was started before")]
    Twice,
}

/// Keeps the log's thread running; when dropped, what is queued is written.
#[must_use = "dropping it ends the log"]
pub struct Guard {
    _worker: WorkerGuard,
    handle: Handle,
}

impl Guard {
    /// For changing what is logged while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Starts logging for the whole process and makes panics part of the log. Files go to
/// `data_dir/log`, one a day in UTC, named `keepgate.DATE.log`.
pub fn init(log: &Log, data_dir: &Path) -> Result<Guard, LoggingError> {
    let filter = read_filter(log)?;
    let colours = log.target == LogTarget::Stdout && std::io::stdout().is_terminal();
    let lost = Arc::default();
    let ((writer, worker), (short, shared)) = match &log.target {
        LogTarget::Stdout => (queue(buffered(std::io::stdout()), &lost), Default::default()),
        LogTarget::Files { keep, max_bytes } => {
            let bounds = Bounds { days: *keep, bytes: *max_bytes };
            let files = files(&data_dir.join("log"), bounds)?;
            let told = (files.short(), files.shared());
            (queue(buffered(files), &lost), told)
        }
    };
    let sink = Sink { dropped: writer.error_counter(), lost: Arc::clone(&lost), short, shared };
    let (subscriber, change) = subscriber(filter, log.json, colours, Queue::new(writer, lost));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Guard { _worker: worker, handle: Handle { change, sink } })
}

fn read_filter(log: &Log) -> Result<EnvFilter, LoggingError> {
    let filter = log.level.parse::<EnvFilter>().map_err(|_| LoggingError::Filter(log.level.clone()))?;
    Ok(with_access(filter, log.access))
}

/// `log.access` alone decides about the access log (target `keepgate::access`), whatever the level.
fn with_access(filter: EnvFilter, access: bool) -> EnvFilter {
    let level = if access { LevelFilter::INFO } else { LevelFilter::OFF };
    match format!("keepgate::access={level}").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

fn queue(to: impl Write + Send + 'static, lost: &Arc<AtomicU64>) -> (NonBlocking, WorkerGuard) {
    let to = CountsLost::new(to, Arc::clone(lost));
    NonBlockingBuilder::default().thread_name("log").buffered_lines_limit(QUEUED).finish(to)
}

/// The queue's thread flushes whenever it has caught up: under load one write takes many lines.
fn buffered<W: Write>(to: W) -> BufWriter<W> {
    BufWriter::with_capacity(64 * 1024, to)
}

fn files(folder: &Path, bounds: Bounds) -> Result<DailyFiles, LoggingError> {
    DailyFiles::open(folder, bounds, Arc::new(SystemClock))
        .map_err(|error| LoggingError::Folder { path: folder.to_owned(), reason: error.to_string() })
}

fn subscriber<W>(
    filter: EnvFilter,
    json: bool,
    colours: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, Change)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter);
    let json = Arc::new(AtomicBool::new(json));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .with_writer(writer)
        .event_format(Lines::new(Arc::clone(&json)));
    (tracing_subscriber::registry().with(filter).with(lines), Change { filter: handle, json })
}

/// Changes what is logged, and how, while it runs. Where to does not change.
#[derive(Clone)]
pub struct Handle {
    change: Change,
    sink: Sink,
}

/// What decides about a line.
#[derive(Clone)]
struct Change {
    filter: reload::Handle<EnvFilter, Registry>,
    json: Arc<AtomicBool>,
}

/// Where lines go.
#[derive(Clone)]
struct Sink {
    dropped: ErrorCounter,
    lost: Arc<AtomicU64>,
    short: Arc<AtomicBool>,
    shared: Arc<AtomicBool>,
}

/// A change that was checked and cannot fail any more.
#[derive(Debug)]
#[must_use = "nothing changes until it is put in place"]
pub struct Prepared {
    filter: EnvFilter,
    json: bool,
}

impl Handle {
    /// Reads `level`, `json` and `access`. Nothing changes yet.
    pub fn prepare(log: &Log) -> Result<Prepared, LoggingError> {
        Ok(Prepared { filter: read_filter(log)?, json: log.json })
    }

    /// From the next line on.
    pub fn put(&self, prepared: Prepared) {
        self.change.put(prepared);
    }

    /// Lines dropped so far because the log could not be written, or not fast enough.
    pub fn dropped_lines(&self) -> u64 {
        (self.sink.dropped.dropped_lines() as u64).saturating_add(self.sink.lost.load(Ordering::Relaxed))
    }

    /// Says whether another process writes to the same files.
    pub fn set_shared(&self, shared: bool) {
        self.sink.shared.store(shared, Ordering::Relaxed);
    }

    /// Says whether the disk is short: log files then grow no further.
    pub fn set_short(&self, short: bool) {
        self.sink.short.store(short, Ordering::Relaxed);
    }
}

impl Change {
    fn put(&self, Prepared { filter, json }: Prepared) {
        self.json.store(json, Ordering::Relaxed);
        // It fails only if the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(filter);
    }
}

/// Replaces the default hook, which would write to standard error what no log collector reads.
fn log_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("(not a text)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let backtrace = Backtrace::force_capture();
    tracing::error!(panic = text, place, thread, %backtrace, "a thread panicked: this is a defect in keepgate");
}

/// What is logged, for tests of what is said how often.
#[cfg(test)]
pub mod testing {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Buffer(pub(super) Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `level` lets through of what this thread logs in `what`.
    pub(super) fn logged(level: &str, json: bool, what: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, _) = subscriber(level.parse().unwrap(), json, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, what);
        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The lines that `info` lets through.
    pub fn lines(what: impl FnOnce()) -> Vec<String> {
        logged("info", false, what).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Buffer, logged};
    use super::*;

    #[test]
    fn json_lines_carry_the_fields_at_the_top() {
        let text = logged("info", true, || tracing::info!(seq = 7, "journal opened"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["message"].as_str(), line["seq"].as_i64()), (Some("journal opened"), Some(7)));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_filter_decides_by_module() {
        let text = logged("warn,keepgate=debug", false, || {
            tracing::debug!("ours");
            tracing::info!(target: "hyper", "theirs");
        });
        assert!(text.contains("ours") && !text.contains("theirs"), "{text}");
    }

    #[test]
    fn filter_and_format_change_while_it_runs_also_within_open_spans() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, change) = subscriber("info".parse().unwrap(), false, false, move || writer.clone());
        let put = |level: &str, json| {
            let log = Log { level: level.into(), json, ..Log::default() };
            change.put(Handle::prepare(&log).unwrap());
        };
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("connection", peer = "x");
            let _open = span.enter();
            tracing::debug!("too fine");
            put("debug", true);
            tracing::debug!(n = 7, "fine enough");
            put("warn", false);
            tracing::info!("too fine again");
            tracing::warn!("plain");
        });
        let text = String::from_utf8(buffer.0.lock().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((line["message"].as_str(), line["n"].as_i64()), (Some("fine enough"), Some(7)));
        assert!(lines[1].contains("WARN") && lines[1].ends_with("plain"), "{text}");
        let refused = Handle::prepare(&Log { level: "loud=very".into(), ..Log::default() });
        assert!(matches!(refused, Err(LoggingError::Filter(_))));
    }

    #[test]
    fn the_access_log_has_a_switch_of_its_own() {
        for (level, access) in [("warn", true), ("trace", false)] {
            let filter = with_access(level.parse().unwrap(), access).to_string();
            let want = if access { "keepgate::access=info" } else { "keepgate::access=off" };
            assert!(filter.contains(want), "{filter}");
        }
    }

    #[test]
    fn files_are_made_in_a_private_folder_and_flushed_by_the_guard() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let (mut writer, guard) =
            queue(files(&folder, Bounds { days: 3, bytes: 1 << 20 }).unwrap(), &Arc::default());
        writer.write_all(b"a line\n").unwrap();
        drop(guard);
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
        assert!(file.file_name().to_str().unwrap().starts_with("keepgate."));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "a line\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lost = Arc::default();
        let (mut writer, guard) = queue(BufWriter::with_capacity(20, Full), &lost);
        for _ in 0..3 {
            writer.write_all(b"sixteen letters\n").unwrap();
        }
        drop(guard);
        // The first waits in the buffer, and leaves no room there for the others.
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_made_and_a_bad_filter_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), "a file").unwrap();
        let target = LogTarget::Files { keep: 3, max_bytes: 1 << 20 };
        let error = init(&Log { target, ..Log::default() }, dir.path()).err().unwrap();
        assert!(error.to_string().contains("/log cannot be used"), "{error}");
        let error = init(&Log { level: "loud=very".into(), ..Log::default() }, dir.path()).err().unwrap();
        assert!(matches!(error, LoggingError::Filter(_)));
    }

    #[test]
    fn a_panic_is_logged_with_place_thread_and_backtrace() {
        let text = logged("error", true, || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let _ = std::panic::catch_unwind(|| panic!("broken {}", 7));
            std::panic::set_hook(before);
        });
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["panic"], "broken 7");
        assert!(line["place"].as_str().unwrap().starts_with("src/observe/logging.rs:"));
        assert!(line["backtrace"].as_str().unwrap().len() > 100);
    }
}
