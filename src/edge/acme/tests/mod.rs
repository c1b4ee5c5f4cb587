//! The keeper before a CA that says what a real one seldom does; a real one is in `tests/it/acme.rs`.

mod ca;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use tokio::sync::watch;

use self::ca::Ca;
use super::commands::Refusal;
use super::failure::{Failure, Why};
use super::keeper::Keeper;
use super::store::Store;
use super::work::{Work, conversation};
use crate::audit::draft::Draft;
use crate::config::acme::Acme;
use crate::config::tls::{CertificateSource, Tls};
use crate::edge::certificates::Certificates;
use crate::edge::certificates::book::Origin;
use crate::edge::decisions::tests::Recorded;
use crate::edge::decisions::{AuditSink, NotRecorded};
use crate::model::caller::Actor;
use crate::model::certificate::RevocationReason;
use crate::model::random::{SeededRng, SharedRng};
use crate::model::time::{Clock as _, ManualClock, SharedClock, Timestamp};

const A: &str = "a.example.com";
const B: &str = "b.example.com";
const ORDER: &str = "/order";

/// A keeper, the CA it asks, and the folder it keeps things in.
struct House {
    ca: Ca,
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    acme: Acme,
    certificates: Arc<Certificates>,
    keeper: Arc<Keeper>,
    work: Work,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

impl House {
    /// On a day of 2026, with certificates for each of these lists; `before` it opens the folder gets something.
    async fn new(day: &str, lists: &[&[&str]], before: impl FnOnce(&Store, &str)) -> Self {
        Self::with(day, lists, before, Arc::new(Recorded::default())).await
    }

    async fn with(
        day: &str,
        lists: &[&[&str]],
        before: impl FnOnce(&Store, &str),
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        let (ca, data) = (Ca::start().await, tempfile::tempdir().unwrap());
        before(&Store::new(data.path()), &ca.directory());
        let now = Timestamp::from_rfc3339(&format!("2026-{day}T00:00:00Z")).unwrap();
        let clock = Arc::new(ManualClock::at(now));
        let chance: SharedRng = Arc::new(SeededRng::new(1));
        let acme = Acme {
            directory: ca.directory(),
            directory_ca: Some(ca.root()),
            certificates: lists.iter().map(|names| owned(names)).collect(),
            ..Acme::default()
        };
        let config = Tls { source: CertificateSource::Acme(acme.clone()), ..Tls::default() };
        let shared: SharedClock = Arc::clone(&clock) as _;
        let made = (Arc::clone(&shared), Arc::clone(&chance));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Certificates::open(&config, data.path(), provider, made).unwrap();
        let (keeper, work) = Keeper::new(&certificates, audit, (shared, chance));
        let (stop, stopped) = watch::channel(false);
        Self { ca, data, clock, acme, certificates, keeper, work, stop, stopped }
    }

    /// Does what is due.
    async fn turn(&mut self) {
        // It naps no longer than until the configuration changes.
        let source = CertificateSource::Acme(self.acme.clone());
        self.certificates.put(self.certificates.load(&source).unwrap());
        self.work.turn(&self.stopped).await.unwrap();
    }

    async fn revoke(&mut self) -> Result<(), Refusal> {
        // The turn that the configuration's last change is for.
        self.turn().await;
        let asking = self.keeper.revoke(A.to_owned(), RevocationReason::KeyCompromise, Actor::System);
        let (answer, turn) = tokio::join!(asking, self.work.turn(&self.stopped));
        turn.unwrap();
        answer
    }

    /// When the next order of the first certificate is due, from now.
    fn wait(&self) -> Duration {
        self.keeper.standing()[0].due.unwrap().since(self.clock.now())
    }

    /// Names and origin of what is served.
    fn served(&self) -> Vec<(Vec<String>, Origin)> {
        let served = self.certificates.served().into_iter();
        served.map(|served| (served.names, served.origin)).collect()
    }

    /// The files of certificates.
    fn files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.data.path().join("acme")).unwrap().flatten();
        files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "pem"))
            .collect()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Key and chain in PEM, valid in the first quarter of 2026, or of another year.
fn issue(names: &[&str], year: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(owned(names)).unwrap();
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(year, 1, 1), date_time_ymd(year, 4, 1));
    let leaf = params.signed_by(&key, &issuer).unwrap();
    (key.serialize_pem(), leaf.pem())
}

/// Keeps one as if it had been issued.
fn keep(store: &Store, directory: &str, names: &[&str], year: i32) {
    let (key, chain) = issue(names, year);
    store.keep_certificate((&owned(names), directory), &key, &chain).unwrap();
}

#[tokio::test]
async fn a_cas_limit_is_met_once_and_not_for_each_certificate_and_each_way_to_ask() {
    let mut house = House::new("03-20", &[&[A], &[B]], |store, directory| {
        [A, B].iter().for_each(|name| keep(store, directory, &[name], 2026));
    })
    .await;
    house.ca.says(ORDER, (429, "600", "rateLimited"));
    for _ in 0..3 {
        house.turn().await;
    }
    assert_eq!(house.ca.count(ORDER), 1);
    for standing in house.keeper.standing() {
        assert!(standing.due.unwrap().since(house.clock.now()) >= Duration::from_secs(600));
    }
    house.clock.advance(Duration::from_secs(660));
    house.turn().await;
    assert_eq!(house.ca.count(ORDER), 2);
}

#[tokio::test]
async fn what_a_ca_does_not_know_to_be_replaced_is_ordered_without_saying_so() {
    for problem in ["alreadyReplaced", "malformed", "unauthorized"] {
        let before = |store: &Store, directory: &str| keep(store, directory, &[A], 2026);
        let mut house = House::new("03-20", &[&[A]], before).await;
        house.ca.says(ORDER, (409, "", problem));
        house.turn().await;
        assert_eq!(house.ca.count(ORDER), 2, "{problem}");
    }
}

#[tokio::test]
async fn a_folder_that_takes_nothing_costs_neither_account_nor_order() {
    let mut house = House::new("02-01", &[&[A], &[B]], |_, _| {}).await;
    std::fs::write(house.data.path().join("acme"), "in the way").unwrap();
    for _ in 0..3 {
        house.turn().await;
        house.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!((house.ca.count("/account"), house.ca.count(ORDER)), (0, 0));
    assert!(house.keeper.standing()[0].error.contains("acme"), "{:?}", house.keeper.standing());
}

#[tokio::test]
async fn what_was_issued_and_cannot_be_written_is_served_and_written_later() {
    let mut house = House::new("02-01", &[&[A]], |_, _| {}).await;
    let in_the_way = house.data.path().join("acme");
    std::fs::write(&in_the_way, "in the way").unwrap();
    let (key, chain) = issue(&[A], 2026);
    let store = house.certificates.issued();
    store.keep_certificate((&owned(&[A]), &house.acme.directory), &key, &chain).unwrap_err();
    house.certificates.reread().unwrap();
    assert_eq!(house.served(), [(owned(&[A]), Origin::Acme)]);
    assert!(house.keeper.standing()[0].error.contains("not written"));
    house.turn().await;
    assert_eq!((house.ca.count(ORDER), house.served().len()), (0, 1), "nor is it ordered again");
    std::fs::remove_file(&in_the_way).unwrap();
    house.turn().await;
    assert_eq!(house.keeper.standing()[0].error, "");
    assert!(Store::new(house.data.path()).certificate(&owned(&[A])).unwrap().is_some());
}

#[tokio::test]
async fn a_list_that_changes_keeps_what_its_names_had_and_is_due() {
    let before = |store: &Store, directory: &str| {
        keep(store, directory, &[A], 2026);
        keep(store, directory, &[B], 2025);
        keep(store, "https://staging.example/dir", &[A, "c.example.com"], 2026);
    };
    let mut house = House::new("02-01", &[&[A, B]], before).await;
    house.ca.says(ORDER, (403, "", "rejectedIdentifier"));
    let standing_in = [(owned(&[A]), Origin::Former), (owned(&[B]), Origin::SelfSigned)];
    assert_eq!(house.served(), standing_in, "what has run out stands in for nothing");
    assert_eq!(house.certificates.served()[0].directory, house.acme.directory, "its own CA's first");
    assert_eq!(house.wait(), Duration::ZERO);
    house.turn().await;
    assert_eq!((house.ca.count(ORDER), house.served()), (1, standing_in.to_vec()));
    for standing in house.keeper.standing() {
        assert!(standing.error.contains("told so") && standing.due > Some(house.clock.now()));
    }
    // A part of it is another list as well, and once its own is there nothing else is served.
    keep(house.certificates.issued(), &house.acme.directory, &[A, B], 2026);
    house.certificates.reread().unwrap();
    assert_eq!(house.served(), [(owned(&[A, B]), Origin::Acme)]);
    house.certificates.issued().tidy(&house.acme.certificates, house.clock.now());
    assert_eq!(house.files().len(), 3, "of those that nobody lists the one that ran out is gone");
    house.acme.certificates = vec![owned(&[B])];
    house.turn().await;
    assert_eq!(house.served(), [(owned(&[B]), Origin::Former)]);
    assert_eq!(house.ca.count(ORDER), 2);
}

#[tokio::test]
async fn what_is_revoked_is_served_no_longer_even_if_its_file_cannot_be_removed() {
    let before = |store: &Store, directory: &str| keep(store, directory, &[A], 2026);
    let mut house = House::new("02-01", &[&[A]], before).await;
    house.ca.says("/revoke", (200, "", ""));
    let [file] = house.files().try_into().unwrap();
    // Loaded before a folder takes its place, which is no file to remove.
    house.turn().await;
    let aside = house.data.path().join("aside");
    let asking = house.keeper.revoke(A.to_owned(), RevocationReason::KeyCompromise, Actor::System);
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    let (answer, _) = tokio::join!(asking, house.work.turn(&house.stopped));
    assert!(answer.unwrap_err().to_string().contains("still on disk"));
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    house.certificates.reread().unwrap();
    assert_eq!(house.served(), [(owned(&[A]), Origin::SelfSigned)]);
    assert_eq!(house.wait(), Duration::ZERO);
    house.ca.says(ORDER, (403, "", "rejectedIdentifier"));
    house.turn().await;
    assert!(!file.exists(), "it is removed as soon as it can be");
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_has_the_certificate_replaced_and_one_refused_has_not() {
    let before = |store: &Store, directory: &str| keep(store, directory, &[A], 2026);
    let mut house = House::new("02-01", &[&[A]], before).await;
    house.ca.says("/revoke", (403, "", "unauthorized"));
    house.revoke().await.unwrap_err();
    assert!(house.wait() > Duration::from_secs(86_400));
    house.ca.says("/revoke", (0, "", ""));
    house.revoke().await.unwrap_err();
    assert_eq!(house.wait(), Duration::ZERO);
    house.ca.says(ORDER, (403, "", "rejectedIdentifier"));
    house.ca.says("/revoke", (400, "", "alreadyRevoked"));
    house.revoke().await.unwrap();
    assert!(house.files().is_empty());
}

#[tokio::test]
async fn an_account_that_is_being_made_when_the_node_closes_is_written_down() {
    let house = House::new("02-01", &[&[A]], |_, _| {}).await;
    house.ca.hesitate();
    let running = tokio::spawn(house.work.run(house.stopped.clone()));
    house.ca.asked("/account").await;
    house.stop.send_replace(true);
    house.ca.go_on();
    running.await.unwrap();
    assert!(Store::new(house.data.path()).account(&house.acme.directory).unwrap().is_some());
    assert!(house.keeper.is_over());
}

/// Panics the first time.
#[derive(Default)]
struct Stumbling(AtomicBool);

impl AuditSink for Stumbling {
    fn record(&self, _: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
        assert!(self.0.swap(true, Ordering::SeqCst), "once");
        Box::pin(async { Ok(()) })
    }

    fn record_all(&self, _: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_defect_costs_a_turn_and_not_the_keeper() {
    let audit = Arc::new(Stumbling::default());
    let mut house = House::with("02-01", &[&[A]], |_, _| {}, audit).await;
    house.ca.says(ORDER, (403, "", "rejectedIdentifier"));
    house.turn().await;
    house.turn().await;
    assert_eq!(house.ca.count(ORDER), 1, "what failed is remembered");
    house.clock.advance(Duration::from_secs(3600));
    house.turn().await;
    assert_eq!(house.ca.count(ORDER), 2);
    assert!(!house.keeper.is_over());
    // In the midst of a conversation it is a failure like others, which waits for its time.
    let speaking = async {
        assert!(house.stopped.has_changed().is_err(), "a CA said something odd");
        Ok::<(), Failure>(())
    };
    let failed = conversation(&house.stopped, speaking).await.ok().unwrap().unwrap_err();
    assert_eq!(failed.why, Why::Unusable);
}
