//! The throttle in front of logins, password changes and registrations.

use secrecy::SecretString;

use crate::auth::accounts::Registration;
use crate::auth::error::AuthError;
use crate::auth::sessions::Login;
use crate::auth::sessions::grant::Grant;
use crate::auth::testing::{PASSWORD, Settings, World, address, events, from, here};
use crate::model::caller::{Actor, Origin};
use crate::model::event::{Intent, Outcome};
use crate::model::unavailable::Unavailable;
use crate::store::commit::room::Short;

const WRONG: &str = "incorrect horse";

async fn try_from(
    world: &World,
    name: &str,
    password: &str,
    cookie: Option<&SecretString>,
    origin: &Origin,
) -> Result<Grant, AuthError> {
    let cookies = cookie.cloned().into_iter().collect();
    let login = Login { email: address(name), password: password.into(), device: None, cookies };
    world.auth.sessions.login(login, origin).await
}

/// The n-th address of an attacker who has many.
fn bot(n: usize) -> Origin {
    from(&format!("198.51.{}.{}", 100 + n / 250, 1 + n % 250))
}

fn throttled(answer: &Result<Grant, AuthError>) -> bool {
    matches!(answer, Err(AuthError::TooManyAttempts { .. }))
}

/// How many of these tries from as many addresses were let through to a hash.
async fn attack(world: &World, name: &str, tries: usize) -> usize {
    let mut hashed = 0;
    for n in 0..tries {
        let answer = try_from(world, name, WRONG, None, &bot(n)).await;
        assert!(throttled(&answer) || matches!(answer, Err(AuthError::Credentials)), "{answer:?}");
        hashed += usize::from(!throttled(&answer));
    }
    hashed
}

#[tokio::test]
async fn strangers_share_five_tries_however_many_addresses_they_have_and_unknown_accounts_alike() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    assert_eq!(attack(&world, "ada", 100).await, 5);
    assert_eq!(attack(&world, "nobody", 100).await, 5);
    let wait = |answer| match answer {
        Err(AuthError::TooManyAttempts { retry_after }) => retry_after,
        other => panic!("{other:?}"),
    };
    let known = wait(try_from(&world, "ada", WRONG, None, &bot(1)).await);
    assert_eq!(known, wait(try_from(&world, "nobody", WRONG, None, &bot(1)).await));
    assert_eq!(known.as_secs(), 1);
    world.advance(1);
    assert_eq!(attack(&world, "ada", 100).await, 1);
}

#[tokio::test]
async fn five_hundred_guesses_at_once_get_five_hashes() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let origins: Vec<_> = (0..500).map(bot).collect();
    let tries = origins.iter().map(|origin| try_from(&world, "ada", WRONG, None, origin));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| !throttled(answer)).count(), 5);
}

#[tokio::test]
async fn the_owner_gets_in_by_a_known_device_and_at_a_known_address_while_strangers_are_held_up() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let (home, cafe) = (here(), from("203.0.113.9"));
    let first = try_from(&world, "ada", PASSWORD, None, &home).await.unwrap();
    let cookie = first.device.unwrap().value;
    attack(&world, "ada", 100).await;
    assert!(throttled(&try_from(&world, "ada", PASSWORD, None, &cafe).await), "a stranger, though right");
    try_from(&world, "ada", PASSWORD, Some(&cookie), &cafe).await.unwrap();
    try_from(&world, "ada", PASSWORD, None, &home).await.unwrap();
    try_from(&world, "ada", PASSWORD, None, &cafe).await.expect("the address is known by now");
    world.refresh(&first.refresh_token, &home).await.expect("sessions go on");
}

#[tokio::test]
async fn who_guesses_from_a_known_device_is_held_up_there_and_the_owner_elsewhere_is_not() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let cookie = world.login("ada").await.device.unwrap().value;
    let thief = from("203.0.113.9");
    for _ in 0..5 {
        let answer = try_from(&world, "ada", WRONG, Some(&cookie), &thief).await;
        assert!(matches!(answer, Err(AuthError::Credentials)));
    }
    assert!(throttled(&try_from(&world, "ada", PASSWORD, Some(&cookie), &thief).await));
    let other = world.login("ada").await.device.unwrap().value;
    try_from(&world, "ada", PASSWORD, Some(&other), &thief).await.unwrap();
    world.advance(1);
    try_from(&world, "ada", PASSWORD, Some(&cookie), &thief).await.expect("a delay, not a lock");
    attack_with(&world, &cookie, 4).await;
    try_from(&world, "ada", PASSWORD, Some(&cookie), &thief).await.expect("being right forgave the five");
}

async fn attack_with(world: &World, cookie: &SecretString, tries: usize) {
    for n in 0..tries {
        let answer = try_from(world, "ada", WRONG, Some(cookie), &bot(n)).await;
        assert!(matches!(answer, Err(AuthError::Credentials)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_cookie_of_another_account_or_of_an_older_password_or_too_old_is_a_stranger() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    world.account("bob", &[]).await;
    let adas = world.login("ada").await.device.unwrap().value;
    let bobs = world.login("bob").await.device.unwrap().value;
    let cafe = from("203.0.113.9");
    attack(&world, "ada", 10).await;
    assert!(throttled(&try_from(&world, "ada", PASSWORD, Some(&bobs), &cafe).await));
    world.advance(1);
    let set = world.auth.accounts.set_password(ada.id, PASSWORD.into(), Actor::System, &here()).await;
    set.unwrap();
    attack(&world, "ada", 10).await;
    assert!(throttled(&try_from(&world, "ada", PASSWORD, Some(&adas), &cafe).await), "the old password's");

    let days = Settings::cheap().throttle.device_ttl.as_secs();
    world.advance(3600);
    let adas = world.login("ada").await.device.unwrap().value;
    world.advance(days - 1);
    attack(&world, "ada", 10).await;
    assert!(!throttled(&try_from(&world, "ada", WRONG, Some(&adas), &cafe).await));
    world.advance(1);
    attack(&world, "ada", 10).await;
    assert!(throttled(&try_from(&world, "ada", PASSWORD, Some(&adas), &cafe).await));
}

#[tokio::test]
async fn a_stolen_session_guesses_the_password_as_slowly_and_the_change_makes_the_device_known() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let stolen = world.caller(&world.login("ada").await);
    let change = |caller, current: &str| {
        let (current, new) = (SecretString::from(current), "another long one".into());
        let world = &world;
        async move { world.auth.accounts.change_password(&caller, current, new, &here()).await }
    };
    for _ in 0..5 {
        let answer = change(stolen.clone(), WRONG).await;
        assert!(matches!(answer, Err(AuthError::Credentials)), "{answer:?}");
    }
    let answer = change(stolen.clone(), PASSWORD).await;
    assert!(matches!(answer, Err(AuthError::TooManyAttempts { .. })), "{answer:?}");
    let own = world.caller(&world.login("ada").await);
    let cookie = change(own, PASSWORD).await.unwrap().value;
    attack(&world, "ada", 10).await;
    let login = try_from(&world, "ada", "another long one", Some(&cookie), &from("203.0.113.9")).await;
    login.unwrap();
}

#[tokio::test]
async fn one_address_that_tries_every_account_is_slowed_down_and_a_known_device_there_is_not() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let office = from("203.0.113.9");
    let cookie = try_from(&world, "ada", PASSWORD, None, &office).await.unwrap().device.unwrap().value;
    let mut hashed = 0;
    for n in 0..150 {
        let answer = try_from(&world, &format!("p{n}"), WRONG, None, &office).await;
        hashed += usize::from(!throttled(&answer));
    }
    assert_eq!(hashed, 100);
    assert!(throttled(&try_from(&world, "new", WRONG, None, &office).await));
    try_from(&world, "new", WRONG, None, &from("203.0.113.10")).await.expect_err("another address may");
    for cookie in [Some(&cookie), None] {
        try_from(&world, "ada", PASSWORD, cookie, &office).await.expect("known there");
    }
}

#[tokio::test]
async fn being_right_with_an_account_of_ones_own_forgives_an_address_nothing() {
    let world = World::new().await;
    world.account("mallory", &[]).await;
    let lair = from("203.0.113.9");
    for n in 0..100 {
        try_from(&world, &format!("p{n}"), WRONG, None, &lair).await.unwrap_err();
        if n == 50 {
            try_from(&world, "mallory", PASSWORD, None, &lair).await.unwrap();
        }
    }
    assert!(throttled(&try_from(&world, "ada", WRONG, None, &lair).await));
}

#[tokio::test]
async fn asking_which_addresses_are_taken_is_slowed_down_too() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let ask = |name: &str, origin: Origin| {
        let name = name.to_owned();
        let registration =
            Registration { email: address(&name), password: PASSWORD.into(), name, invite: None };
        let world = &world;
        async move { world.auth.accounts.register(registration, &origin).await }
    };
    for n in 0..100 {
        ask(&format!("p{n}"), here()).await.expect("who registers has not failed");
    }
    for n in 0..100 {
        let answer = ask(&format!("p{n}"), here()).await;
        assert!(matches!(answer, Err(AuthError::EmailTaken)), "{answer:?}");
    }
    let answer = ask("ada", here()).await;
    assert!(matches!(answer, Err(AuthError::TooManyAttempts { .. })), "{answer:?}");
    assert!(matches!(ask("ada", bot(1)).await, Err(AuthError::EmailTaken)));
}

#[tokio::test]
async fn what_the_hashing_budget_turned_away_has_not_failed() {
    let mut settings = Settings::cheap();
    settings.passwords.queue = 0;
    let world = World::with(&settings).await;
    for n in 0..100 {
        let answer = try_from(&world, "ada", WRONG, None, &bot(n)).await;
        assert!(matches!(answer, Err(AuthError::Unavailable(Unavailable::Overloaded { .. }))), "{answer:?}");
    }
    assert!(world.auth.throttle.tally().entries.iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn an_attack_is_one_event_a_window_that_names_the_account() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    let before = world.history().len();
    attack(&world, "ada", 200).await;
    world.auth.denials.close_windows(None).await;
    let written: Vec<_> = world.history().split_off(before).iter().flat_map(events).collect();
    let written: Vec<_> = written.iter().filter(|event| event.reason == "throttled").collect();
    let [first, rest] = written[..] else { panic!("{written:?}") };
    assert_eq!((first.intent, first.outcome, first.count), (Intent::Login, Outcome::Denied, 1));
    assert_eq!((&first.target, first.address), (&ada.id.to_string(), None));
    assert_eq!(rest.count, 194);
}

#[tokio::test]
async fn an_address_that_guesses_at_several_accounts_is_told_with_a_count_for_each() {
    let world = World::new().await;
    let (ada, eve) = (world.account("ada", &[]).await, world.account("eve", &[]).await);
    let lair = from("198.51.100.66");
    // The prefix has more free tries than an account: many accounts use them up.
    for n in 0..2_000 {
        let _ = try_from(&world, &format!("nobody-{n}"), WRONG, None, &lair).await;
    }
    world.auth.denials.close_windows(None).await;
    let before = world.history().len();
    for name in ["eve", "ada", "eve", "eve", "nobody"] {
        assert!(throttled(&try_from(&world, name, WRONG, None, &lair).await));
    }
    world.auth.denials.close_windows(None).await;
    let written: Vec<_> = world.history().split_off(before).iter().flat_map(events).collect();
    let mut told: Vec<_> = written.iter().map(|event| (event.target.clone(), event.count)).collect();
    told.sort();
    let mut wanted =
        [(String::new(), 1), (ada.id.to_string(), 1), (eve.id.to_string(), 1), (eve.id.to_string(), 2)];
    wanted.sort();
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn an_operator_sees_and_forgives_and_the_log_says_so() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    attack(&world, "ada", 10).await;
    let strangers = world.auth.throttle.standings(&ada.email).strangers;
    assert_eq!((strangers.failures, strangers.wait.as_secs(), strangers.waiting), (5, 1, 1));
    world.auth.accounts.unthrottle(ada.id, Actor::Console(0), &here()).await.unwrap();
    assert_eq!(world.last_event().0, Intent::ThrottleClear);
    assert_eq!(world.auth.throttle.standings(&ada.email), Default::default());
    try_from(&world, "ada", PASSWORD, None, &from("203.0.113.9")).await.unwrap();
}

#[tokio::test]
async fn tries_are_counted_by_who_made_them_and_refusals_by_the_bucket() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let cookie = world.login("ada").await.device.unwrap().value;
    try_from(&world, "ada", PASSWORD, Some(&cookie), &here()).await.unwrap();
    try_from(&world, "ada", PASSWORD, None, &here()).await.unwrap();
    attack(&world, "ada", 100).await;
    let tally = world.auth.throttle.tally();
    let expected = [("device", 1), ("address", 1), ("session", 0), ("stranger", 6), ("prefix", 0)];
    assert_eq!(tally.tried, expected);
    let expected = [("device", 0), ("address", 0), ("session", 0), ("stranger", 95), ("prefix", 0)];
    assert_eq!(tally.refused, expected);
    world.advance(8 * 3600);
    world.auth.throttle.purge();
    assert!(world.auth.throttle.tally().entries.iter().all(|(_, count)| *count == 0), "{tally:?}");
}

#[tokio::test]
async fn a_node_that_writes_nothing_counts_wrong_guesses_all_the_same_and_right_ones_not() {
    for (password, counts) in [(WRONG, true), (PASSWORD, false)] {
        let world = World::new().await;
        world.account("ada", &[]).await;
        let caller = world.caller(&world.login("ada").await);
        world.stores.committer.set_room(Some(Short { reserve: true, reason: "full".into() }));
        for n in 0..5 {
            let answer = try_from(&world, "ada", password, None, &bot(n)).await;
            assert!(matches!(answer, Err(AuthError::Unavailable(_))), "{answer:?}");
            let (old, new) = (password.into(), "another horse battery staple".into());
            let changed = world.auth.accounts.change_password(&caller, old, new, &here()).await;
            assert!(matches!(changed, Err(AuthError::Unavailable(_))), "{changed:?}");
        }
        world.stores.committer.set_room(None);
        let answer = try_from(&world, "ada", password, None, &bot(9)).await;
        assert_eq!(throttled(&answer), counts, "{answer:?}");
        let again =
            world.auth.accounts.change_password(&caller, password.into(), PASSWORD.into(), &here()).await;
        assert_eq!(matches!(again, Err(AuthError::TooManyAttempts { .. })), counts, "{again:?}");
    }
}
