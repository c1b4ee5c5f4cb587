//! Durable refresh rotations at the store's facade: 64 tasks, each reading its session through a
//! bundle and committing the rotated record, for a few seconds; prints one JSON line.
//! `ROTATION_DIR` is where the stores are made (default: the system's temp folder).

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement prints its result and stops at whatever is wrong"
)]

mod sessions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepgate::config::store::Store as StoreSettings;
use keepgate::model::change::TokenChange;
use keepgate::model::id::{AccountId, SessionId};
use keepgate::model::random::{Rng, SystemRng, bytes};
use keepgate::model::session::{Rotated, Session, TokenHash};
use keepgate::model::time::{Clock, SystemClock};
use keepgate::store::Stores;
use keepgate::store::bundle::Bundle;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tasks that rotate at once.
const CLIENTS: usize = 64;

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let families = number("ROTATION_FAMILIES", 100_000);
    let seconds = number("ROTATION_SECONDS", 4);
    let parent = std::env::var_os("ROTATION_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stores =
            Stores::open(folder.path(), Arc::new(SystemClock), &StoreSettings::default(), Vec::new())
                .expect("stores open");
        let stores = Arc::new(stores);
        let sessions = Arc::new(populate(&stores, families).await);
        let mut latencies = run(&stores, &sessions, Duration::from_secs(seconds)).await;
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
        let report = BTreeMap::from([
            ("families", families as f64),
            ("per_second", latencies.len() as f64 / seconds as f64),
            ("p50_ms", at(0.5)),
            ("p99_ms", at(0.99)),
        ]);
        println!("{}", serde_json::to_string(&report).expect("numbers"));
    });
}

async fn populate(stores: &Arc<Stores>, families: u64) -> Vec<SessionId> {
    let (clock, rng) = (SystemClock, SystemRng);
    let ids: Vec<SessionId> = (0..families).map(|_| SessionId::new(clock.now(), &rng)).collect();
    for chunk in ids.chunks(1000) {
        let mut bundle = Bundle::new();
        for id in chunk {
            let (now, account) = (clock.now(), AccountId::new(clock.now(), &rng));
            let session = sessions::fresh(*id, account, (now, Duration::from_secs(3600)), &rng);
            stores.tokens.stage(&mut bundle, TokenChange::SessionOpened(session));
        }
        stores.committer.commit(bundle).await.expect("committed");
    }
    ids
}

async fn run(stores: &Arc<Stores>, sessions: &Arc<Vec<SessionId>>, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (stores, sessions) = (Arc::clone(stores), Arc::clone(sessions));
        tasks.spawn(async move {
            let (clock, rng) = (SystemClock, SystemRng);
            let mut latencies = Vec::new();
            // Clients keep to their own sessions, as people do.
            let mine: Vec<_> = sessions.iter().skip(client).step_by(CLIENTS).collect();
            for at in 0.. {
                let started = Instant::now();
                if started >= end {
                    break;
                }
                // A stride that visits the families in no order that a cache would like.
                rotate(&stores, *mine[(at * 7919) % mine.len()], &clock, &rng).await;
                latencies.push(started.elapsed());
            }
            latencies
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies.expect("no panic"));
    }
    all
}

async fn rotate(stores: &Stores, id: SessionId, clock: &dyn Clock, rng: &dyn Rng) {
    let mut bundle = Bundle::new();
    let session = stores.tokens.read_session(&mut bundle, id).expect("readable").expect("live");
    let now = clock.now();
    let next = Session {
        generation: session.generation + 1,
        current: TokenHash(bytes(rng)),
        previous: Some(Rotated { hash: session.current, at: now, client: bytes(rng) }),
        used_at: now,
        ..session
    };
    stores.tokens.stage(&mut bundle, TokenChange::SessionRotated(next));
    stores.committer.commit(bundle).await.expect("committed");
}
