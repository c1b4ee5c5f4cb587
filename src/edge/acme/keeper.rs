//! The keeper of certificates: looks when an order is due, makes it, puts what was issued in place, and
//! remembers what went wrong. One order at a time, over all certificates: a CA sees one polite client.
//!
//! Only the conversation with the CA is cut when the node closes; what was issued is kept, put in place
//! and on record before anything else happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::commands::Ask;
use super::failure::{Failure, Why};
use super::order::{Desk, Issued};
use super::store::{Id, Store};
use super::when::{Record, Span};
use crate::audit::draft::Draft;
use crate::config::acme::Acme;
use crate::edge::certificates::Certificates;
use crate::edge::certificates::book::Served;
use crate::edge::decisions::AuditSink;
use crate::model::caller::Actor;
use crate::model::event::{Intent, Outcome};
use crate::model::random::SharedRng;
use crate::model::time::{SharedClock, Timestamp};
use crate::observe::metrics::Count;

/// Longest sleep: clocks are set.
const NAP: Duration = Duration::from_secs(60);
/// Shortest: whatever is wrong, it costs no processor.
const BREATH: Duration = Duration::from_millis(200);
/// Longest conversation with a CA.
const CONVERSATION: Duration = Duration::from_secs(600);
/// Commands that wait for their turn.
const WAITING: usize = 16;

/// What became of orders since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Certificates issued.
    pub issued: Count,
    /// Orders that failed.
    pub failed: Count,
}

/// The keeper. Whoever has it may ask; its work is done by [`Work::run`].
pub struct Keeper {
    pub(super) certificates: Arc<Certificates>,
    pub(super) desk: Desk,
    audit: Arc<dyn AuditSink>,
    records: Mutex<BTreeMap<Id, Record>>,
    counts: Counts,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) clock: SharedClock,
    rng: SharedRng,
}

/// A certificate as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What is served.
    pub served: Served,
    /// When the next order is due, for one that is ordered.
    pub due: Option<Timestamp>,
    /// Why the last order failed; empty if it did not.
    pub error: String,
}

/// Raised when the node closes; a sender that is gone counts as raised.
pub(super) type Stopped = watch::Receiver<bool>;

/// The node closes.
pub(super) struct Closing;

/// The keeper's work, to be run once.
pub struct Work {
    keeper: Arc<Keeper>,
    asks: mpsc::Receiver<Ask>,
}

impl Keeper {
    /// A keeper of these certificates.
    pub fn new(
        certificates: &Arc<Certificates>,
        audit: Arc<dyn AuditSink>,
        (clock, rng): (SharedClock, SharedRng),
    ) -> (Arc<Self>, Work) {
        let desk = Desk {
            store: certificates.issued().clone(),
            challenges: Arc::clone(certificates.challenges()),
            provider: Arc::clone(certificates.provider()),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
        };
        let (asks, asked) = mpsc::channel(WAITING);
        let certificates = Arc::clone(certificates);
        let (records, counts) = (Mutex::default(), Counts::default());
        let keeper = Arc::new(Self { certificates, desk, audit, records, counts, asks, clock, rng });
        let work = Work { keeper: Arc::clone(&keeper), asks: asked };
        (keeper, work)
    }

    /// What became of orders.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Every certificate that is served, in the order of the configuration.
    pub fn standing(&self) -> Vec<Standing> {
        let (acme, now) = (self.certificates.acme(), self.clock.now());
        let ordered = |served: &Served| {
            let names =
                acme.iter().flat_map(|acme| &acme.certificates).find(|names| is_for(served, names))?;
            let directory = &acme.as_ref()?.directory;
            let record = self.record(&Id::of(names, directory));
            let life = (served.directory == *directory).then_some(served.life);
            Some((record.due(life, now), record.error))
        };
        let told = self.certificates.served().into_iter().map(|served| {
            let (due, error) = ordered(&served).unzip();
            Standing { served, due, error: error.unwrap_or_default() }
        });
        told.collect()
    }

    pub(super) fn store(&self) -> &Store {
        &self.desk.store
    }

    pub(super) fn record(&self, id: &Id) -> Record {
        let mut records = self.records.lock();
        records.entry(id.clone()).or_insert_with(|| self.store().record(id)).clone()
    }

    /// In memory first: a disk that is full must not make us forget that the CA was asked.
    pub(super) fn keep(&self, id: &Id, record: Record) {
        if let Err(error) = self.store().keep_record(id, &record) {
            tracing::error!(%error, "what is known of a certificate's orders could not be kept");
        }
        self.records.lock().insert(id.clone(), record);
    }

    /// The certificate for these names, if this CA has issued one. One of a CA before it is served until
    /// then, and is nothing that orders depend on.
    pub(super) fn current(&self, names: &[String], directory: &str) -> Option<Served> {
        let mut served =
            self.certificates.served().into_iter().filter(|served| served.directory == directory);
        served.find(|served| is_for(served, names))
    }

    /// Does what is due and says how long nothing will be.
    async fn pass(&self, stopped: &Stopped) -> Result<Duration, Closing> {
        let Some(acme) = self.certificates.acme() else { return Ok(NAP) };
        let mut pause = NAP;
        for names in &acme.certificates {
            let id = Id::of(names, &acme.directory);
            let mut current = self.current(names, &acme.directory);
            if let Some(served) = current.as_ref().filter(|_| self.record(&id).is_asking(self.clock.now())) {
                self.suggestion(&acme, &id, served, stopped).await?;
            }
            let now = self.clock.now();
            if self.record(&id).due(current.as_ref().map(|served| served.life), now) <= now {
                // What came of it is on record; the next try has its time.
                let _ = self.order(&acme, (names, &id), Actor::System, stopped).await?;
                current = self.current(names, &acme.directory);
            }
            let now = self.clock.now();
            pause =
                pause.min(self.record(&id).due(current.as_ref().map(|served| served.life), now).since(now));
        }
        Ok(pause.max(BREATH))
    }

    /// Asks the CA when it would have a certificate renewed.
    async fn suggestion(
        &self,
        acme: &Acme,
        id: &Id,
        served: &Served,
        stopped: &Stopped,
    ) -> Result<(), Closing> {
        let asked = conversation(stopped, async {
            let customer = self.desk.customer(acme).await?;
            self.desk.suggestion(&customer, &served.leaf).await
        });
        let asked = asked.await?;
        let (mut record, now) = (self.record(id), self.clock.now());
        match asked {
            Ok(Some((window, wait))) => {
                record.suggested(window, wait, (served.life, now), &*self.rng);
                let renewal = record.due(Some(served.life), now);
                tracing::debug!(names = ?served.names, %renewal, "the CA suggested when to renew");
            }
            Ok(None) => record.unasked(false, now),
            Err(failure) => {
                tracing::warn!(names = ?served.names, reason = %failure, "the CA could not be asked when to renew");
                record.unasked(true, now);
            }
        }
        self.keep(id, record);
        Ok(())
    }

    /// Orders a certificate, and keeps and serves it.
    pub(super) async fn order(
        &self,
        acme: &Acme,
        (names, id): (&[String], &Id),
        actor: Actor,
        stopped: &Stopped,
    ) -> Result<Result<(), Failure>, Closing> {
        let before = self.current(names, &acme.directory).map(|served| served.leaf);
        let ordered = conversation(stopped, async {
            let customer = self.desk.customer(acme).await?;
            self.desk.order(acme, &customer, names, before.as_ref()).await
        });
        let ordered = ordered.await?;
        let placed = match ordered {
            Ok(issued) => self.place(names, &acme.directory, issued).await,
            Err(failure) => Err(failure),
        };
        let (mut record, now) = (self.record(id), self.clock.now());
        let target = names.first().map_or("", String::as_str);
        let draft = |outcome| Draft::new(Intent::CertificateIssue, outcome).by(actor).target(target);
        let (draft, result) = match placed {
            Ok(life) => {
                record.issued(life, now, &*self.rng);
                self.counts.issued.up();
                let renewal = record.due(Some(life), now);
                let until = life.until;
                let reason = if before.is_some() {
                    tracing::info!(?names, %until, %renewal, "a certificate was renewed");
                    "renewal"
                } else {
                    tracing::info!(?names, %until, %renewal, "a certificate was issued");
                    "first"
                };
                (draft(Outcome::Granted).reason(reason), Ok(()))
            }
            Err(failure) => {
                if failure.why == Why::NoAccount {
                    self.forget_account(acme);
                }
                record.failed(&failure.to_string(), failure.retry_after, now, &*self.rng);
                self.counts.failed.up();
                let again = record.due(None, now);
                tracing::error!(?names, reason = %failure, %again, "a certificate could not be had");
                (draft(Outcome::Failed).reason(failure.why.word()), Err(failure))
            }
        };
        self.keep(id, record);
        self.put_on_record(draft).await;
        Ok(result)
    }

    /// Writes it to disk, then serves it.
    async fn place(&self, names: &[String], directory: &str, issued: Issued) -> Result<Span, Failure> {
        let (store, certificates) = (self.store().clone(), Arc::clone(&self.certificates));
        let (names, directory) = (names.to_vec(), directory.to_owned());
        let placing = tokio::task::spawn_blocking(move || {
            let kept = store.keep_certificate((&names, &directory), &issued.key, &issued.chain);
            kept.map_err(|error| Failure::new(Why::Setup, error))?;
            certificates.reread().map_err(|error| Failure::new(Why::Setup, error))?;
            Ok(issued.life)
        });
        placing.await.unwrap_or_else(|error| Err(Failure::new(Why::Setup, error)))
    }

    fn forget_account(&self, acme: &Acme) {
        tracing::warn!(directory = acme.directory, "the CA does not know our account: another will be made");
        if let Err(error) = self.store().forget_account(&acme.directory) {
            tracing::error!(%error, "the account could not be forgotten");
        }
    }

    pub(super) async fn put_on_record(&self, draft: Draft) {
        if let Err(error) = self.audit.record(draft).await {
            tracing::error!(%error, "what became of a certificate could not be written to the audit log");
        }
    }
}

impl Work {
    /// Keeps the certificates until the flag is raised.
    pub async fn run(mut self, stopped: Stopped) {
        while let Ok(()) = self.turn(&stopped).await {}
    }

    async fn turn(&mut self, stopped: &Stopped) -> Result<(), Closing> {
        let keeper = Arc::clone(&self.keeper);
        let pause = keeper.pass(stopped).await?;
        tokio::select! {
            biased;
            () = until(stopped.clone()) => Err(Closing),
            // Before commands, which may be about what is new.
            () = keeper.certificates.changed() => Ok(()),
            Some(ask) = self.asks.recv() => keeper.answer(ask, stopped).await,
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

/// Speaks with a CA until it is done, takes too long, or the node closes.
pub(super) async fn conversation<T>(
    stopped: &Stopped,
    speaking: impl Future<Output = Result<T, Failure>>,
) -> Result<Result<T, Failure>, Closing> {
    tokio::select! {
        biased;
        () = until(stopped.clone()) => Err(Closing),
        spoken = tokio::time::timeout(CONVERSATION, speaking) => {
            Ok(spoken.unwrap_or_else(|_| Err(Failure::new(Why::Unreachable, "the CA did not finish in time"))))
        }
    }
}

async fn until(mut stopped: Stopped) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn is_for(served: &Served, names: &[String]) -> bool {
    names.iter().all(|name| served.names.contains(name))
}
