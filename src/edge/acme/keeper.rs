//! The keeper of certificates: has one ordered, puts what was issued in place, and remembers what went
//! wrong. When that is done is [`super::work`]'s business.
//!
//! Only the conversation with the CA is cut when the node closes; what was issued is kept, put in place
//! and on record before anything else happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::account::on_disk;
use super::commands::Ask;
use super::failure::{Failure, Why};
use super::order::{Desk, Issued};
use super::store::{Id, Store};
use super::when::{Record, Span, pause_for_all};
use super::work::{Closing, Stopped, Work, conversation};
use crate::audit::draft::Draft;
use crate::config::acme::Acme;
use crate::edge::certificates::Certificates;
use crate::edge::certificates::book::{Origin, Served};
use crate::edge::decisions::AuditSink;
use crate::model::caller::Actor;
use crate::model::event::{Intent, Outcome};
use crate::model::random::SharedRng;
use crate::model::time::{SharedClock, Timestamp};
use crate::observe::metrics::Count;

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
    pub(super) counts: Counts,
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
            making: Arc::default(),
        };
        let (asks, asked) = mpsc::channel(WAITING);
        let certificates = Arc::clone(certificates);
        let (records, counts) = (Mutex::default(), Counts::default());
        let keeper = Arc::new(Self { certificates, desk, audit, records, counts, asks, clock, rng });
        let work = Work::new(Arc::clone(&keeper), asked);
        (keeper, work)
    }

    /// What became of orders.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether its work has ended: nothing is renewed any more.
    pub fn is_over(&self) -> bool {
        self.asks.is_closed()
    }

    /// Every certificate that is served, in the order of the configuration.
    pub fn standing(&self) -> Vec<Standing> {
        let (acme, now) = (self.certificates.acme(), self.clock.now());
        let ordered = |served: &Served| {
            let acme = acme.as_ref()?;
            // What stands in for a part of a list waits for the order of the whole.
            let is_part = |names: &&Vec<String>| names.iter().any(|name| served.names.contains(name));
            let whole = acme.certificates.iter().find(|names| is_for(served, names));
            let names = whole.or_else(|| acme.certificates.iter().find(is_part))?;
            let record = self.record(&Id::of(names, &acme.directory));
            let life = is_from(served, &acme.directory).then_some(served.life);
            let unwritten = self.store().unwritten(names);
            let error = unwritten.map(|why| format!("issued and served, but not written: {why}"));
            Some((record.due(life, now), error.unwrap_or(record.error)))
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
    pub(super) async fn keep(&self, id: &Id, record: Record) {
        self.records.lock().insert(id.clone(), record.clone());
        let (store, id) = (self.store().clone(), id.clone());
        if let Err(error) = on_disk(move || store.keep_record(&id, &record)).await {
            tracing::error!(%error, "what is known of a certificate's orders could not be kept");
        }
    }

    /// The certificate for these names, if this CA has issued one. One of a CA before it is served until
    /// then, and is nothing that orders depend on.
    pub(super) fn current(&self, names: &[String], directory: &str) -> Option<Served> {
        let mut served = self.certificates.served().into_iter().filter(|served| is_from(served, directory));
        served.find(|served| is_for(served, names))
    }

    /// Asks the CA when it would have a certificate renewed.
    pub(super) async fn suggestion(
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
        self.keep(id, record).await;
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
            Ok(issued) => self.place(acme, names, issued).await,
            Err(failure) => Err(failure),
        };
        let (mut record, now) = (self.record(id), self.clock.now());
        let target = names.first().map_or("", String::as_str);
        let draft = |outcome| Draft::new(Intent::CertificateIssue, outcome).by(actor).target(target);
        let (draft, result) = match placed {
            Ok(life) => {
                record.issued(life, now, &*self.rng);
                // Before the log says so: whoever reads it finds the list in accord with it.
                self.keep(id, record.clone()).await;
                self.counts.issued.up();
                let renewal = record.due(Some(life), now);
                if record.wished(Some(life), now) <= now {
                    tracing::error!(
                        ?names,
                        "what was issued just now would be renewed at once: check this machine's clock"
                    );
                }
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
                self.keep(id, record.clone()).await;
                self.counts.failed.up();
                let again = record.due(None, now);
                tracing::error!(?names, reason = %failure, %again, "a certificate could not be had");
                (draft(Outcome::Failed).reason(failure.why.word()), Err(failure))
            }
        };
        self.tell_others(acme, id, &result).await;
        self.put_on_record(draft).await;
        Ok(result)
    }

    /// What the other certificates learn of an order: a CA that is away, or wants to be left alone, is not
    /// asked once more for each of them.
    async fn tell_others(&self, acme: &Acme, id: &Id, result: &Result<(), Failure>) {
        let until = match result {
            Err(failure) if failure.is_for_all() => {
                Some(self.clock.now().plus(pause_for_all(failure.retry_after)))
            }
            Err(_) => return,
            Ok(()) => None,
        };
        for other in acme.certificates.iter().map(|names| Id::of(names, &acme.directory)) {
            let before = self.record(&other);
            let mut record = before.clone();
            match until {
                Some(until) => record.hold(until),
                None => record.release(),
            }
            if other != *id && record != before {
                self.keep(&other, record).await;
            }
        }
    }

    /// Writes it to disk, then serves it; and serves it also if it cannot be written yet, for it cannot be
    /// had again at will.
    async fn place(&self, acme: &Acme, names: &[String], issued: Issued) -> Result<Span, Failure> {
        let (store, certificates) = (self.store().clone(), Arc::clone(&self.certificates));
        let (acme, names, now) = (acme.clone(), names.to_vec(), self.clock.now());
        let placing = tokio::task::spawn_blocking(move || {
            match store.keep_certificate((&names, &acme.directory), &issued.key, &issued.chain) {
                Ok(()) => store.tidy(&acme.certificates, now),
                Err(error) => tracing::error!(
                    ?names, %error,
                    "a certificate was issued and is served, but could not be written: that is tried every minute, and a restart before it succeeds loses it"
                ),
            }
            certificates.reread().map_err(|error| Failure::new(Why::Setup, error))?;
            Ok(issued.life)
        });
        placing.await.unwrap_or_else(|error| Err(Failure::new(Why::Setup, error)))
    }

    /// Has the disk told what it could not be told before.
    pub(super) async fn catch_up(&self) {
        if self.store().is_ahead() {
            let store = self.store().clone();
            match on_disk(move || store.catch_up()).await {
                Ok(()) => tracing::info!("what could not be written of certificates has been written"),
                Err(error) => tracing::error!(%error, "what is known of certificates cannot be written"),
            }
        }
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

/// Whether it was ordered there, for the list that it serves.
fn is_from(served: &Served, directory: &str) -> bool {
    served.origin == Origin::Acme && served.directory == directory
}

fn is_for(served: &Served, names: &[String]) -> bool {
    names.iter().all(|name| served.names.contains(name))
}
