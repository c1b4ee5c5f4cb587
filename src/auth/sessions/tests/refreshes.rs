//! Refresh and the endings, one after the other.

use std::time::Duration;

use secrecy::ExposeSecret;

use crate::auth::error::{AuthError, RefreshRefusal};
use crate::auth::sessions::token::{Genuine, RefreshKeys};
use crate::auth::testing::{PASSWORD, Settings, World, events, from, genuine, here, keys, poll_once};
use crate::model::caller::Actor;
use crate::model::change::{Change, TokenChange};
use crate::model::event::{Intent, Outcome};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::SeededRng;
use crate::model::revocation::{RevocationCause, RevokedSubject};

fn refusal<T>(answer: Result<T, AuthError>) -> RefreshRefusal {
    match answer {
        Err(AuthError::InvalidRefreshToken(refusal)) => refusal,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("granted"),
    }
}

#[tokio::test]
async fn a_refresh_hands_out_the_next_token_and_the_roles_of_now() {
    let world = World::new().await;
    let ada = world.account("ada", &["editor"]).await;
    let first = world.login("ada").await;
    let roles = ["reader".parse().unwrap()].into();
    world.auth.accounts.set_roles(ada.id, roles, Actor::System, &here()).await.unwrap();
    assert!(!world.passes(&first), "a token with the old roles is refused at once");
    let second = world.refresh(&first.refresh_token, &here()).await.unwrap();
    assert!(world.passes(&second));
    assert_eq!(world.says(&second).roles, ["reader"]);
    assert_eq!(genuine(&second.refresh_token).generation, 1);
    assert_ne!(first.refresh_token.expose_secret(), second.refresh_token.expose_secret());
    assert_eq!(world.last_event(), (Intent::Refresh, Outcome::Granted, String::new()));
}

#[tokio::test]
async fn a_replay_by_the_same_client_within_the_grace_window_gives_the_same_successor() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let first = world.login("ada").await;
    let second = world.refresh(&first.refresh_token, &here()).await.unwrap();
    world.clock.advance(Duration::from_millis(9_999));
    let again = world.refresh(&first.refresh_token, &here()).await.unwrap();
    assert_eq!(second.refresh_token.expose_secret(), again.refresh_token.expose_secret());
    assert_eq!(world.last_event(), (Intent::Refresh, Outcome::Granted, "replay".to_owned()));
    assert_eq!(world.session(first.session).unwrap().generation, 1);
    assert!(world.passes(&again));
}

#[tokio::test]
async fn reuse_ends_the_session_revokes_it_and_says_so_in_one_bundle() {
    for (seconds, address, word) in [(10, "192.0.2.1", "outside_grace"), (0, "192.0.2.9", "other_client")] {
        let world = World::new().await;
        world.account("ada", &[]).await;
        let first = world.login("ada").await;
        let second = world.refresh(&first.refresh_token, &here()).await.unwrap();
        world.advance(seconds);
        let answer = world.refresh(&first.refresh_token, &from(address)).await;
        assert_eq!(refusal(answer), RefreshRefusal::Reused);
        let bundle = world.last();
        let [
            Change::Token(TokenChange::SessionEnded { session, .. }),
            Change::Token(TokenChange::Revoked(revocation)),
            Change::Log(_),
        ] = &bundle.changes[..]
        else {
            panic!("{bundle:?}")
        };
        assert_eq!(*session, first.session);
        assert_eq!(revocation.subject, RevokedSubject::Session(first.session));
        assert_eq!(revocation.cause, RevocationCause::RefreshTokenReused);
        let event = &events(&bundle)[0];
        assert_eq!((event.intent, event.reason.as_str()), (Intent::RefreshReuse, word));
        assert!(!world.passes(&first) && !world.passes(&second), "from the next request on");
        let answer = world.refresh(&second.refresh_token, &here()).await;
        assert_eq!(refusal(answer), RefreshRefusal::Unknown, "the live token died with its family");
    }
}

#[tokio::test]
async fn what_was_never_issued_changes_nothing() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let grant = world.login("ada").await;
    let before = world.history().len();
    assert_eq!(refusal(world.refresh(&"kgr_abc".into(), &here()).await), RefreshRefusal::Malformed);
    assert_eq!(world.history().len(), before, "bad input leaves no trace");
    // An attacker who knows the session's id and the token's form.
    let other_master = MasterKey::generate(&SeededRng::new(9)).derive(Purpose::RefreshTokens);
    let invented = RefreshKeys::new(&other_master);
    let forged = invented.text(&invented.first(grant.session, &SeededRng::new(1)));
    assert_eq!(refusal(world.refresh(&forged, &here()).await), RefreshRefusal::Forged);
    assert_eq!(world.last_event(), (Intent::Refresh, Outcome::Denied, "forged".to_owned()));
    // One with our own key, but from a history that is not this one.
    let other: Genuine = keys().first(grant.session, &SeededRng::new(2));
    assert_eq!(refusal(world.refresh(&keys().text(&other), &here()).await), RefreshRefusal::Unknown);
    assert!(world.refresh(&grant.refresh_token, &here()).await.is_ok(), "the family lives on");
}

#[tokio::test]
async fn a_session_slides_with_use_and_ends_at_its_cap() {
    let settings = Settings::cheap();
    let world = World::with(&settings).await;
    world.account("ada", &[]).await;
    let mut grant = world.login("ada").await;
    for _ in 0..3 {
        world.clock.advance(settings.tokens.refresh_ttl - Duration::from_secs(1));
        grant = world.refresh(&grant.refresh_token, &here()).await.unwrap();
    }
    assert_eq!(grant.refresh_expires_in, Duration::from_secs(3), "session_ttl − 3 × (refresh_ttl − 1 s)");
    assert_eq!(grant.expires_in, Duration::from_secs(3), "an access token ends with its session");
    world.advance(3);
    assert_eq!(refusal(world.refresh(&grant.refresh_token, &here()).await), RefreshRefusal::Expired);
}

/// The answer is lost after the commit: the future is dropped as a crash or a hang-up drops it.
#[tokio::test]
async fn a_refresh_whose_answer_was_lost_is_repeated_within_grace_and_is_theft_after_it() {
    for (pause, repeats) in [(9, true), (10, false)] {
        let world = World::new().await;
        world.account("ada", &[]).await;
        let first = world.login("ada").await;
        let origin = here();
        let mut lost = Box::pin(world.refresh(&first.refresh_token, &origin));
        let _ = poll_once(&mut lost);
        drop(lost);
        // A command behind it in the queue: when it is through, so is the lost one.
        let _ = world.try_login("nobody", "whatever it takes").await;
        assert_eq!(world.session(first.session).unwrap().generation, 1, "committed, though nobody heard");
        world.advance(pause);
        let again = world.refresh(&first.refresh_token, &here()).await;
        if repeats {
            let second = again.unwrap();
            assert!(world.refresh(&second.refresh_token, &here()).await.is_ok());
        } else {
            assert_eq!(refusal(again), RefreshRefusal::Reused);
            assert!(world.session(first.session).is_none());
        }
    }
}

#[tokio::test]
async fn every_ending_refuses_the_refresh_token_and_the_access_token() {
    for ending in ["logout", "logout_all", "revoke", "revoke_any", "disable", "delete", "set_password"] {
        let world = World::new().await;
        let ada = world.account("ada", &[]).await;
        let (grant, other) = (world.login("ada").await, world.login("ada").await);
        let (caller, origin, id) = (world.caller(&other), here(), grant.session);
        let (sessions, accounts) = (&world.auth.sessions, &world.auth.accounts);
        match ending {
            "logout" => sessions.logout(&world.caller(&grant), &origin).await,
            "logout_all" => sessions.logout_all(&caller, &origin).await,
            "revoke" => sessions.revoke(&caller, id, &origin).await,
            "revoke_any" => sessions.revoke_any(id, Actor::Console(0), &origin).await,
            "disable" => accounts.disable(ada.id, Actor::System, &origin).await,
            "delete" => accounts.delete(ada.id, Actor::System, &origin).await,
            _ => accounts.set_password(ada.id, "another long one".into(), Actor::System, &origin).await,
        }
        .unwrap();
        assert!(!world.passes(&grant), "{ending}");
        assert_eq!(refusal(world.refresh(&grant.refresh_token, &origin).await), RefreshRefusal::Unknown);
        let others_live = matches!(ending, "logout" | "revoke" | "revoke_any");
        assert_eq!(world.passes(&other), others_live, "{ending}");
        assert_eq!(world.refresh(&other.refresh_token, &origin).await.is_ok(), others_live, "{ending}");
    }
}

#[tokio::test]
async fn a_password_change_keeps_the_callers_session_and_no_other() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let (mine, other) = (world.login("ada").await, world.login("ada").await);
    let caller = world.caller(&mine);
    let origin = here();
    let change = |current: &str| {
        world.auth.accounts.change_password(&caller, current.into(), "another long one".into(), &origin)
    };
    assert!(matches!(change("incorrect horse").await, Err(AuthError::Credentials)));
    assert_eq!(world.last_event(), (Intent::PasswordChange, Outcome::Denied, "wrong_password".to_owned()));
    assert!(world.passes(&other), "a wrong password changes nothing");
    change(PASSWORD).await.unwrap();
    assert!(world.passes(&mine), "even the access token in hand stays good");
    assert!(world.refresh(&mine.refresh_token, &here()).await.is_ok());
    assert!(!world.passes(&other));
    assert_eq!(refusal(world.refresh(&other.refresh_token, &here()).await), RefreshRefusal::Unknown);
    assert!(matches!(change(PASSWORD).await, Err(AuthError::Credentials)));
}

#[tokio::test]
async fn a_session_that_was_just_ended_cannot_change_the_password() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    let grant = world.login("ada").await;
    let caller = world.caller(&grant);
    world.auth.sessions.revoke_any(grant.session, Actor::System, &here()).await.unwrap();
    let current = PASSWORD.into();
    let answer =
        world.auth.accounts.change_password(&caller, current, "another long one".into(), &here()).await;
    assert!(matches!(answer, Err(AuthError::SessionEnded)));
    assert_eq!(world.auth.accounts.get(ada.id).unwrap().password, ada.password);
}

#[tokio::test]
async fn somebody_elses_session_is_not_found_and_stays() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    world.account("eve", &[]).await;
    let (ada, eve) = (world.login("ada").await, world.login("eve").await);
    let caller = world.caller(&eve);
    let answer = world.auth.sessions.revoke(&caller, ada.session, &here()).await;
    assert!(matches!(answer, Err(AuthError::NotFound)));
    assert_eq!(world.last_event(), (Intent::SessionRevoke, Outcome::Denied, "not_owner".to_owned()));
    assert!(world.passes(&ada));
    assert_eq!(world.auth.sessions.list(&caller).unwrap().len(), 1);
}

#[tokio::test]
async fn logging_out_twice_is_success_twice() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let caller = world.caller(&world.login("ada").await);
    world.auth.sessions.logout(&caller, &here()).await.unwrap();
    world.auth.sessions.logout(&caller, &here()).await.unwrap();
    assert_eq!(world.last_event(), (Intent::Logout, Outcome::Granted, "already_ended".to_owned()));
    let revoked = world.last().changes.into_iter().find_map(|change| match change {
        Change::Token(TokenChange::Revoked(revocation)) => Some(revocation.subject),
        _ => None,
    });
    assert_eq!(revoked, Some(RevokedSubject::Session(caller.session)), "also where no record is");
}

#[tokio::test]
async fn a_sweep_removes_what_expired_a_day_ago_page_by_page() {
    let settings = Settings::cheap();
    let world = World::with(&settings).await;
    world.account("ada", &[]).await;
    world.account("eve", &[]).await;
    let old = [world.login("ada").await, world.login("ada").await, world.login("ada").await];
    world.clock.advance(settings.tokens.refresh_ttl + Duration::from_secs(24 * 3600 + 1));
    let young = world.login("eve").await;
    let gone = || old.iter().filter(|grant| world.session(grant.session).is_none()).count();
    let mut sweep = world.auth.sessions.sweep();
    assert!(!sweep.step(1, 2).await.unwrap());
    assert_eq!(gone(), 2, "one step looks at as many as it was told to");
    assert!(sweep.step(9, 2).await.unwrap(), "the next goes on to the end");
    assert_eq!(gone(), 3);
    assert!(world.session(young.session).is_some());
    world.clock.advance(settings.tokens.refresh_ttl + Duration::from_secs(24 * 3600 + 1));
    assert!(sweep.step(9, 2).await.unwrap(), "and after a rest starts anew");
    assert!(world.session(young.session).is_none());
}

#[tokio::test]
async fn between_two_rounds_of_the_sweep_is_a_rest() {
    let settings = Settings::cheap();
    let world = World::with(&settings).await;
    let hour = Duration::from_secs(3600);
    world.account("ada", &[]).await;
    world.login("ada").await;
    world.clock.advance(hour);
    let late = world.login("ada").await;
    world.clock.advance(settings.tokens.refresh_ttl + 23 * hour + Duration::from_secs(1));
    let mut sweep = world.auth.sessions.sweep();
    assert!(sweep.step(9, 2).await.unwrap());
    world.clock.advance(2 * hour);
    assert!(sweep.step(9, 2).await.unwrap(), "there is nothing to go on with");
    assert!(world.session(late.session).is_some(), "not looked at while it rests");
    world.clock.advance(4 * hour);
    assert!(sweep.step(9, 2).await.unwrap());
    assert!(world.session(late.session).is_none());
}

#[tokio::test]
async fn a_flood_of_tokens_that_are_not_good_is_few_events_and_no_refusal_is_lost() {
    let settings = Settings::cheap();
    let world = World::with(&settings).await;
    world.account("ada", &[]).await;
    let (ended, expired) = (world.login("ada").await, world.login("ada").await);
    world.auth.sessions.logout(&world.caller(&ended), &here()).await.unwrap();
    let other_master = MasterKey::generate(&SeededRng::new(9)).derive(Purpose::RefreshTokens);
    let invented = RefreshKeys::new(&other_master);
    let forged = invented.text(&invented.first(expired.session, &SeededRng::new(1)));
    world.clock.advance(settings.tokens.refresh_ttl);
    let before = world.history().len();
    for (token, refused) in [
        (&forged, RefreshRefusal::Forged),
        (&ended.refresh_token, RefreshRefusal::Unknown),
        (&expired.refresh_token, RefreshRefusal::Expired),
    ] {
        for asked in 0..20 {
            assert_eq!(refusal(world.refresh(token, &here()).await), refused);
            if asked == 0 {
                let told = (Intent::Refresh, Outcome::Denied, refused.word().to_owned());
                assert_eq!(world.last_event(), told, "the first is durable before its answer");
            }
        }
    }
    assert_eq!(world.history().len(), before + 3, "one bundle for each kind");
    assert_eq!(world.auth.denials.close_windows(None).await, 0);
    let written = world.history();
    let told: u32 = written[before..].iter().flat_map(events).map(|event| event.count).sum();
    assert_eq!((written.len(), told), (before + 4, 60), "each counted once, and written together");
}
