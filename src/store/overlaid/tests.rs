//! Readers and the applier meeting at every awkward moment: a reader is stopped inside the engine
//! while writes overtake it, and threads race for the whole of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use uuid::Uuid;

use super::*;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;
use crate::store::conformance::sample;
use crate::store::memory::tokens::Tokens;
use crate::store::memory::{Memory, MemoryApplier};
use crate::store::namespace::TokenStore;
use crate::store::progress::Progress;

fn id(n: u8) -> SessionId {
    SessionId(Uuid::from_bytes([n; 16]))
}

fn session(n: u8, generation: u64) -> Session {
    Session { id: id(n), account: AccountId(Uuid::from_bytes([1; 16])), ..sample::session(n, 1, generation) }
}

fn rotated(seq: u64, n: u8, generation: u64) -> SharedCommit {
    let change = Change::Token(TokenChange::SessionRotated(session(n, generation)));
    Arc::new(Committed { seq: Seq(seq), time: Timestamp::from_millis(0), changes: vec![change] })
}

fn ended(seq: u64, n: u8) -> SharedCommit {
    let account = session(n, 0).account;
    let change = Change::Token(TokenChange::SessionEnded { session: id(n), account });
    Arc::new(Committed { seq: Seq(seq), time: Timestamp::from_millis(0), changes: vec![change] })
}

/// An engine that stops, when told to, until it is let go: a lookup with its snapshot taken, a
/// listing before that.
struct Slow {
    engine: Arc<Memory<Tokens>>,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Slow {
    fn stop(&self) {
        let gate = self.gate.lock().take();
        if let Some((arrived, go)) = gate {
            arrived.send(()).unwrap();
            go.recv().unwrap();
        }
    }
}

impl TokenEngine for Slow {
    fn session(&self, id: SessionId) -> Result<Option<Session>> {
        let answer = self.engine.session(id);
        self.stop();
        answer
    }
    fn sessions_of(&self, account: AccountId) -> Result<AsOf<Vec<Session>>> {
        self.stop();
        self.engine.sessions_of(account)
    }
    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<AsOf<Vec<Session>>> {
        self.stop();
        self.engine.sessions(after, limit)
    }
    fn revocations(&self, keep: Keep<'_>, limit: usize) -> Result<AsOf<Vec<(Seq, Revocation)>>> {
        self.engine.revocations(keep, limit)
    }
    fn ban(&self, network: IpNet) -> Result<Option<Ban>> {
        self.engine.ban(network)
    }
    fn bans(&self) -> Result<AsOf<Vec<Ban>>> {
        self.engine.bans()
    }
}

struct Rig {
    view: Arc<Overlaid<Slow>>,
    applier: Settling<MemoryApplier<Tokens>>,
}

impl Rig {
    fn new() -> Self {
        let engine = Memory::<Tokens>::new();
        let (recent, cache) = (Arc::new(Recent::default()), Arc::new(SessionCache::new(100)));
        let applier =
            Settling { applier: MemoryApplier(engine.clone()), recent: recent.clone(), cache: cache.clone() };
        let slow = Arc::new(Slow { engine, gate: Mutex::new(None) });
        Self { view: Arc::new(Overlaid { recent, cache, engine: slow, meters: Arc::default() }), applier }
    }

    fn record(&self, commit: &SharedCommit) {
        self.view.recent.record(commit);
    }

    fn settle(&mut self, commit: &SharedCommit) {
        self.applier.apply(std::slice::from_ref(commit)).unwrap();
    }

    fn generation(&self, n: u8) -> Option<u64> {
        self.view.session(id(n)).unwrap().map(|session| session.generation)
    }
}

/// Runs `meanwhile` while a reader of session 1 stands between its snapshot and its fill, and says
/// what the reader answered.
fn overtake(rig: &mut Rig, meanwhile: impl FnOnce(&mut Rig)) -> Option<u64> {
    let ((arrived, at_gate), (go, open)) = (channel(), channel());
    *rig.view.engine.gate.lock() = Some((arrived, open));
    let view = rig.view.clone();
    let reader = std::thread::spawn(move || view.session(id(1)).unwrap().map(|it| it.generation));
    at_gate.recv().unwrap();
    meanwhile(rig);
    go.send(()).unwrap();
    reader.join().unwrap()
}

#[test]
fn a_reader_that_was_overtaken_does_not_leave_its_old_answer_behind() {
    let mut rig = Rig::new();
    rig.settle(&rotated(1, 1, 1));
    let answered = overtake(&mut rig, |rig| {
        rig.record(&rotated(2, 1, 2));
        rig.settle(&rotated(2, 1, 2));
    });
    assert_eq!(answered, Some(1), "the reader asked before the write");
    assert_eq!(rig.generation(1), Some(2));
}

#[test]
fn a_reader_that_was_overtaken_does_not_revive_an_ended_session() {
    let mut rig = Rig::new();
    rig.settle(&rotated(1, 1, 1));
    overtake(&mut rig, |rig| {
        rig.record(&ended(2, 1));
        rig.settle(&ended(2, 1));
    });
    assert_eq!(rig.generation(1), None);
}

#[test]
fn a_fill_between_record_and_settlement_is_overwritten() {
    let mut rig = Rig::new();
    rig.settle(&rotated(1, 1, 1));
    overtake(&mut rig, |rig| rig.record(&ended(2, 1)));
    assert_eq!(rig.generation(1), None, "the overlay hides what was filled");
    rig.settle(&ended(2, 1));
    assert_eq!(rig.generation(1), None);
}

#[test]
fn a_write_recorded_during_settlement_stays_in_the_overlay() {
    let mut rig = Rig::new();
    rig.record(&rotated(1, 1, 1));
    rig.record(&rotated(2, 1, 2));
    rig.settle(&rotated(1, 1, 1));
    assert_eq!(rig.generation(1), Some(2));
    rig.settle(&rotated(2, 1, 2));
    assert_eq!(rig.generation(1), Some(2));
    assert!(rig.view.recent.sessions(None, 1).is_empty(), "what is settled is forgotten");
    assert!(rig.view.recent.sessions_of(session(1, 0).account).is_empty(), "by the index too");
}

#[test]
fn a_recording_that_comes_after_its_settlement_is_ignored() {
    let mut rig = Rig::new();
    rig.settle(&rotated(1, 1, 1));
    rig.settle(&rotated(2, 1, 2));
    rig.record(&rotated(1, 1, 1));
    assert_eq!(rig.generation(1), Some(2));
}

#[test]
fn readers_never_see_less_than_the_position_they_noted() {
    let rig = Rig::new();
    let progress = Arc::new(Progress::at(Seq(0)));
    let store = TokenStore::new(rig.view.clone(), progress.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, stop, reads) = (store.clone(), stop.clone(), reads.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let as_of = store.applied();
                    // Odd positions write session 1, even ones session 2; generation is position.
                    for (n, newest) in [(1, as_of.0.saturating_sub((as_of.0 + 1) % 2)), (2, as_of.0 & !1)] {
                        let mut bundle = Bundle::new();
                        let seen = store.read_session(&mut bundle, id(n)).unwrap();
                        let seen = seen.map_or(0, |session| session.generation);
                        assert!(seen >= newest, "saw {seen} of session {n} as of {as_of}");
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let (send, receive) = channel::<SharedCommit>();
    let mut applier = rig.applier;
    let applying = std::thread::spawn(move || {
        while let Ok(first) = receive.recv() {
            let batch: Vec<_> = std::iter::once(first).chain(receive.try_iter()).collect();
            applier.apply(&batch).unwrap();
        }
    });
    let mut seq = 0_u64;
    while seq < 20_000 || reads.load(Ordering::Relaxed) < 1_000 {
        seq += 1;
        let commit = rotated(seq, if seq % 2 == 1 { 1 } else { 2 }, seq);
        rig.view.recent.record(&commit);
        progress.advance(Seq(seq));
        send.send(commit).unwrap();
        if readers.iter().any(std::thread::JoinHandle::is_finished) {
            break;
        }
    }
    drop(send);
    stop.store(true, Ordering::Relaxed);
    applying.join().unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn the_listing_of_an_account_takes_only_its_own_writes_from_the_overlay() {
    let rig = Rig::new();
    let account = |n: u8| AccountId(Uuid::from_bytes([n; 16]));
    let changes = (1..=200_u8).map(|n| {
        let session = Session { account: account(n % 100), ..session(n, 1) };
        Change::Token(TokenChange::SessionOpened(session))
    });
    let commit = Committed { seq: Seq(1), time: Timestamp::from_millis(0), changes: changes.collect() };
    rig.view.recent.record(&commit);
    let ended = TokenChange::SessionEnded { session: id(107), account: account(7) };
    let commit = Committed { seq: Seq(2), time: Timestamp::from_millis(0), changes: vec![ended.into()] };
    rig.view.recent.record(&commit);
    let taken: Vec<_> = rig.view.recent.sessions_of(account(7)).into_iter().collect();
    let taken: Vec<_> = taken.iter().map(|(id, write)| (*id, write.value.is_some())).collect();
    assert_eq!(taken, [(id(7), true), (id(107), false)]);
    let listed: Vec<_> = rig.view.sessions_of(account(7)).unwrap().iter().map(|it| it.id).collect();
    assert_eq!(listed, [id(7)]);
}

#[test]
fn a_page_is_full_though_the_overlay_ended_some_of_its_sessions() {
    let mut rig = Rig::new();
    for n in 1..=5 {
        rig.settle(&rotated(n.into(), n, 1));
    }
    rig.record(&ended(6, 2));
    rig.record(&ended(7, 3));
    let page = rig.view.sessions(Some(id(1)), 2).unwrap();
    assert_eq!(page.iter().map(|session| session.id).collect::<Vec<_>>(), [id(4), id(5)]);
}

#[test]
fn a_listing_takes_the_snapshot_where_it_is_newer_than_the_overlay() {
    let mut rig = Rig::new();
    rig.record(&rotated(1, 1, 1));
    let account = session(1, 0).account;
    type List = fn(&Overlaid<Slow>, AccountId) -> Vec<Session>;
    let listings: [List; 2] =
        [|view, account| view.sessions_of(account).unwrap(), |view, _| view.sessions(None, 10).unwrap()];
    for (seq, list) in [1, 3].into_iter().zip(listings) {
        // The overlay was read when the engine overtakes it.
        let (overtaken, newest) = (rotated(seq, 1, seq), ended(seq + 1, 1));
        rig.record(&overtaken);
        let view = rig.view.clone();
        let ((arrived, at_gate), (go, open)) = (channel(), channel());
        *rig.view.engine.gate.lock() = Some((arrived, open));
        let reader = std::thread::spawn(move || list(&view, account));
        at_gate.recv().unwrap();
        rig.settle(&overtaken);
        rig.record(&newest);
        rig.settle(&newest);
        go.send(()).unwrap();
        assert_eq!(reader.join().unwrap(), []);
    }
}
