//! What each step of the clockwork does; `upkeep.rs` says when. Apart, so that a simulated month
//! runs the very steps that a node runs. A step logs its failure and leaves the rest to the next.

use std::time::Instant;

use keepgate_guard::verifier::Verifier;

use crate::app::core::Core;
use crate::app::disk::Level;
use crate::auth::sessions::sweep::Sweep;
use crate::observe::logging;

/// Sessions in one page of a sweep, and pages in one step: 1.2 million sessions an hour, while the
/// records of expired ones wait for a day anyway.
const PAGE: usize = 500;
/// See [`PAGE`].
const PAGES: usize = 40;

/// Signs the audit chain's head if one is due.
pub(in crate::app) async fn heads(core: &Core) {
    if core.stores.committer.failed().is_none()
        && let Err(error) = core.heads.sign_if_due().await
    {
        tracing::error!(%error, "the audit chain's head could not be signed");
    }
}

/// Rotates the signing keys whose time has come.
pub(in crate::app) async fn keys(core: &Core) {
    if let Err(error) = core.keys.tick().await {
        tracing::error!(%error, "the signing keys could not be rotated on schedule");
    }
}

/// Drops the revocations, bans and invitations that lapsed a day ago from the store.
pub(in crate::app) async fn lapsed(core: &Core) {
    if core.stores.committer.failed().is_none()
        && let Err(error) = core.auth.lapsed.forget().await
    {
        tracing::error!(%error, "lapsed records could not be removed");
    }
}

/// Drops what has expired: revocations and failed tries from memory, sessions from the store.
pub(in crate::app) async fn sweep(core: &Core, sweep: &mut Sweep) {
    core.revocations.view().prune(core.clock.now().as_millis());
    core.auth.throttle.purge();
    if core.stores.committer.failed().is_none()
        && let Err(error) = sweep.step(PAGES, PAGE).await
    {
        tracing::error!(%error, "expired sessions could not be removed");
    }
}

/// Drops from memory the bans that lapsed and the verified tokens that have expired. Blocking, for as long
/// as looking at each takes.
pub(in crate::app) fn forget(core: &Core, verifier: &Verifier) {
    core.blacklist.forget_lapsed(core.clock.now());
    verifier.prune(core.clock.now().as_millis().div_euclid(1000));
}

/// Drops audit records that are older than `audit.keep`, for as long as `go_on` says so, and then
/// the heads of them in the witness.
pub(in crate::app) async fn prune(core: &Core, go_on: impl Fn() -> bool) {
    let limit = match core.retention.limit() {
        Ok(limit) => limit,
        Err(error) => return tracing::error!(%error, "old audit records could not be looked for"),
    };
    let mut through = None;
    while core.stores.committer.failed().is_none() && go_on() {
        match core.retention.step(limit).await {
            Ok(Some(pruned)) => through = Some(pruned.through),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "old audit records could not be dropped");
                break;
            }
        }
    }
    if let Some(through) = through {
        tracing::info!(through, "audit records older than audit.keep were dropped");
        if let Err(error) = core.heads.forget(through).await {
            tracing::error!(%error, "the heads of dropped audit records are still in the witness");
        }
    }
}

/// Writes the counts of refusals whose windows have closed by `now` ([`None`]: all of them).
pub(in crate::app) async fn denials(core: &Core, now: Option<Instant>) {
    let failures = core.auth.denials.close_windows(now).await;
    if failures > 0 {
        tracing::error!(failures, "counts of refusals could not be written to the audit log yet");
    }
}

/// Looks how much room the disk has: while it is short, the log may take none of what is kept for what
/// ends access. Blocking.
pub(in crate::app) fn disk(core: &Core, log: &logging::Handle) {
    core.disk.look(&core.stores.committer);
    log.set_short(core.disk.level() >= Level::Reserve);
}
