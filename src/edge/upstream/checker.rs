//! Active checks: one task for the whole node asks every server of groups that have `health_path`, time
//! and again, and says in the log what changes.
//!
//! It follows the plan in force. When a server's next check is due is kept with the server, so that a
//! reload neither forgets a check nor makes two of one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::probe;
use super::queue;
use super::shared::Shared;
use super::state::{ServerState, Turn, millis};
use crate::config::upstream::Active;
use crate::edge::plan::Plans;
use crate::model::random::{self, SharedRng};

/// Longest time until a new plan is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// Most checks under way at once.
const AT_ONCE: usize = 64;

/// The task.
pub struct Checker {
    plans: Arc<Plans>,
    rng: SharedRng,
}

/// A check that has ended.
struct Done {
    group: Arc<Shared>,
    server: Arc<ServerState>,
    rule: Active,
    found: Result<(), String>,
}

impl Checker {
    /// For the groups of these plans.
    pub const fn new(plans: Arc<Plans>, rng: SharedRng) -> Self {
        Self { plans, rng }
    }

    /// Checks until told to stop.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut running = JoinSet::new();
        loop {
            let pause = self.begin(&mut running);
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(done) = running.join_next() => {
                    if let Ok(done) = done {
                        self.end(&done);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins every check that is due. Returns how long until the next.
    fn begin(&self, running: &mut JoinSet<Done>) -> Duration {
        let now = self.plans.groups().ticks().millis();
        let mut pause = LOOK;
        for group in self.plans.current().upstreams().iter() {
            let Some(rule) = &group.config.active else { continue };
            for server in &group.servers {
                if server.due() == 0 {
                    // Not all of them in the same moment.
                    server.check_at(now + self.part(millis(rule.interval.min(LOOK))));
                }
                let due = Duration::from_millis(server.due().saturating_sub(now));
                if due.is_zero() && running.len() < AT_ONCE {
                    // Until it has ended; should it never, it is made again.
                    server.check_at(now + millis(rule.timeout) + millis(rule.interval));
                    let (group, server, mut rule) = (Arc::clone(group), Arc::clone(server), rule.clone());
                    rule.host = rule.host.or_else(|| group.config.host.clone());
                    let way = group.way(&server);
                    running.spawn(async move {
                        let found = probe::check(server.server(), &way, &rule).await;
                        Done { group, server, rule, found }
                    });
                } else if !due.is_zero() {
                    pause = pause.min(due);
                }
            }
        }
        pause
    }

    fn end(&self, Done { group, server, rule, found }: &Done) {
        let now = group.now();
        // A tenth more or less, so that nodes that began together do not stay together.
        let interval = millis(rule.interval);
        server.check_at(now + interval - interval / 10 + self.part(interval / 5));
        let (upstream, label) = (&*group.name, server.label());
        let why = found.as_ref().err().map_or("", |why| why);
        match server.checked(found.as_ref().copied().map_err(|why| &**why), rule, now) {
            Some(Turn::Up) => {
                tracing::info!(upstream, server = label, "an application server is in service again");
                queue::serve(group, server);
            }
            Some(Turn::Down) => {
                tracing::warn!(
                    upstream,
                    server = label,
                    why,
                    "an application server is out of service: its checks fail"
                );
            }
            None => {}
        }
    }

    /// Some of so many milliseconds.
    fn part(&self, most: u64) -> u64 {
        let lot = u64::from_le_bytes(random::bytes(&*self.rng));
        lot % (most + 1)
    }
}
