//! kill -9 under load, over HTTP, with a witness outside: whatever the gate acknowledged must hold
//! after it comes back by itself, and the audit chain must prove itself.
//!
//! `KEEPGATE_KILL_ROUNDS` sets the rounds (default 50).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::{Person, login, refresh};

/// Cheap hashing, so that rounds are about durability and not about argon2.
const CHEAP: &[&str] = &["KEEPGATE_PASSWORDS__MEMORY_KIB=64", "KEEPGATE_PASSWORDS__ITERATIONS=1"];
/// People who act at once.
const PEOPLE: usize = 8;

/// What was acknowledged to one person.
#[derive(Default)]
struct Witness {
    /// The newest refresh token acknowledged; its exchange, but not a logout, may be under way.
    live: Option<String>,
    /// Access tokens whose sessions ended with an acknowledged logout.
    ended: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let rounds = std::env::var("KEEPGATE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut gate = Gate::start_with(CHEAP);
    let client = gate.client();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(Person::join(&client, &format!("p{number}@example.com")).await);
    }
    let witnesses: Vec<_> = (0..PEOPLE).map(|_| Arc::new(Mutex::new(Witness::default()))).collect();
    for round in 0..rounds {
        load_until_killed(&mut gate, &people, &witnesses, 20 + round % 30).await;
        gate.restart();
        for witness in &witnesses {
            check(&gate.client(), &mut *witness.lock().await).await;
        }
    }
    let verdict = gate.cli_json(&["audit", "verify"]);
    assert_eq!(verdict["findings"], json!([]), "{verdict}");
}

/// Everybody logs in, refreshes and logs out in a circle; after `enough` answers the gate is killed
/// in the middle of whatever is under way.
async fn load_until_killed(
    gate: &mut Gate,
    people: &[Person],
    witnesses: &[Arc<Mutex<Witness>>],
    enough: usize,
) {
    let answers = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let notify = Arc::new(tokio::sync::Notify::new());
    let mut tasks = JoinSet::new();
    for (person, witness) in people.iter().zip(witnesses) {
        let (client, email) = (gate.client(), person.email.clone());
        let (witness, answers, over, notify) =
            (witness.clone(), answers.clone(), over.clone(), notify.clone());
        tasks.spawn(async move {
            let mut witness = witness.lock().await;
            while !over.load(Ordering::SeqCst) && circle(&client, &email, &mut witness).await {
                if answers.fetch_add(1, Ordering::SeqCst) + 1 >= enough {
                    notify.notify_one();
                }
            }
        });
    }
    notify.notified().await;
    gate.kill();
    over.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.expect("the load does not panic");
    }
}

/// One login, one refresh, one logout; false once the gate is gone.
async fn circle(client: &Client, email: &str, witness: &mut Witness) -> bool {
    let body = json!({"email": email, "password": crate::harness::person::PASSWORD, "device": "kill"});
    let Ok(grant) = client.post("/auth/v1/login", body).try_send().await else { return false };
    let grant = grant.expect(200).json();
    let token = grant["refresh_token"].as_str().expect("a token").to_owned();
    witness.live = Some(token.clone());
    let body = json!({"refresh_token": token});
    let Ok(grant) = client.post("/auth/v1/refresh", body).try_send().await else { return false };
    let grant = grant.expect(200).json();
    let text = |key: &str| grant[key].as_str().expect("a token").to_owned();
    let access = text("access_token");
    // From here the session may or may not have ended, until the answer says that it has.
    witness.live = None;
    let Ok(gone) = client.request("POST", "/auth/v1/logout").bearer(&access).try_send().await else {
        return false;
    };
    gone.expect(204);
    witness.ended.push(access);
    true
}

/// What was acknowledged holds.
async fn check(client: &Client, witness: &mut Witness) {
    for access in &witness.ended {
        client.get("/echo").bearer(access).send().await.expect(401);
    }
    witness.ended.drain(..witness.ended.len().saturating_sub(5));
    if let Some(token) = witness.live.take() {
        // Either the exchange under way was not committed and this is the exchange, or it was and
        // this is its replay within the grace window: one and the same successor either way.
        refresh(client, &token).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_and_start_keeps_everything() {
    let mut gate = Gate::start_with(CHEAP);
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    gate.stop();
    gate.restart();
    let client = gate.client();
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    refresh(&client, &ada.refresh).await.expect(200);
    login(&client, &ada.email).await.expect(200);
}
