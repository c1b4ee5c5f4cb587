//! A simulated month: the real services on a real folder, a clock that is moved by hand, traffic and
//! the very steps that the clockwork runs, and the size of every part of the folder day by day. What
//! expires must go and what is freed be used again, or a line climbs and the test says which.
//!
//! `make month` runs it with more traffic and draws `docs/month.svg`; lives and retention are
//! shortened to some days, so that the second half of the month shows what years would.

mod chart;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::core::Core;
use super::upkeep::steps;
use crate::auth::accounts::NewAccount;
use crate::auth::bans::NewBan;
use crate::auth::invites::NewInvite;
use crate::auth::sessions::Login;
use crate::auth::sessions::sweep::Sweep;
use crate::auth::testing::{PASSWORD, address, caller_of, from};
use crate::config::Config;
use crate::config::development::Listeners;
use crate::model::caller::Actor;
use crate::model::time::{ManualClock, Timestamp};
use crate::observe::daily::{Bounds, DailyFiles};
use crate::users::condition::Condition;
use crate::users::json::JsonText;

const DAYS: usize = 30;
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Everything that was kept from the first day is gone by this one: lives and retention of three
/// days, and the day that expired records wait.
const SETTLED: usize = 10;
/// Small, so that the month goes through many.
const SEGMENT: u64 = 64 * 1024;
/// Segments on disk at once: two that are kept, the spare, and what four views may lag.
const SEGMENTS: usize = 16;

/// A write-ahead log between two checkpoints, bytes: a checkpoint comes after a segment's worth of
/// changes, and each change writes some pages.
const WAL: u64 = 16 * 1024 * 1024;

/// What log files may come to: less than three days of them are.
const LOG: u64 = 1024 * 1024;

/// Bytes of each part of the data folder on one day.
type Sizes = BTreeMap<String, u64>;

fn config(folder: &Path) -> Config {
    let mut config = Config::development(folder, &Listeners::default(), vec![]).unwrap();
    (config.passwords.memory_kib, config.passwords.iterations) = (8, 1);
    (config.store.segment_bytes, config.store.checkpoint_every) = (SEGMENT, Duration::from_millis(100));
    (config.audit.keep, config.audit.head_every) = (3 * DAY, Duration::from_secs(60));
    (config.tokens.refresh_ttl, config.tokens.session_ttl) = (2 * DAY, 3 * DAY);
    config.keys.rotate_every = 2 * DAY;
    config
}

struct Month {
    core: Core,
    clock: Arc<ManualClock>,
    sweep: Sweep,
    log: DailyFiles,
    /// Visits in an hour.
    visits: usize,
    people: usize,
    visited: usize,
    /// The steady clock, moved with the other.
    steady: Instant,
}

impl Month {
    async fn begin(folder: &Path, visits: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let core = Core::open_at(config(folder), clock.clone()).await.unwrap();
        let bounds = Bounds { days: 3, bytes: LOG };
        let log = DailyFiles::open(&folder.join("log"), bounds, clock.clone()).unwrap();
        let (sweep, people) = (core.auth.sessions.sweep(), 20 * visits);
        for person in 0..people {
            let new = NewAccount {
                email: address(&format!("p{person}")),
                password: PASSWORD.into(),
                name: String::new(),
                roles: std::iter::empty().collect(),
            };
            core.auth.accounts.create(new, Actor::System, &from("192.0.2.1")).await.unwrap();
        }
        Self { core, clock, sweep, log, visits, people, visited: 0, steady: Instant::now() }
    }

    /// Somebody logs in, writes a document, refreshes, and every other time logs out.
    async fn visit(&mut self) {
        self.visited += 1;
        let (auth, person) = (&self.core.auth, self.visited % self.people);
        let origin = from(&format!("2001:db8::{person:x}"));
        let login = |email: &str, password: &str| Login {
            email: address(email),
            password: password.into(),
            device: None,
            cookies: vec![],
        };
        let grant = auth.sessions.login(login(&format!("p{person}"), PASSWORD), &origin).await.unwrap();
        let body = JsonText::parse(format!("{{\"text\": \"{}\"}}", "x".repeat(person * 10)).as_bytes());
        let (caller, key) = (caller_of(&grant), "note".parse().unwrap());
        self.core.users.put(&caller, &key, &body.unwrap(), &Condition::default()).await.unwrap();
        auth.sessions.refresh(grant.refresh_token.expose_secret(), &origin).await.unwrap();
        if self.visited.is_multiple_of(2) {
            auth.sessions.logout(&caller, &origin).await.unwrap();
        }
        if self.visited.is_multiple_of(3) {
            let stranger = from(&format!("198.51.100.{}", self.visited % 250));
            auth.sessions.login(login(&format!("p{person}"), "a wrong one"), &stranger).await.unwrap_err();
        }
    }

    async fn hour(&mut self) {
        for _ in 0..self.visits {
            self.visit().await;
        }
        // Half a mebibyte a day, which the days alone would not keep within the bound.
        for _ in 0..200 {
            self.log.write_all(&[b'x'; 100]).unwrap();
        }
        self.clock.advance(HOUR);
        self.steady += HOUR;
        steps::sweep(&self.core, &mut self.sweep).await;
        steps::heads(&self.core).await;
        steps::keys(&self.core).await;
        steps::denials(&self.core, None).await;
        steps::lapsed(&self.core).await;
        steps::prune(&self.core, self.steady, || true).await;
    }

    async fn day(&mut self, number: usize) {
        for hour in 0..24 {
            let expires_at = Some(self.core.clock.now().plus(HOUR));
            let network = format!("203.0.{number}.{hour}");
            let ban = NewBan { network, reason: "a test".into(), expires_at, force: false };
            self.core.auth.bans.add(ban, Actor::System, &from("192.0.2.1")).await.unwrap();
            let invite = NewInvite { ttl: Some(HOUR), ..NewInvite::default() };
            self.core.auth.invites.create(invite, Actor::System, &from("192.0.2.1")).await.unwrap();
            self.hour().await;
        }
        let stores = &self.core.stores;
        stores.logs.reached(stores.committer.durable()).await.unwrap();
    }

    /// What is kept, in records.
    fn records(&self) -> [usize; 4] {
        let stores = &self.core.stores;
        let sessions = stores.tokens.sessions(None, 1_000_000).unwrap().len();
        let revocations = stores.tokens.revocations().unwrap().len();
        let bans = stores.tokens.bans().unwrap().len();
        [sessions, revocations, bans, stores.auth.invites().unwrap().len()]
    }
}

/// The sizes of the files below a folder by part: the namespace's folder, and its write-ahead log.
fn measure(folder: &Path, sizes: &mut Sizes) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            measure(&path, sizes);
        } else if let Ok(file) = entry.metadata() {
            // A segment that is gone since the folder was listed has no size.
            let part = folder.file_name().unwrap().to_string_lossy().into_owned();
            let wal = path.extension().is_some_and(|it| it.to_string_lossy().ends_with("-wal"));
            *sizes.entry(if wal { format!("{part} WAL") } else { part }).or_default() += file.len();
        }
    }
}

/// The parts that grow after all has settled, in words. Write-ahead logs and the journal are as long
/// as the machine is behind at that moment: they have a bound instead.
fn climbing(days: &[Sizes]) -> Vec<String> {
    let most = |part: &str, days: &[Sizes]| days.iter().filter_map(|it| it.get(part)).max().copied();
    let (settled, later) = days.get(SETTLED..).unwrap().split_at((DAYS - SETTLED) / 2);
    let parts: BTreeSet<_> = later.iter().flat_map(Sizes::keys).filter(|part| !passing(part)).collect();
    let grown = parts.into_iter().filter_map(|part| {
        let (before, after) = (most(part, settled).unwrap_or(0), most(part, later).unwrap_or(0));
        (after > before + before / 4 + SEGMENT).then(|| format!("{part}: {before} bytes, then {after}"))
    });
    grown.collect()
}

fn passing(part: &str) -> bool {
    part == "journal" || part.ends_with("WAL")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_simulated_month_every_file_is_as_large_as_after_ten_days() {
    let visits = std::env::var("KEEPGATE_MONTH_VISITS").map_or(1, |it| it.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("keepgate");
    let mut month = Month::begin(&folder, visits).await;
    let (mut days, mut records) = (Vec::new(), Vec::new());
    for number in 0..DAYS {
        month.day(number).await;
        let segments = month.core.stores.committer.journal_segments();
        assert!(segments <= SEGMENTS, "{segments} segments on day {number}");
        let mut sizes = Sizes::new();
        measure(&folder, &mut sizes);
        assert!(sizes.iter().all(|(part, size)| !passing(part) || *size <= WAL), "day {number}: {sizes:?}");
        assert!(sizes["log"] <= LOG, "day {number}: {sizes:?}");
        days.push(sizes);
        records.push(month.records());
    }
    month.core.close().await.unwrap();
    if let Some(path) = std::env::var_os("KEEPGATE_MONTH_SVG") {
        std::fs::write(path, chart::draw(&days)).unwrap();
    }
    assert_eq!(climbing(&days), Vec::<String>::new(), "{days:#?}");
    let (settled, last) = (records[SETTLED], records[DAYS - 1]);
    for (before, after) in settled.into_iter().zip(last) {
        assert!(after <= before + before / 10 + 10, "sessions, revocations, bans, invitations: {records:?}");
    }
}

#[test]
fn a_part_that_climbs_is_named() {
    let day = |number: u64| Sizes::from([("flat".into(), 1 << 20), ("leaky".into(), number << 20)]);
    let days: Vec<_> = (0..DAYS as u64).map(day).collect();
    assert_eq!(climbing(&days), ["leaky: 19922944 bytes, then 30408704"]);
}
