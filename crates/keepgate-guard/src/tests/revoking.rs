//! The revocation view: the same answers as a list of all records, in any order, from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn id() -> impl Strategy<Value = Uuid> {
    (0_u128..4).prop_map(Uuid::from_u128)
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        4 => id().prop_map(Subject::Token),
        4 => id().prop_map(Subject::Session),
        4 => id().prop_map(Subject::Account),
        1 => "k[0-3]".prop_map(Subject::Key),
        1 => Just(Subject::Everything),
    ]
}

fn record() -> impl Strategy<Value = Revocation> {
    (0_u64..20, subject(), 0_i64..3).prop_map(|(seq, subject, expiry)| Revocation {
        expires_at: (NOW + expiry * 1000) * 1000,
        ..revocation(seq, subject)
    })
}

fn bearer() -> impl Strategy<Value = (Claims, String)> {
    (id(), id(), id(), 0_u64..20, "k[0-3]")
        .prop_map(|(sub, sid, jti, seq, kid)| (Claims { sub, sid, jti, seq, ..claims() }, kid))
}

proptest! {
    #[test]
    fn the_view_answers_as_a_list_of_records_would(
        records in vec(record(), 0..12), bearers in vec(bearer(), 1..20),
    ) {
        let view = RevocationView::default();
        for record in &records {
            view.apply(record);
        }
        for (claims, kid) in bearers {
            let covered = records.iter().any(|record| record.covers(&claims, &kid));
            prop_assert_eq!(view.is_revoked(&claims, &kid).is_some(), covered);
        }
        prop_assert_eq!(view.newest_seq(), records.iter().map(|r| r.seq).max().unwrap_or(0));
    }

    #[test]
    fn pruning_forgets_no_record_whose_tokens_live(
        records in vec(record(), 0..12), bearers in vec(bearer(), 1..20), now in NOW..NOW + 3000,
    ) {
        let view = RevocationView::default();
        for record in &records {
            view.apply(record);
        }
        view.prune(now * 1000);
        for (claims, kid) in bearers {
            let lives = records.iter().any(|r| r.expires_at >= now * 1000 && r.covers(&claims, &kid));
            prop_assert!(!lives || view.is_revoked(&claims, &kid).is_some());
        }
    }
}

#[test]
fn a_record_taken_in_twice_counts_once() {
    let view = RevocationView::default();
    for _ in 0..2 {
        for subject in [Subject::Session(Uuid::from_u128(2)), Subject::Key("k".into()), Subject::Everything] {
            view.apply(&revocation(5, subject));
        }
    }
    assert_eq!((view.len(), view.newest_seq()), (3, 5));
}

#[test]
fn an_older_record_does_not_soften_a_newer_one() {
    let view = RevocationView::default();
    view.apply(&Revocation {
        cause: "password_changed".into(),
        ..revocation(11, Subject::Account(claims().sub))
    });
    view.apply(&Revocation { cause: "logout_all".into(), ..revocation(4, Subject::Account(claims().sub)) });
    assert_eq!(view.is_revoked(&claims(), "k1").as_deref(), Some("password_changed"));
}

#[test]
fn a_token_granted_at_the_revocations_own_position_is_good() {
    let view = RevocationView::default();
    view.apply(&revocation(10, Subject::Account(claims().sub)));
    view.apply(&revocation(10, Subject::Everything));
    assert_eq!(view.is_revoked(&claims(), "k1"), None);
    assert!(view.is_revoked(&Claims { seq: 9, ..claims() }, "k1").is_some());
}

#[test]
fn records_go_a_day_after_their_tokens_have_expired_even_with_the_greatest_leeway() {
    let view = RevocationView::default();
    for subject in [Subject::Token(claims().jti), Subject::Key("k".into()), Subject::Everything] {
        view.apply(&revocation(5, subject));
    }
    view.prune((NOW + 900 + 86_400) * 1000);
    assert_eq!(view.len(), 3);
    view.prune((NOW + 901 + 86_400) * 1000);
    assert!(view.is_empty());
    assert_eq!(view.newest_seq(), 5);
}

#[test]
fn a_clock_that_jumps_ahead_and_returns_drops_no_revocation() {
    let view = RevocationView::default();
    view.apply(&revocation(11, Subject::Session(claims().sid)));
    view.prune((NOW + 3 * 3600) * 1000);
    assert!(view.is_revoked(&claims(), "k1").is_some());
}

#[test]
fn a_feed_of_many_causes_keeps_their_words() {
    let view = RevocationView::default();
    for n in 0_u32..200 {
        let subject = Subject::Token(Uuid::from_u128(n.into()));
        view.apply(&Revocation { cause: format!("cause_{n}"), ..revocation(n.into(), subject) });
    }
    let last = Claims { jti: Uuid::from_u128(199), ..claims() };
    assert_eq!(view.is_revoked(&last, "k1").as_deref(), Some("cause_199"));
}

/// Sessions end one after the other while threads keep presenting remembered tokens of all of
/// them: no token is accepted once the applying thread has said that its session ended.
#[test]
fn an_acknowledged_revocation_is_in_force_on_every_thread() {
    const SESSIONS: u64 = 64;
    let world = World::new();
    let session = |n: u64| Uuid::from_u128(1000 + u128::from(n));
    let tokens: Vec<String> =
        (0..SESSIONS).map(|n| world.with_claims(json!({ "sid": session(n) }))).collect();
    let ended = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0_u64..3 {
            let (world, tokens, ended) = (&world, &tokens, &ended);
            scope.spawn(move || {
                for turn in reader.. {
                    let before = ended.load(Ordering::Acquire);
                    let at = turn % SESSIONS;
                    let verdict = world.verify(&tokens[usize::try_from(at).unwrap()]);
                    assert!(at >= before || verdict == Err(Refusal::Revoked), "session {at} lives on");
                    if before == SESSIONS {
                        return;
                    }
                }
            });
        }
        for n in 0..SESSIONS {
            world.view.apply(&revocation(100 + n, Subject::Session(session(n))));
            ended.store(n + 1, Ordering::Release);
            thread::yield_now();
        }
    });
    for token in &tokens {
        assert_eq!(world.refusal(token), Refusal::Revoked);
    }
}

/// The same for keys: once `replace_keys` has returned, the key that is gone verifies nothing.
#[test]
fn replaced_keys_are_in_force_on_every_thread() {
    let world = World::new();
    let mine = KeySet::from_jwks(&jwks(&[world.signer.jwk("k1")])).unwrap();
    let others = KeySet::from_jwks(&jwks(&[Signer::eddsa().jwk("k2")])).unwrap();
    let token = world.good();
    // Odd: the key is gone and has been since before the number was written.
    let phase = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let before = phase.load(Ordering::SeqCst);
                    let verdict = world.verify(&token);
                    if before % 2 == 1 && phase.load(Ordering::SeqCst) == before {
                        assert_eq!(verdict, Err(Refusal::UnknownKey));
                    }
                    if before == u64::MAX {
                        return;
                    }
                }
            });
        }
        for turn in 0..100 {
            world.verifier.replace_keys(others.clone());
            phase.store(2 * turn + 1, Ordering::SeqCst);
            thread::yield_now();
            phase.store(2 * turn + 2, Ordering::SeqCst);
            world.verifier.replace_keys(mine.clone());
        }
        world.verifier.replace_keys(others.clone());
        phase.store(u64::MAX, Ordering::SeqCst);
    });
}

#[test]
fn what_was_begun_with_a_token_outlives_it_until_it_is_revoked_or_its_key_is_gone() {
    for end in ["session", "key", "keys"] {
        let world = World::new();
        let (token, verifier) = (world.good(), &world.verifier);
        let verified = verifier.check(&token, NOW).unwrap();
        let heard = Arc::new(AtomicU64::new(0));
        let listener: crate::view::Listener = {
            let heard = Arc::clone(&heard);
            Arc::new(move || {
                heard.fetch_add(1, Ordering::SeqCst);
            })
        };
        verifier.on_change(&listener);
        assert_eq!(verifier.check(&token, NOW + 100_000).unwrap_err(), Refusal::Expired);
        assert_eq!(verifier.still_holds(&verified), Ok(()));
        world.view.apply(&revocation(8, Subject::Session(Uuid::from_u128(999))));
        assert_eq!((verifier.still_holds(&verified), heard.load(Ordering::SeqCst)), (Ok(()), 1));
        let refusal = match end {
            "session" => {
                world.view.apply(&revocation(9, Subject::Session(claims().sid)));
                Refusal::Revoked
            }
            "key" => {
                world.view.apply(&revocation(9, Subject::Key("k1".into())));
                Refusal::Revoked
            }
            _ => {
                verifier.replace_keys(KeySet::default());
                Refusal::UnknownKey
            }
        };
        assert_eq!(verifier.still_holds(&verified), Err(refusal));
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        drop(listener);
        world.view.apply(&revocation(10, Subject::Everything));
        assert_eq!(heard.load(Ordering::SeqCst), 2, "who has gone is not called");
    }
}
