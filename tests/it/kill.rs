//! kill -9 under load, over HTTP, with a witness outside: whatever the gate acknowledged must hold
//! after it comes back by itself, and the audit chain must prove itself.
//!
//! A killed process loses what it had not written, not what the system had not synced: that is the
//! disk model's part (`store::journal::torture`), and `disk`'s.
//!
//! `KEEPGATE_KILL_ROUNDS` sets the rounds (default 50).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::client::Client;
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{PASSWORD, Person, login, refresh};

/// People who act at once.
const PEOPLE: usize = 8;
/// Ended sessions of one person that are looked at after every kill; all are at the end.
const RECENT: usize = 5;

/// A pair of tokens.
#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
    session: String,
}

impl Tokens {
    fn of(grant: &Value) -> Self {
        let text = |key: &str| grant[key].as_str().expect("a grant has it").to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), session: text("session_id") }
    }
}

/// What one person was told last, and so what may have become of their session.
#[derive(Default)]
enum Now {
    /// Nothing is under way.
    #[default]
    Out,
    /// These are good; their exchange may be under way, which their replay then completes.
    In(Tokens),
    /// Their session may have ended, whole, or not at all.
    Leaving(Tokens),
}

/// What was acknowledged to one person.
#[derive(Default)]
struct Witness {
    now: Now,
    /// Sessions whose end was acknowledged.
    ended: Vec<Tokens>,
    /// Sessions whose start was acknowledged since the last kill.
    opened: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let rounds = std::env::var("KEEPGATE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    // Every ended session's token is tried again after every kill, all from one address.
    let mut gate = Gate::start_with(&[CHEAP, &["KEEPGATE_RATES__FAILED_VERIFICATIONS=off"]].concat());
    let client = gate.client();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(Person::join(&client, &format!("p{number}@example.com")).await);
    }
    let witnesses: Vec<_> = (0..PEOPLE).map(|_| Arc::new(Mutex::new(Witness::default()))).collect();
    for round in 0..rounds {
        load_until_killed(&mut gate, &people, &witnesses, 20 + round % 30).await;
        gate.restart();
        let audited = granted(&gate, "login");
        for witness in &witnesses {
            check(&gate.client(), &audited, &mut *witness.lock().await).await;
        }
    }
    for witness in &witnesses {
        for ended in &witness.lock().await.ended {
            gate.client().get("/echo").bearer(&ended.access).send().await.expect(401);
        }
    }
    gate.verify_audit();
}

/// Everybody logs in, refreshes and logs out in a circle; after `enough` circles the gate is killed
/// in the middle of whatever is under way.
async fn load_until_killed(
    gate: &mut Gate,
    people: &[Person],
    witnesses: &[Arc<Mutex<Witness>>],
    enough: usize,
) {
    let circles = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let notify = Arc::new(tokio::sync::Notify::new());
    let mut tasks = JoinSet::new();
    for (person, witness) in people.iter().zip(witnesses) {
        let (client, email) = (gate.client(), person.email.clone());
        let (witness, circles, over, notify) =
            (witness.clone(), circles.clone(), over.clone(), notify.clone());
        tasks.spawn(async move {
            let mut witness = witness.lock().await;
            while !over.load(Ordering::SeqCst) && circle(&client, &email, &mut witness).await {
                if circles.fetch_add(1, Ordering::SeqCst) + 1 >= enough {
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
    let body = json!({"email": email, "password": PASSWORD, "device": "kill"});
    let Ok(grant) = client.post("/auth/v1/login", body).try_send().await else { return false };
    let first = Tokens::of(&grant.expect(200).json());
    witness.opened.push(first.session.clone());
    witness.now = Now::In(first.clone());
    let body = json!({"refresh_token": first.refresh});
    let Ok(grant) = client.post("/auth/v1/refresh", body).try_send().await else { return false };
    let tokens = Tokens::of(&grant.expect(200).json());
    // From here the session may or may not have ended, until the answer says that it has.
    witness.now = Now::Leaving(tokens.clone());
    let logout = client.request("POST", "/auth/v1/logout").bearer(&tokens.access);
    let Ok(gone) = logout.try_send().await else { return false };
    gone.expect(204);
    witness.now = Now::Out;
    witness.ended.push(tokens);
    true
}

/// What was acknowledged holds.
async fn check(client: &Client, audited: &[String], witness: &mut Witness) {
    for session in witness.opened.drain(..) {
        assert!(audited.iter().any(|target| target.contains(&session)), "{session} is not in the audit log");
    }
    for ended in witness.ended.iter().rev().take(RECENT) {
        client.get("/echo").bearer(&ended.access).send().await.expect(401);
        refresh(client, &ended.refresh).await.expect(401);
    }
    match std::mem::take(&mut witness.now) {
        Now::Out => {}
        Now::In(tokens) => {
            client.get("/echo").bearer(&tokens.access).send().await.expect(200);
            // Either the exchange under way was not committed and this is the exchange, or it was and
            // this is its replay within the grace window: one and the same successor either way.
            let successor = refresh(client, &tokens.refresh).await.expect(200).json();
            assert_eq!(successor["session_id"], tokens.session);
            let again = refresh(client, &tokens.refresh).await.expect(200).json();
            assert_eq!(again["refresh_token"], successor["refresh_token"]);
        }
        Now::Leaving(tokens) => {
            let echo = client.get("/echo").bearer(&tokens.access).send().await.status;
            let renewed = refresh(client, &tokens.refresh).await.status;
            assert!(echo == renewed && [200, 401].contains(&echo.as_u16()), "half out: {echo}, {renewed}");
        }
    }
}

/// The targets of the newest granted events of an intent.
fn granted(gate: &Gate, intent: &str) -> Vec<String> {
    let events = gate.audit().into_iter();
    let granted = events.filter(|event| event["intent"] == intent && event["outcome"] == "granted");
    granted.map(|event| event["target"].as_str().expect("text").to_owned()).collect()
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
