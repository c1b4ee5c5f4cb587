//! What is folded, told apart, bounded and written.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::model::caller::{Actor, Origin};
use crate::model::event::Outcome;
use crate::model::id::{AccountId, RequestId};

/// Keeps what is recorded, as text, unless it is broken.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<String>>,
    bundles: AtomicUsize,
    broken: AtomicBool,
}

impl Sink for Arc<Kept> {
    type Error = &'static str;

    async fn record(&self, draft: Draft) -> Result<(), &'static str> {
        if self.broken.load(Ordering::SeqCst) {
            return Err("broken");
        }
        self.events.lock().push(format!("{draft:?}"));
        Ok(())
    }

    async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), &'static str> {
        self.bundles.fetch_add(1, Ordering::SeqCst);
        for draft in drafts {
            self.record(draft).await?;
        }
        Ok(())
    }
}

fn draft(address: IpAddr, intent: Intent, reason: &str) -> Draft {
    let request = RequestId(uuid::Uuid::nil());
    let origin = Origin { request, address: Some(address), user_agent: String::new() };
    Draft::new(intent, Outcome::Denied).at(&origin).reason(reason)
}

fn forged(address: &str) -> Draft {
    draft(address.parse().unwrap(), Intent::Refresh, "forged")
}

fn folded() -> (Folded<Arc<Kept>>, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    (Folded::new(Arc::clone(&kept)), kept)
}

#[tokio::test]
async fn the_first_is_recorded_at_once_and_the_rest_as_a_count_when_the_window_closes() {
    let (folded, kept) = folded();
    for _ in 0..5 {
        folded.denied(forged("192.0.2.1"), None).await.unwrap();
    }
    assert_eq!(kept.events.lock().len(), 1);
    assert_eq!(folded.close_windows(Some(Instant::now())).await, 0);
    assert_eq!(kept.events.lock().len(), 1, "the window is open still");
    folded.close_windows(Some(Instant::now() + WINDOW)).await;
    let events = kept.events.lock().clone();
    assert_eq!(events.len(), 2);
    assert!(events[1].contains("count: 4"), "{}", events[1]);
    folded.close_windows(None).await;
    assert_eq!(kept.events.lock().len(), 2, "a count is written once");
}

#[tokio::test]
async fn another_client_intent_reason_or_scope_is_another_event_and_one_ipv6_customer_is_one() {
    let (folded, kept) = folded();
    let register = draft("192.0.2.1".parse().unwrap(), Intent::Register, "forged");
    let expired = draft("192.0.2.1".parse().unwrap(), Intent::Refresh, "expired");
    for draft in [forged("192.0.2.1"), forged("192.0.2.2"), forged("2001:db8::1"), register, expired] {
        folded.denied(draft, None).await.unwrap();
    }
    folded.denied(forged("192.0.2.1"), Some("*/app".into())).await.unwrap();
    assert_eq!(kept.events.lock().len(), 6);
    folded.denied(forged("2001:db8::2"), None).await.unwrap();
    assert_eq!(kept.events.lock().len(), 6, "the same /64");
}

#[tokio::test]
async fn a_flood_from_many_addresses_is_a_bounded_number_of_events() {
    let (folded, kept) = folded();
    for at in 0..20_000_u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(at));
        folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
    }
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    assert!((KINDS..=KINDS + 2).contains(&events.len()), "{}", events.len());
    let counts: Vec<_> = events.iter().filter(|event| !event.contains("count: 1,")).collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert!(counts[0].contains("address: None") && counts[0].contains("request: None"), "{counts:?}");
}

#[tokio::test]
async fn one_address_that_is_after_many_accounts_has_a_count_for_those_it_tries_most() {
    let (folded, kept) = folded();
    let at = |account: u32| forged("192.0.2.1").target(format!("account-{account:04}."));
    for round in 0..100 {
        folded.denied(at(1), None).await.unwrap();
        folded.denied(at(2), None).await.unwrap();
        folded.denied(at(1000 + round), None).await.unwrap();
    }
    assert_eq!(kept.events.lock().len(), 1, "one event until the window closes");
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    assert_eq!(events.len(), 1 + TARGETS + 1, "bounded");
    let count_of = |account: &str| {
        let event = events[1..].iter().find(|event| event.contains(account)).unwrap();
        event.split("count: ").nth(1).unwrap().split(',').next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!((count_of("account-0001."), count_of("account-0002.")), (99, 100));
    assert_eq!(count_of("target: \"\""), 100 - (TARGETS as u32 - 2), "the rest, without names");
    let rest = nameless(&events);
    assert!(rest.contains("address: Some(192.0.2.1)") && rest.contains("request: None"), "{rest}");
}

fn nameless(events: &[String]) -> String {
    events[1..].iter().find(|event| event.contains("target: \"\"")).unwrap().clone()
}

/// The rest of what came from one address by `by`, for more targets than are told apart.
async fn rest_of(by: impl Fn(u128, Draft) -> Draft) -> String {
    let (folded, kept) = folded();
    for round in 0..300_u128 {
        let draft = by(round, forged("192.0.2.1").target(format!("target-{round}.")));
        folded.denied(draft, None).await.unwrap();
    }
    kept.broken.store(true, Ordering::SeqCst);
    assert!(folded.close_windows(None).await > 0);
    kept.broken.store(false, Ordering::SeqCst);
    folded.close_windows(None).await;
    nameless(&kept.events.lock())
}

fn account(number: u128) -> AccountId {
    AccountId(uuid::Uuid::from_u128(number))
}

#[tokio::test]
async fn the_rest_of_many_accounts_behind_one_address_names_none_of_them_nor_unseals_where_they_are() {
    let rest = [
        rest_of(|round, draft| draft.by(Actor::Account(account(round)))).await,
        rest_of(|round, draft| draft.about(account(round))).await,
        rest_of(|round, draft| if round % 3 == 0 { draft } else { draft.by(Actor::Account(account(1))) })
            .await,
    ];
    for rest in rest {
        for part in ["actor: Anonymous", "address: None", "request: None", "about: None"] {
            assert!(rest.contains(part), "{part}: {rest}");
        }
    }
    let one = rest_of(|_, draft| draft.by(Actor::Account(account(1)))).await;
    assert!(one.contains("actor: Account") && one.contains("192.0.2.1"), "it was one account: {one}");
    let one = rest_of(|round, draft| match round % 2 {
        0 => draft.about(account(1)),
        _ => draft.by(Actor::Account(account(1))),
    });
    let one = one.await;
    assert!(one.contains("actor: Anonymous") && one.contains("about: Some"), "sealed for it still: {one}");
}

#[tokio::test]
async fn where_kinds_are_folded_together_the_accounts_are_still_told_apart() {
    let (folded, kept) = folded();
    for at in 0..KINDS as u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(at));
        folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
    }
    for (at, account) in ["ada", "eve", "ada", "ada"].into_iter().enumerate() {
        let address = format!("198.51.100.{at}").parse().unwrap();
        let draft = draft(address, Intent::Login, "throttled").target(account);
        folded.denied(draft, Some(account.into())).await.unwrap();
    }
    kept.events.lock().clear();
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    let count_of = |account: &str, count: &str| {
        events.iter().any(|event| event.contains(account) && event.contains(count))
    };
    assert!(count_of("\"ada\"", "count: 2") && count_of("\"eve\"", "count: 1"), "{events:?}");
    assert!(!events.iter().any(|event| event.contains("198.51.100.")), "of several clients: {events:?}");
}

#[tokio::test]
async fn while_events_cannot_be_written_every_refusal_hears_of_it_and_no_count_is_lost() {
    let (folded, kept) = folded();
    kept.broken.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(folded.denied(forged("192.0.2.1"), None).await.is_err(), "nothing covers it");
    }
    kept.broken.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        folded.denied(forged("192.0.2.1"), None).await.unwrap();
    }
    assert_eq!(kept.events.lock().len(), 1);
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(folded.close_windows(None).await, 1);
    kept.broken.store(false, Ordering::SeqCst);
    assert_eq!(folded.close_windows(None).await, 0);
    let events = kept.events.lock().clone();
    assert!(events.len() == 2 && events[1].contains("count: 2"), "{events:?}");
}

#[tokio::test]
async fn accounts_tried_in_turn_keep_their_names_and_true_counts_though_there_is_no_room_for_one() {
    let (folded, kept) = folded();
    let accounts = TARGETS as u32 + 1;
    for turn in 0..100 * accounts {
        let account = format!("account-{}.", turn % accounts);
        folded.denied(forged("192.0.2.1").target(account), None).await.unwrap();
    }
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    let named: Vec<_> = events[1..].iter().filter(|event| event.contains("account-")).collect();
    assert_eq!(named.len(), TARGETS, "{events:?}");
    assert!(
        named.iter().all(|event| event.contains("count: 100") || event.contains("count: 99")),
        "{named:?}"
    );
}

#[tokio::test]
async fn who_is_tried_most_has_a_name_though_others_were_there_before() {
    let (folded, kept) = folded();
    for turn in 0..=20 * TARGETS {
        let account = format!("decoy-{}.", turn % TARGETS);
        folded.denied(forged("192.0.2.1").target(account), None).await.unwrap();
    }
    for _ in 0..500 {
        folded.denied(forged("192.0.2.1").target("ada"), None).await.unwrap();
    }
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    assert!(
        events.iter().any(|event| event.contains("\"ada\"") && event.contains("count: 480")),
        "{events:?}"
    );
}

#[tokio::test]
async fn where_only_few_can_be_written_it_is_those_that_count_most_and_what_is_given_up_is_known() {
    let (folded, kept) = folded();
    for at in 0..100_u32 {
        for _ in 0..=at {
            let address = IpAddr::V4(Ipv4Addr::from_bits(at));
            folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
        }
    }
    kept.events.lock().clear();
    let lost = folded.close_largest(3).await;
    assert_eq!(lost, GivenUp { counts: 96, refusals: (1..=96).sum() });
    let events = kept.events.lock().clone();
    assert_eq!(events.len(), 3);
    for (event, count) in events.iter().zip([99, 98, 97]) {
        assert!(event.contains(&format!("count: {count},")), "{events:?}");
    }
    assert_eq!(folded.close_largest(3).await, GivenUp::default(), "once");
    for _ in 0..5 {
        folded.denied(forged("192.0.2.1"), None).await.unwrap();
    }
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(folded.close_largest(3).await, GivenUp { counts: 1, refusals: 4 });
}

#[tokio::test]
async fn what_a_flood_leaves_is_written_in_few_bundles_and_is_all_there_if_one_fails() {
    let (folded, kept) = folded();
    for at in 0..2000_u32 {
        for _ in 0..2 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(at));
            folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
        }
    }
    kept.broken.store(true, Ordering::SeqCst);
    assert_eq!(folded.close_windows(None).await, AT_ONCE as u64, "the rest is not tried");
    kept.broken.store(false, Ordering::SeqCst);
    assert_eq!(folded.close_windows(None).await, 0);
    assert_eq!(kept.events.lock().len(), 4000, "the first of each, and a count for each");
    assert_eq!(kept.bundles.load(Ordering::SeqCst), 1 + 2000_usize.div_ceil(AT_ONCE));
}
