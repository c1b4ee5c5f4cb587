//! One server as all edge threads know it: how many requests are under way, and whether it is in
//! service. It outlives plans, so that a reload forgets nothing.
//!
//! Three things put a server out of service, each by itself: an operator who drains it, checks that
//! fail ([`Active`]), and requests that fail ([`Passive`], an *ejection*). Only the first is never
//! overruled. Times are milliseconds of whatever clock the caller goes by, never 0.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::key::hash;
use super::terms::{ejection, risen};
use crate::config::upstream::{Active, Passive, Server};

/// All of a server's weight.
pub const WHOLE: u32 = 1000;
/// Longest reason that is kept, bytes.
const REASON: usize = 200;

/// One server.
#[derive(Debug)]
pub struct ServerState {
    server: Server,
    label: Box<str>,
    seed: u64,
    in_flight: AtomicU32,
    requests: AtomicU64,
    drained: AtomicBool,
    down: AtomicBool,
    /// When checks took it in again; 0 if they never put it out.
    up_at: AtomicU64,
    /// When its last ejection ends, or ended; 0 if there was none.
    ejected_until: AtomicU64,
    /// There were failures since its last success: the next success has something to put right.
    unsettled: AtomicBool,
    failures: AtomicU64,
    ejections: AtomicU64,
    good_checks: AtomicU64,
    bad_checks: AtomicU64,
    /// When the next check is due.
    due: AtomicU64,
    story: Mutex<Story>,
}

/// What only whoever tells of it, and whoever changes it, looks at.
#[derive(Debug, Default)]
struct Story {
    fails: u32,
    last_fail: u64,
    /// Ejections on end, and how long the last one was.
    times: u32,
    last_for: u64,
    /// It came back from an ejection and has not answered yet: one more failure is enough.
    on_trial: bool,
    good: u32,
    bad: u32,
    drained_at: u64,
    down_at: u64,
    ejected_at: u64,
    why_down: String,
    why_ejected: String,
}

/// Whether a server is in service, told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is.
    Up,
    /// It is back, and its share grows.
    Rising,
    /// Its requests failed.
    Ejected,
    /// Its checks fail.
    Down,
    /// An operator took it out.
    Drained,
    /// Its name leads nowhere yet.
    Unresolved,
}

impl Health {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Rising => "rising",
            Self::Ejected => "ejected",
            Self::Down => "down",
            Self::Drained => "drained",
            Self::Unresolved => "unresolved",
        }
    }
}

/// How a server stands, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether it is in service.
    pub health: Health,
    /// Since when; `None` for since it is known.
    pub since: Option<u64>,
    /// Why it is not; empty if it is.
    pub why: String,
}

/// What a check brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The server is in service again.
    Up,
    /// It is out of service.
    Down,
}

impl ServerState {
    /// A server that is well, as far as anybody knows.
    pub fn new(server: Server) -> Self {
        let label: Box<str> = server.to_string().into();
        Self {
            seed: hash(label.as_bytes()),
            server,
            label,
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            drained: AtomicBool::new(false),
            down: AtomicBool::new(false),
            up_at: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            good_checks: AtomicU64::new(0),
            bad_checks: AtomicU64::new(0),
            due: AtomicU64::new(0),
            story: Mutex::default(),
        }
    }

    /// Where it is.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// Its address as the configuration writes it.
    pub const fn label(&self) -> &str {
        &self.label
    }

    /// A number that is this server's, on every node.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests sent to it so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Of those, failed; with connections that could not be made.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Checks that were good, and bad.
    pub fn checks(&self) -> (u64, u64) {
        (self.good_checks.load(Ordering::Relaxed), self.bad_checks.load(Ordering::Relaxed))
    }

    /// One more request under way, if there are fewer than `most` (0: in any case).
    pub fn take_off(&self, most: u32) -> bool {
        // Ordered with whoever waits: see `queue`. Counted only if there is room: a count that is taken
        // back would look like a full server to somebody, who would then wait for nobody's end.
        let room = |under_way: u32| (under_way < most).then_some(under_way + 1);
        let taken = match most {
            0 => {
                self.in_flight.fetch_add(1, Ordering::SeqCst);
                true
            }
            _ => self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_ok(),
        };
        self.requests.fetch_add(u64::from(taken), Ordering::Relaxed);
        taken
    }

    /// One fewer.
    pub fn land(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Of what took off and was then not sent anything: it was no request.
    pub fn turn_back(&self) {
        self.land();
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether an operator took it out of service.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// How much of its weight it is to get, of [`WHOLE`]; 0 while it is out of service. `now` is asked
    /// only for one that was out before.
    pub fn share(&self, slow_start: Duration, now: impl FnOnce() -> u64) -> u32 {
        if self.drained.load(Ordering::Relaxed) || self.down.load(Ordering::Relaxed) {
            return 0;
        }
        let back = self.ejected_until.load(Ordering::Relaxed).max(self.up_at.load(Ordering::Relaxed));
        if back == 0 {
            return WHOLE;
        }
        match now().checked_sub(back) {
            None => 0,
            Some(elapsed) => risen(elapsed, millis(slow_start)),
        }
    }

    /// It answered. `now` is asked only for one that failed before.
    pub fn answered(&self, now: impl FnOnce() -> u64) {
        if self.unsettled.load(Ordering::Relaxed) {
            self.settle(now());
        }
    }

    /// A request failed, and it was the server's doing. Returns how long it is ejected for, if it is.
    pub fn failed(&self, why: &str, rule: &Passive, now: u64) -> Option<Duration> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut story = self.story.lock();
        let until = self.ejected_until.load(Ordering::Relaxed);
        // A failure of what was sent before it was ejected says nothing new.
        if rule.max_fails == 0 || now < until {
            return None;
        }
        self.unsettled.store(true, Ordering::Relaxed);
        let first = millis(rule.fail_timeout).max(1);
        let recent = now.saturating_sub(story.last_fail) <= first;
        story.fails = if recent { story.fails.saturating_add(1) } else { 1 };
        story.last_fail = now;
        if story.fails < rule.max_fails && !story.on_trial {
            return None;
        }
        // In service for longer than it was out before: that is another story.
        let again = story.times > 0 && now.saturating_sub(until) <= story.last_for;
        story.times = if again { story.times.saturating_add(1) } else { 1 };
        story.last_for = ejection(rule, story.times);
        story.fails = 0;
        story.on_trial = true;
        story.ejected_at = now;
        story.why_ejected = reason(why);
        self.ejected_until.store(now.saturating_add(story.last_for), Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        Some(Duration::from_millis(story.last_for))
    }

    /// By another rule: an ejection under way lasts for as long as it would by that one, if that is shorter.
    pub fn relent(&self, rule: &Passive, now: u64) {
        let mut story = self.story.lock();
        let until = self.ejected_until.load(Ordering::Relaxed);
        if now >= until {
            return;
        }
        let lasts = match rule.max_fails {
            0 => 0,
            _ => ejection(rule, story.times),
        };
        if lasts < story.last_for {
            story.last_for = lasts;
            let until = story.ejected_at.saturating_add(lasts).max(1);
            self.ejected_until.store(until, Ordering::Relaxed);
        }
    }

    fn settle(&self, now: u64) {
        let mut story = self.story.lock();
        // An answer to what was sent before it was ejected does not bring it back.
        if now < self.ejected_until.load(Ordering::Relaxed) {
            return;
        }
        if story.on_trial {
            tracing::info!(server = &*self.label, "an application server answers again");
        }
        story.fails = 0;
        story.on_trial = false;
        self.unsettled.store(false, Ordering::Relaxed);
    }

    /// What a check found.
    pub fn checked(&self, found: Result<(), &str>, rule: &Active, now: u64) -> Option<Turn> {
        let mut story = self.story.lock();
        match found {
            Ok(()) => {
                self.good_checks.fetch_add(1, Ordering::Relaxed);
                story.bad = 0;
                story.good = story.good.saturating_add(1);
                if !self.down.load(Ordering::Relaxed) || story.good < rule.up {
                    return None;
                }
                self.up_at.store(now, Ordering::Relaxed);
                self.down.store(false, Ordering::Relaxed);
                Some(Turn::Up)
            }
            Err(why) => {
                self.bad_checks.fetch_add(1, Ordering::Relaxed);
                story.good = 0;
                story.bad = story.bad.saturating_add(1);
                story.why_down = reason(why);
                if self.down.load(Ordering::Relaxed) || story.bad < rule.down {
                    return None;
                }
                story.down_at = now;
                self.down.store(true, Ordering::Relaxed);
                Some(Turn::Down)
            }
        }
    }

    /// Nobody checks it any more: what checks have said is over.
    pub fn unchecked(&self) {
        if self.due.swap(0, Ordering::Relaxed) != 0 || self.down.load(Ordering::Relaxed) {
            let mut story = self.story.lock();
            (story.good, story.bad) = (0, 0);
            self.down.store(false, Ordering::Relaxed);
        }
    }

    /// When its next check is due; 0 if nobody has said.
    pub fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }

    /// Says when.
    pub fn check_at(&self, due: u64) {
        self.due.store(due, Ordering::Relaxed);
    }

    /// An operator takes it out of service, or lets it in again. Returns whether that changes anything.
    pub fn drain(&self, drained: bool, now: u64) -> bool {
        let mut story = self.story.lock();
        let changed = self.drained.swap(drained, Ordering::Relaxed) != drained;
        if changed {
            story.drained_at = now;
        }
        changed
    }

    /// How it stands.
    pub fn told(&self, slow_start: Duration, now: u64) -> Told {
        let story = self.story.lock();
        let (up_at, until) = (self.up_at.load(Ordering::Relaxed), self.ejected_until.load(Ordering::Relaxed));
        let told = |health, since: u64, why: &str| Told {
            health,
            since: (since > 0).then_some(since),
            why: why.to_owned(),
        };
        if self.is_drained() {
            return told(Health::Drained, story.drained_at, "drained by an operator");
        }
        if self.down.load(Ordering::Relaxed) {
            return told(Health::Down, story.down_at, &story.why_down);
        }
        if now < until {
            return told(Health::Ejected, story.ejected_at, &story.why_ejected);
        }
        let back = up_at.max(until);
        let rising = back > 0 && risen(now.saturating_sub(back), millis(slow_start)) < WHOLE;
        told(if rising { Health::Rising } else { Health::Up }, back, "")
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A reason in one short line: some of it may come from the server.
fn reason(why: &str) -> String {
    let shown = why.chars().map(|c| if c.is_control() { '·' } else { c });
    let mut kept = String::new();
    for c in shown {
        if kept.len() + c.len_utf8() > REASON {
            break;
        }
        kept.push(c);
    }
    kept
}
