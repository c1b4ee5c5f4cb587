//! The rules of a family, by example and for any order of events.

use proptest::prelude::*;

use super::*;
use crate::model::id::{AccountId, RequestId, SessionId};
use uuid::Uuid;

const GRACE: Duration = Duration::from_secs(10);
const LIVES: Lifetimes =
    Lifetimes { refresh: Duration::from_secs(1000), session: Duration::from_secs(3000), grace: GRACE };

fn hash(n: u64) -> TokenHash {
    TokenHash(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn opened() -> Session {
    Session {
        id: SessionId(Uuid::nil()),
        account: AccountId(Uuid::nil()),
        generation: 0,
        current: hash(0),
        previous: None,
        salt: [0; 16],
        device: String::new(),
        address: None,
        amr: vec![],
        authenticated_at: at(0),
        created_at: at(0),
        used_at: at(0),
        expires_at: LIVES.expiry(at(0), at(0)),
    }
}

fn client(n: u8) -> ClientPrint {
    ClientPrint([n; 16])
}

fn show(generation: u64, by: u8, seconds: i64) -> Presentation {
    Presentation { generation, hash: hash(generation), client: client(by), now: at(seconds) }
}

/// The record after the live token was exchanged at `seconds`.
fn exchanged(record: Session, by: u8, seconds: i64) -> Session {
    let token = show(record.generation, by, seconds);
    let next = hash(record.generation + 1);
    match Family::of(record).present(&token, GRACE) {
        Decision::Rotate(active) => active.exchange(next, &token, None, &LIVES),
        other => panic!("the live token was not accepted: {other:?}"),
    }
}

#[test]
fn within_the_grace_window_only_the_same_client_gets_the_same_successor() {
    let record = exchanged(opened(), 1, 100);
    for (by, seconds, expected) in [
        (1, 100, "replay"),
        (1, 109, "replay"),
        (1, 110, "outside_grace"),
        (2, 100, "other_client"),
        (1, 99, "replay"),
        (1, 98, "outside_grace"),
    ] {
        match Family::of(record.clone()).present(&show(0, by, seconds), GRACE) {
            Decision::Replay(token) => {
                assert_eq!(expected, "replay");
                assert_eq!(token.confirm(hash(1)), Some(record.clone()));
            }
            Decision::Reuse(stolen) => assert_eq!(stolen.word(), expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_replay_hands_out_nothing_but_the_live_token() {
    let record = exchanged(opened(), 1, 100);
    let Decision::Replay(token) = Family::of(record).present(&show(0, 1, 100), GRACE) else { panic!() };
    assert_eq!(token.confirm(hash(2)), None);
}

#[test]
fn a_grace_of_zero_allows_no_replay() {
    let record = exchanged(opened(), 1, 100);
    let decision = Family::of(record).present(&show(0, 1, 100), Duration::ZERO);
    assert!(matches!(decision, Decision::Reuse(_)));
}

#[test]
fn an_older_token_is_reuse_even_in_the_same_millisecond() {
    let record = exchanged(exchanged(opened(), 1, 100), 1, 100);
    match Family::of(record).present(&show(0, 1, 100), GRACE) {
        Decision::Reuse(stolen) => assert_eq!(stolen.word(), "older_generation"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_from_an_undone_history_changes_nothing() {
    let record = exchanged(opened(), 1, 100);
    let ahead = show(2, 1, 101);
    assert!(matches!(Family::of(record.clone()).present(&ahead, GRACE), Decision::Unknown));
    for generation in [0, 1] {
        let fork = Presentation { hash: hash(77), ..show(generation, 1, 101) };
        assert!(matches!(Family::of(record.clone()).present(&fork, GRACE), Decision::Unknown));
    }
}

#[test]
fn use_prolongs_a_session_up_to_its_cap_and_not_past_it() {
    let record = exchanged(opened(), 1, 900);
    assert_eq!(record.expires_at, at(1900));
    let record = exchanged(exchanged(record, 1, 1800), 1, 2700);
    assert_eq!(record.expires_at, at(3000));
    assert!(matches!(Family::of(record).present(&show(3, 1, 3000), GRACE), Decision::Expired));
}

#[test]
fn one_client_is_one_print_whichever_way_its_address_is_written() {
    let origin = |address: &str, agent: &str| Origin {
        request: RequestId(Uuid::nil()),
        address: Some(address.parse().unwrap()),
        user_agent: agent.to_owned(),
    };
    let print = ClientPrint::of(&origin("192.0.2.1", "curl"));
    assert_eq!(print, ClientPrint::of(&origin("::ffff:192.0.2.1", "curl")));
    assert_ne!(print, ClientPrint::of(&origin("192.0.2.2", "curl")));
    assert_ne!(print, ClientPrint::of(&origin("192.0.2.1", "wget")));
    let none = Origin { address: None, ..origin("::", "curl") };
    assert_ne!(ClientPrint::of(&none), ClientPrint::of(&origin("::", "curl")));
}

proptest! {
    /// Wherever the clock is set: replays are given only near the exchange's time.
    #[test]
    fn no_clock_step_keeps_the_grace_window_open(exchange in 0_i64..900, now in -2000_i64..900) {
        let record = exchanged(opened(), 1, exchange);
        let replayed =
            matches!(Family::of(record).present(&show(0, 1, now), GRACE), Decision::Replay(_));
        prop_assert_eq!(replayed, (exchange - 1..exchange + 10).contains(&now));
    }

    /// Whatever is presented in whatever order: exactly one generation is ever accepted as live,
    /// it only moves forward, and an ended family stays ended.
    #[test]
    fn at_most_one_token_of_a_family_is_live(
        script in prop::collection::vec((0_u64..6, 0_u8..2, 0_i64..15), 1..40)
    ) {
        let (mut record, mut now) = (Some(opened()), 0);
        for (back, by, pause) in script {
            now += pause;
            let Some(before) = record.clone() else { break };
            let generation = before.generation.saturating_sub(back);
            let token = show(generation, by, now);
            let same = before.previous.is_some_and(|p| p.client == client(by).0 && token.now < p.at.plus(GRACE));
            match Family::of(before.clone()).present(&token, GRACE) {
                Decision::Rotate(active) => {
                    prop_assert_eq!(generation, before.generation);
                    let after = active.exchange(hash(generation + 1), &token, None, &LIVES);
                    prop_assert_eq!(after.generation, before.generation + 1);
                    record = Some(after);
                }
                Decision::Replay(replayed) => {
                    prop_assert!(same && generation + 1 == before.generation);
                    prop_assert_eq!(replayed.confirm(hash(before.generation)), Some(before));
                }
                Decision::Reuse(_) => {
                    prop_assert!(generation < before.generation);
                    prop_assert!(!same || generation + 1 < before.generation);
                    record = None;
                }
                Decision::Expired => prop_assert!(token.now >= before.expires_at),
                Decision::Unknown => prop_assert!(false, "every token here is genuine"),
            }
        }
    }
}
