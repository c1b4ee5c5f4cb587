//! When heads are signed: whenever the chain has grown and the last head is older than
//! `audit.head_every`, and at an orderly stop. One step per call; the loop that calls is
//! `app`'s.
//!
//! A head is first committed (so the log has it), then appended to the witness. A crash between the
//! two is mended at the next start: the head or two that it kept from the witness are appended. A witness
//! that lacks more was cut, and is not mended but by an operator who asks for it ([`HeadSigner::renew`]).
//! The reverse order would leave heads in the witness that the log never had, which is what tampering
//! looks like.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::head::{HeadKey, HeadPublicKey};
use super::outside::copy::{self, Check};
use super::outside::{Counts, Outside};
use super::witness::{Reader, Witness};
use crate::model::change::LogChange;
use crate::model::event::{Pruned, SignedHead};
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::{CommitError, StoreError};
use crate::store::namespace::LogStore;

const CHUNK: usize = 256;

/// A head could not be signed; the chain itself is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The log could not be read.
    #[error("the audit log cannot be read: {0}")]
    Log(#[from] StoreError),
    /// The head could not be committed.
    #[error("the signed head cannot be committed: {0}")]
    Commit(#[from] CommitError),
    /// The runtime is going away.
    #[error("signing was interrupted")]
    Interrupted,
    /// The witness file could not be written.
    #[error("the witness file {path} cannot be written: {source}")]
    Witness {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What the signer needs.
pub struct SignerParts<'a> {
    /// The log whose head is signed.
    pub logs: LogStore,
    /// Where heads are committed.
    pub committer: Committer,
    /// The time in heads, and between them.
    pub clock: SharedClock,
    /// What signs.
    pub key: HeadKey,
    /// `audit.head_every`.
    pub every: Duration,
    /// The witness file, from `audit::witness::path`.
    pub witness: &'a Path,
    /// Who else is told.
    pub outside: Outside,
}

/// Heads that the log may have and the witness lack after a crash: the one whose append it interrupted,
/// and one that was owed before it.
const OWED: usize = 2;

/// Signs heads. Calls may overlap; heads come out in order. A call that is given up is finished all
/// the same: a head that the log has and the witness lacks, with later ones after it, would look like
/// tampering for ever.
pub struct HeadSigner(Arc<Inner>);

struct Inner {
    logs: LogStore,
    committer: Committer,
    clock: SharedClock,
    key: HeadKey,
    every: Duration,
    path: PathBuf,
    outside: Outside,
    state: tokio::sync::Mutex<State>,
}

struct State {
    /// Shared with the blocking thread that syncs the file.
    witness: Arc<parking_lot::Mutex<Witness>>,
    last: Last,
    /// The last head, if it is committed but could not be appended to the witness: it goes first.
    owed: Option<SignedHead>,
}

/// The newest head signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    count: u64,
    at: Timestamp,
}

impl HeadSigner {
    /// Opens the witness and appends the head that a crash may have kept from it. One that lacks more
    /// was cut or replaced: it stays as it is, for `verify` to name. Reads and syncs files: call it
    /// where blocking is fine.
    pub fn open(parts: SignerParts<'_>) -> Result<Self, SignError> {
        let SignerParts { logs, committer, clock, key, every, witness: path, outside } = parts;
        let failed = |source| SignError::Witness { path: path.to_owned(), source };
        let (mut witness, newest) = Witness::open(path).map_err(failed)?;
        let public = key.public();
        let newest = match newest {
            Some(head) if public.verifies(&head) => Some(head),
            // Forged, or no head at all: what stands before it counts.
            _ => newest_genuine(path, &public).map_err(failed)?,
        };
        let mut last = newest.map_or_else(Last::default, |head| Last { count: head.count, at: head.at });
        let (mut after, mut lacking) = (last.count, Vec::new());
        loop {
            let heads = logs.signed_heads(after, CHUNK)?;
            let Some(end) = heads.last() else { break };
            after = end.count;
            // A forged head must neither get into the witness nor keep the next from being signed;
            // `verify` finds it in the log.
            for head in heads.into_iter().filter(|head| public.verifies(head)) {
                last = Last { count: head.count, at: head.at };
                lacking.truncate(OWED);
                lacking.push(head);
            }
        }
        if lacking.len() > OWED {
            tracing::error!(
                witness = %path.display(),
                "the witness lacks heads that it once had; it is left as it is: run `keepgate audit verify`; \
                 if they were lost and nobody took them, `keepgate audit renew-witness` begins it anew"
            );
        } else {
            lacking.iter().try_for_each(|head| witness.append(head)).map_err(failed)?;
        }
        let witness = Arc::new(parking_lot::Mutex::new(witness));
        let state = tokio::sync::Mutex::new(State { witness, last, owed: None });
        let path = path.to_owned();
        Ok(Self(Arc::new(Inner { logs, committer, clock, key, every, path, outside, state })))
    }

    /// The key that heads are verified with.
    pub fn public_key(&self) -> HeadPublicKey {
        self.0.key.public()
    }

    /// What was counted of deliveries to the outside.
    pub fn outside_counts(&self) -> Arc<Counts> {
        self.0.outside.counts()
    }

    /// Signs the head if the chain has grown and the interval has passed.
    pub async fn sign_if_due(&self) -> Result<Option<SignedHead>, SignError> {
        self.step(self.0.every).await
    }

    /// Signs the head if the chain has grown, once everything committed until now is in it: for an
    /// orderly stop.
    pub async fn sign_now(&self) -> Result<Option<SignedHead>, SignError> {
        self.0.logs.reached(self.0.committer.durable()).await?;
        self.step(Duration::ZERO).await
    }

    /// Drops heads of fewer than `count` records from the witness: the records are dropped.
    pub async fn forget(&self, count: u64) -> Result<(), SignError> {
        let inner = &self.0;
        let witness = Arc::clone(&inner.state.lock().await.witness);
        let path = inner.path.clone();
        tokio::task::spawn_blocking(move || witness.lock().forget(&path, count))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| SignError::Witness { path: inner.path.clone(), source })
    }

    /// Begins the witness anew with the heads of the log that its records bear out. What the old file
    /// could prove stays beside it: its path is given, if there was one.
    pub async fn renew(&self) -> Result<Option<PathBuf>, SignError> {
        let inner = Arc::clone(&self.0);
        let renewal = tokio::spawn(async move { inner.renew().await });
        renewal.await.map_err(|_| SignError::Interrupted).flatten()
    }

    async fn step(&self, every: Duration) -> Result<Option<SignedHead>, SignError> {
        let inner = Arc::clone(&self.0);
        let step = tokio::spawn(async move { inner.step(every).await });
        step.await.map_err(|_| SignError::Interrupted).flatten()
    }
}

impl Inner {
    async fn step(&self, every: Duration) -> Result<Option<SignedHead>, SignError> {
        let mut state = self.state.lock().await;
        self.pay(&mut state).await?;
        let now = self.clock.now();
        let head = self.logs.head()?;
        if !is_due(state.last, head.count, now, every) {
            return Ok(None);
        }
        let signed = self.key.sign(head.count, head.hash, now);
        let mut bundle = Bundle::new();
        self.logs.stage(&mut bundle, LogChange::HeadSigned(signed.clone()));
        self.committer.commit(bundle).await?;
        state.last = Last { count: signed.count, at: now };
        state.owed = Some(signed.clone());
        self.outside.tell(&signed);
        self.pay(&mut state).await?;
        Ok(Some(signed))
    }

    async fn renew(&self) -> Result<Option<PathBuf>, SignError> {
        let mut state = self.state.lock().await;
        // A head that is committed and not in the log yet would be in neither witness.
        self.logs.reached(self.committer.durable()).await?;
        let base = self.logs.base()?;
        let check = copy::check(self.key.public(), self.logs.clone());
        let heads = borne_out(self.logs.clone(), base, check);
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".until-{}", self.clock.now().as_millis()));
        let aside = PathBuf::from(aside);
        let (witness, path, to) = (Arc::clone(&state.witness), self.path.clone(), aside.clone());
        let was = tokio::task::spawn_blocking(move || witness.lock().renew(&path, &to, heads))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| SignError::Witness { path: self.path.clone(), source })?;
        state.owed = None;
        Ok(was.then_some(aside))
    }

    /// Appends the head that the witness is owed, on a thread where waiting for the disk is fine.
    async fn pay(&self, state: &mut State) -> Result<(), SignError> {
        let Some(head) = state.owed.clone() else { return Ok(()) };
        let witness = Arc::clone(&state.witness);
        tokio::task::spawn_blocking(move || witness.lock().append(&head))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| SignError::Witness { path: self.path.clone(), source })?;
        state.owed = None;
        Ok(())
    }
}

/// The genuine heads of the log whose records are there and are those that were signed.
fn borne_out(
    logs: LogStore,
    base: Option<Pruned>,
    check: Check,
) -> impl Iterator<Item = std::io::Result<SignedHead>> {
    // The head of the last record dropped says where the log begins.
    let mut after = base.map_or(0, |base| base.through.saturating_sub(1));
    let mut page = Vec::new().into_iter();
    std::iter::from_fn(move || {
        loop {
            let Some(head) = page.next() else {
                let heads = logs.signed_heads(after, CHUNK).map_err(std::io::Error::other);
                match heads {
                    Ok(heads) => {
                        after = heads.last()?.count;
                        page = heads.into_iter();
                    }
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match check(&head) {
                Ok(true) => return Some(Ok(head)),
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

/// The newest head in a witness whose last line was tampered with.
fn newest_genuine(path: &Path, key: &HeadPublicKey) -> std::io::Result<Option<SignedHead>> {
    let mut newest: Option<SignedHead> = None;
    for entry in Reader::open(path)?.into_iter().flatten() {
        if let Some(head) = entry?.head
            && newest.as_ref().is_none_or(|newest| head.count > newest.count)
            && key.verifies(&head)
        {
            newest = Some(head);
        }
    }
    Ok(newest)
}

/// Whether a head is due. A clock that was set back does not postpone it for longer than it was
/// set back: a last head from the future counts as due.
fn is_due(last: Last, count: u64, now: Timestamp, every: Duration) -> bool {
    count > last.count && (now < last.at || now.since(last.at) >= every)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn due(last: (u64, i64), count: u64, now: i64) -> bool {
        let last = Last { count: last.0, at: Timestamp::from_millis(last.1) };
        is_due(last, count, Timestamp::from_millis(now), EVERY)
    }

    #[test]
    fn a_head_is_due_when_the_chain_grew_and_the_interval_passed() {
        assert!(due((5, 0), 6, 10_000));
        assert!(!due((5, 0), 6, 9_999), "too early");
        assert!(!due((5, 0), 5, 99_999), "nothing new");
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_signing() {
        assert!(due((5, 1_000_000), 6, 0));
    }
}
