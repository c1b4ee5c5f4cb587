//! Fills the stores under `POPULATE_DIR` with accounts and one session for each (`POPULATE_COUNT`,
//! a million unless told otherwise), so that start, memory and operations can be measured on a node that has lived.

#![expect(clippy::expect_used, reason = "a measurement stops at whatever is wrong")]

mod sessions;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keepgate::config::store::Store as StoreSettings;
use keepgate::model::account::{Account, AccountStatus, PasswordHash};
use keepgate::model::change::{AuthChange, TokenChange};
use keepgate::model::id::{AccountId, SessionId};
use keepgate::model::random::{Rng, SystemRng};
use keepgate::model::time::{Clock, SystemClock};
use keepgate::store::Stores;
use keepgate::store::bundle::Bundle;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A hash of nothing that anybody knows.
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE";

fn main() {
    let Some(folder) = std::env::var_os("POPULATE_DIR").map(PathBuf::from) else {
        // `cargo bench` runs every bench; this one only has work when it is told where.
        return;
    };
    let count =
        std::env::var("POPULATE_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000u64);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stores = Stores::open(&folder, Arc::new(SystemClock), &StoreSettings::default(), Vec::new());
        let stores = stores.expect("stores open");
        for first in (0..count).step_by(1000) {
            let mut bundle = Bundle::new();
            for number in first..count.min(first + 1000) {
                person(&stores, &mut bundle, number, &SystemClock, &SystemRng);
            }
            stores.committer.commit(bundle).await.expect("committed");
        }
        stores.close().expect("stores close");
    });
}

fn person(stores: &Stores, bundle: &mut Bundle, number: u64, clock: &dyn Clock, rng: &dyn Rng) {
    let now = clock.now();
    let id = AccountId::new(now, rng);
    stores.auth.stage(
        bundle,
        AuthChange::AccountCreated(Account {
            id,
            email: format!("person{number}@example.com").parse().expect("an address"),
            name: format!("Person {number}"),
            roles: BTreeSet::new(),
            status: AccountStatus::Active,
            password: PasswordHash(HASH.into()),
            password_set_at: now,
            created_at: now,
        }),
    );
    let lifetime = Duration::from_secs(30 * 24 * 3600);
    let session = sessions::fresh(SessionId::new(now, rng), id, (now, lifetime), rng);
    stores.tokens.stage(bundle, TokenChange::SessionOpened(session));
}
