//! What each step of the clockwork does; `upkeep.rs` says when. Apart, so that a simulated month
//! runs the very steps that a node runs. A step logs its failure, once until it is over, and leaves
//! the rest to the next.

use std::time::Instant;

use keepgate_guard::verifier::Verifier;

use crate::app::core::Core;
use crate::app::disk::Level;
use crate::audit::folded::GivenUp;
use crate::audit::retention::Allowance;
use crate::auth::sessions::sweep::Sweep;
use crate::observe::logging;

/// Sessions in one page of a sweep, and pages in one step: 1.2 million sessions an hour, while the
/// records of expired ones wait for a day anyway.
const PAGE: usize = 500;
/// See [`PAGE`].
const PAGES: usize = 40;
/// Counts of refusals that a node writes at a stop while its disk is full, of the edge and of the services
/// each: some 10 KiB.
pub(in crate::app) const LAST_COUNTS: usize = 16;

/// Signs the audit chain's head if one is due.
pub(in crate::app) async fn heads(core: &Core) {
    if core.stores.committer.failed().is_none() {
        let signed = core.heads.sign_if_due().await;
        core.told.tell("the audit chain's head could not be signed", signed.map(drop));
    }
}

/// Rotates the signing keys whose time has come.
pub(in crate::app) async fn keys(core: &Core) {
    let rotated = core.keys.tick().await;
    core.told.tell("the signing keys could not be rotated on schedule", rotated.map(drop));
}

/// Drops the revocations, bans and invitations that lapsed a day ago from the store.
pub(in crate::app) async fn lapsed(core: &Core) {
    if core.stores.committer.failed().is_none() {
        let forgotten = core.auth.lapsed.forget().await;
        core.told.tell("lapsed records could not be removed", forgotten.map(drop));
    }
}

/// Drops what has expired: revocations and failed tries from memory, sessions from the store.
pub(in crate::app) async fn sweep(core: &Core, sweep: &mut Sweep) {
    core.revocations.view().prune(core.clock.now().as_millis());
    core.auth.throttle.purge();
    if core.stores.committer.failed().is_none() {
        let swept = sweep.step(PAGES, PAGE).await;
        core.told.tell("expired sessions could not be removed", swept.map(drop));
    }
}

/// Drops from memory the bans that lapsed and the verified tokens that have expired. Blocking, for as long
/// as looking at each takes.
pub(in crate::app) fn forget(core: &Core, verifier: &Verifier) {
    core.blacklist.forget_lapsed(core.clock.now());
    verifier.prune(core.clock.now().as_millis().div_euclid(1000));
}

/// Drops audit records that are older than `audit.keep`, as many as may go at `now` of the steady clock
/// and for as long as `go_on` says so, and then the heads of them in the witness.
pub(in crate::app) async fn prune(core: &Core, now: Instant, go_on: impl Fn() -> bool) {
    let allowed = core.retention.allow(now).await;
    core.told.tell("old audit records could not be looked for", allowed.as_ref().map(drop));
    let Ok(Some(Allowance { limit, surprise })) = allowed else { return };
    if let Some(overdue) = surprise {
        let days = overdue.as_secs() / (24 * 3600);
        tracing::warn!(
            days,
            "the oldest audit records are days past audit.keep: they are dropped, a day of the log in an hour; \
             if neither audit.keep was shortened nor the node stood still, the machine's clock is wrong: set it \
             right, or stop the dropping with audit.keep = \"0s\""
        );
    }
    let mut through = None;
    while core.stores.committer.failed().is_none() && go_on() {
        let pruned = core.retention.step(limit).await;
        core.told.tell("old audit records could not be dropped", pruned.as_ref().map(drop));
        let Ok(Some(pruned)) = pruned else { break };
        through = Some(pruned.through);
    }
    if let Some(through) = through {
        tracing::info!(through, "audit records older than audit.keep were dropped");
        let forgotten = core.heads.forget(through).await;
        core.told.tell("the heads of dropped audit records are still in the witness", forgotten);
    }
}

/// Writes the counts of refusals whose windows have closed by `now` ([`None`]: all of them).
pub(in crate::app) async fn denials(core: &Core, now: Option<Instant>) {
    // What cannot be written stays, and the log was told.
    core.auth.denials.close_windows(now).await;
}

/// Looks at the disk once more before the last words: whether hardly any of them fits.
pub(in crate::app) async fn is_full(core: &Core) -> bool {
    room(core).await;
    core.disk.level() == Level::Full
}

/// Looks how much room the disk has. Without an answer the last look counts.
pub(in crate::app) async fn room(core: &Core) {
    let (disk, committer) = (core.disk.clone(), core.stores.committer.clone());
    drop(tokio::task::spawn_blocking(move || disk.look(&committer)).await);
}

/// Writes the largest counts of refusals, at a stop while the disk is full.
pub(in crate::app) async fn largest_denials(core: &Core) -> GivenUp {
    core.auth.denials.close_largest(LAST_COUNTS).await
}

/// Says what the audit log will never have.
pub(in crate::app) fn tell_given_up(lost: &[GivenUp]) {
    let counts: u64 = lost.iter().map(|lost| lost.counts).sum();
    let refusals: u64 = lost.iter().map(|lost| lost.refusals).sum();
    if counts > 0 {
        tracing::warn!(
            counts,
            refusals,
            "the disk is full: of the refusals that were only counted, the audit log has the largest counts; \
             these are lost"
        );
    }
}

/// Looks how much room the disk has: while it is short, the log may take none of what is kept for what
/// ends access. Blocking.
pub(in crate::app) fn disk(core: &Core, log: &logging::Handle) {
    core.disk.look(&core.stores.committer);
    log.set_short(core.disk.level() >= Level::Reserve);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::audit::draft::Draft;
    use crate::config::Config;
    use crate::config::development::Listeners;
    use crate::model::caller::Origin;
    use crate::model::event::{Intent, Outcome};
    use crate::model::id::RequestId;
    use crate::model::time::{ManualClock, Timestamp};
    use crate::store::commit::room::Short;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const MINUTE: Duration = Duration::from_secs(60);

    struct House {
        core: Core,
        clock: Arc<ManualClock>,
        start: Instant,
        _folder: TempDir,
    }

    impl House {
        /// Keeps a log of 400 days.
        async fn open() -> Self {
            Self::with(|_| {}).await
        }

        async fn with(change: impl FnOnce(&mut Config)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut config = Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
            config.audit.keep = 400 * DAY;
            change(&mut config);
            let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
            let core = Core::open_at(config, clock.clone()).await.unwrap();
            Self { core, clock, start: Instant::now(), _folder: folder }
        }

        /// Writes an event and signs the head, and gives how many records that covers.
        async fn signed(&self) -> u64 {
            let stores = &self.core.stores;
            self.core.trail.record(Draft::new(Intent::Start, Outcome::Granted)).await.unwrap();
            stores.logs.reached(stores.committer.durable()).await.unwrap();
            let head = self.core.heads.sign_now().await.unwrap().expect("an event is new");
            stores.logs.reached(stores.committer.durable()).await.unwrap();
            head.count
        }

        /// Signs on three days, and then at a time far ahead.
        async fn leap(&self) -> Vec<u64> {
            let mut counts = Vec::new();
            for _ in 0..3 {
                counts.push(self.signed().await);
                self.clock.advance(DAY + 60 * MINUTE);
            }
            self.clock.advance(700 * DAY);
            counts.push(self.signed().await);
            counts
        }

        /// Prunes so long after the start, and gives through which record was dropped.
        async fn dropped_after(&self, minutes: u32) -> u64 {
            prune(&self.core, self.start + minutes * MINUTE, || true).await;
            self.core.stores.logs.base().unwrap().map_or(0, |base| base.through)
        }
    }

    #[tokio::test]
    async fn a_stop_while_the_disk_is_full_writes_few_counts() {
        let house =
            House::with(|config| (config.store.warn_free, config.store.stop_free) = (u64::MAX, u64::MAX))
                .await;
        let core = &house.core;
        for at in 0..1000_u32 {
            let address = Some(std::net::Ipv4Addr::from_bits(at % 500).into());
            let request = RequestId::new(core.clock.now(), &*core.rng);
            let origin = Origin { request, address, user_agent: String::new() };
            let draft = Draft::new(Intent::Refresh, Outcome::Denied).at(&origin).reason("forged");
            core.auth.denials.denied(draft, None).await.unwrap();
        }
        assert!(is_full(core).await);
        core.stores.committer.set_room(None);
        let before = core.stores.committer.durable();
        let lost = largest_denials(core).await;
        let left = 500 - LAST_COUNTS as u64;
        assert_eq!(lost, GivenUp { counts: left, refusals: left });
        assert_eq!(core.stores.committer.durable().0, before.0 + 1, "one bundle");
        let lines = logging::testing::lines(|| tell_given_up(&[lost, lost]));
        assert!(lines.len() == 1 && lines[0].contains(&format!("counts={}", 2 * left)), "{lines:?}");
        assert!(!is_full(&House::open().await.core).await);
    }

    #[test]
    fn while_the_disk_is_full_each_step_that_fails_says_so_once_and_so_is_the_end_of_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let house = runtime.block_on(House::open());
        let committer = &house.core.stores.committer;
        runtime.block_on(house.signed());
        runtime.block_on(house.core.trail.record(Draft::new(Intent::Start, Outcome::Granted))).unwrap();
        runtime.block_on(house.core.stores.logs.reached(committer.durable())).unwrap();
        house.clock.advance(500 * DAY);
        let mut sweep = house.core.auth.sessions.sweep();
        let mut seconds = async |count| {
            for second in 0..count {
                let now = house.start + 61 * MINUTE + Duration::from_secs(second);
                heads(&house.core).await;
                keys(&house.core).await;
                lapsed(&house.core).await;
                super::sweep(&house.core, &mut sweep).await;
                prune(&house.core, now, || true).await;
            }
        };
        let lines = logging::testing::lines(|| {
            committer.set_room(Some(Short { reserve: false, reason: "full".into() }));
            runtime.block_on(seconds(20));
        });
        let of = |lines: &[String], what: &str| lines.iter().filter(|line| line.contains(what)).count();
        for failure in ["head could not be signed", "could not be dropped"] {
            assert_eq!(of(&lines, failure), 1, "{lines:?}");
        }
        assert!(lines.len() <= 7, "{lines:?}");
        let lines = logging::testing::lines(|| {
            committer.set_room(None);
            runtime.block_on(seconds(3));
        });
        assert_eq!(of(&lines, "over: the audit chain's head could not be signed"), 1, "{lines:?}");
        assert_eq!(of(&lines, "over: old audit records could not be dropped"), 1, "{lines:?}");
    }

    #[tokio::test]
    async fn a_clock_that_leaps_costs_a_day_of_the_log_in_an_hour() {
        let house = House::open().await;
        let counts = house.leap().await;
        assert_eq!(house.dropped_after(1).await, 0, "a start earns nothing");
        for minutes in (61..120).step_by(10) {
            assert_eq!(house.dropped_after(minutes).await, counts[0], "after {minutes} minutes");
        }
        assert_eq!(house.dropped_after(121).await, counts[1]);
    }

    #[tokio::test]
    async fn a_leap_that_was_set_back_costs_nothing_though_something_was_committed_in_it() {
        let house = House::open().await;
        let before = house.core.clock.now();
        house.leap().await;
        house.clock.set(before.plus(3 * DAY));
        assert!(house.core.clock.now() > before.plus(700 * DAY), "the floor is raised for good");
        for hour in 1..10 {
            assert_eq!(house.dropped_after(hour * 61).await, 0);
        }
    }
}
