//! Guessing passwords, and storms of logins: what an attacker with a thousand addresses gets, what an
//! owner notices of it, and what the node spends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::client::{Answer, Client, plain};
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{PASSWORD, Person, refresh};

const ADA: &str = "ada@example.com";
/// The trusted proxy of these tests, which says where clients are.
const PROXIED: &str = "KEEPGATE_LISTEN__TRUSTED_PROXIES=127.0.0.1/32";

/// A login of somebody at that address, with that cookie if any.
async fn login(client: &Client, email: &str, password: &str, address: &str, cookie: Option<&str>) -> Answer {
    let ask = client.post("/auth/v1/login", json!({"email": email, "password": password}));
    let ask = ask.header("x-forwarded-for", address);
    match cookie {
        Some(cookie) => ask.header("cookie", cookie).send().await,
        None => ask.send().await,
    }
}

/// The device cookie that an answer sets, as a browser sends it back.
fn device(answer: &Answer) -> String {
    let set = answer.header("set-cookie").expect("a device cookie");
    let (pair, attributes) = set.split_once(';').expect("attributes");
    assert_eq!(attributes, " Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict");
    assert!(pair.starts_with("__Host-keepgate-device="), "{pair}");
    pair.to_owned()
}

fn bot(n: usize) -> String {
    format!("198.18.{}.{}", n / 250, 1 + n % 250)
}

async fn metric(gate: &Gate, name: &str) -> u64 {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// An attack on one account from a thousand addresses, each on a kept connection of a few, until told
/// to stop but at least two tries from each address. Counts what was answered 401.
fn attack(client: &Client, stop: &Arc<AtomicBool>, hashed: &Arc<AtomicUsize>) -> JoinSet<usize> {
    let mut bots = JoinSet::new();
    for share in 0..20 {
        let (client, stop, hashed) = (client.clone(), Arc::clone(stop), Arc::clone(hashed));
        bots.spawn(async move {
            let mut link = client.open().await.expect("let in");
            let (mut tries, mut rounds) = (0, 0);
            while rounds < 2 || !stop.load(Ordering::SeqCst) {
                for n in 0..50 {
                    let guess = json!({"email": ADA, "password": "password of somebody"});
                    let ask = client.post("/auth/v1/login", guess);
                    let ask = ask.header("x-forwarded-for", &bot(share * 50 + n));
                    let answer = link.send(ask).await.expect("answered");
                    match answer.status.as_u16() {
                        401 => _ = hashed.fetch_add(1, Ordering::SeqCst),
                        429 => {
                            assert_eq!(answer.problem(), "too-many-attempts");
                            let wait = answer.header("retry-after").expect("when to come back");
                            assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{wait}");
                        }
                        other => panic!("{other}: {:?}", answer.body),
                    }
                    tries += 1;
                }
                rounds += 1;
            }
            tries
        });
    }
    bots
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_addresses_guess_at_one_account_and_its_owner_gets_in() {
    let gate = Gate::start_with(&[CHEAP, &[PROXIED]].concat());
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let (home, cafe) = ("203.0.113.1", "203.0.113.2");
    let first = login(&client, ADA, PASSWORD, home, None).await.expect(200);
    let cookie = device(&first);
    ada.take(&first.json());
    let before = metric(&gate, r#"keepgate_password_tries_total{from="stranger"}"#).await;

    let begun = std::time::Instant::now();
    let (stop, hashed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let bots = attack(&client, &stop, &hashed);
    while login(&client, ADA, "not it either", "203.0.113.3", None).await.status != 429 {}
    for _ in 0..10 {
        login(&client, ADA, PASSWORD, cafe, Some(&cookie)).await.expect(200);
        login(&client, ADA, PASSWORD, home, None).await.expect(200);
        ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
        client.get("/echo").bearer(&ada.access).send().await.expect(200);
    }
    stop.store(true, Ordering::SeqCst);
    let tries: usize = bots.join_all().await.into_iter().sum();
    let hashed = hashed.load(Ordering::SeqCst);
    // Five, and one more each time the waiting has doubled.
    let bound = 5 + (begun.elapsed().as_secs() + 1).ilog2() as usize + 1;
    assert!(tries >= 2000 && (5..=bound).contains(&hashed), "{hashed} of {tries}, at most {bound}");
    let counted = metric(&gate, r#"keepgate_password_tries_total{from="stranger"}"#).await - before;
    // Of the first, one or the other was not the bots'.
    assert!((hashed..=bound).contains(&usize::try_from(counted).expect("few")), "{counted}");
    let refused = metric(&gate, r#"keepgate_password_throttled_total{by="stranger"}"#).await;
    assert!(refused as usize >= tries - hashed, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_attack_and_lets_strangers_try_again() {
    // Long enough that no delay is over before it is looked at.
    let slow = "KEEPGATE_THROTTLE__FIRST_DELAY=30m";
    let gate = Gate::start_with(&[CHEAP, &[PROXIED, slow]].concat());
    let client = gate.client();
    Person::join(&client, ADA).await;
    let quiet = gate.cli(&["user", "show", ADA]).expect(0).stdout;
    assert!(quiet.contains("failed logins  none lately"), "{quiet}");
    for n in 0..20 {
        login(&client, ADA, "password of somebody", &bot(n), None).await;
    }
    let shown = gate.cli_json(&["user", "show", ADA]);
    assert!(shown["throttle"]["strangers_failures"].as_u64() >= Some(5), "{shown}");
    assert!(shown["throttle"]["strangers_until"].is_string(), "{shown}");
    login(&client, ADA, PASSWORD, &bot(1), None).await.expect(429);
    let cleared = gate.cli_json(&["user", "unthrottle", ADA]);
    assert_eq!(cleared["throttle"]["strangers_failures"], 0, "{cleared}");
    login(&client, ADA, PASSWORD, &bot(1), None).await.expect(200);
    let events = gate.audit();
    assert!(events.iter().any(|event| event["intent"] == "throttle_clear"), "{events:?}");
    let throttled = events.iter().filter(|event| event["reason"] == "throttled").count();
    assert_eq!(throttled, 1, "folded: {events:?}");
    gate.cli_fails(&["user", "unthrottle", "nobody@example.com"], 4);
}

/// Resident memory at its highest, KiB.
fn peak(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("KiB")
}

/// Memory of the node without logins, of one hash, and of 500 connections (docs/throttling.md).
const BUDGET: u64 = (64 + 19) * 1024 + 500 * 96;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_logins_at_once_stay_within_the_memory_and_those_who_are_known_do_not_notice() {
    let gate = Gate::start_with(&[
        "KEEPGATE_PASSWORDS__QUEUE=4",
        "KEEPGATE_PASSWORDS__THREADS=1",
        "KEEPGATE_STORE__SEGMENT_BYTES=1MiB",
        PROXIED,
    ]);
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let home = "203.0.113.1";
    let cookie = device(&login(&client, ADA, PASSWORD, home, None).await.expect(200));
    let mut storm = JoinSet::new();
    for n in 0..500 {
        let client = client.clone();
        storm.spawn(async move {
            login(&client, &format!("p{n}@example.com"), "whatever it may be", &bot(n), None).await
        });
    }
    for _ in 0..5 {
        login(&client, ADA, PASSWORD, home, Some(&cookie)).await.expect(200);
        client.get("/echo").bearer(&ada.access).send().await.expect(200);
    }
    let (mut hashed, mut turned_away) = (0, 0);
    while let Some(answer) = storm.join_next().await {
        let answer = answer.expect("no panic");
        match answer.status.as_u16() {
            401 => hashed += 1,
            503 => {
                assert_eq!(answer.problem(), "overloaded");
                let wait = answer.header("retry-after").expect("when to come back");
                assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{wait}");
                turned_away += 1;
            }
            other => panic!("{other}: {:?}", answer.body),
        }
    }
    assert_eq!(hashed + turned_away, 500);
    assert!(hashed > 0 && turned_away > 0, "{hashed} hashed, {turned_away} turned away");
    let peak = peak(&gate);
    assert!(peak <= BUDGET, "{peak} KiB, the budget is {BUDGET}");
}
