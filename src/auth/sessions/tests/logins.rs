//! Login: what it answers, what it records, what it leaves behind.

use crate::auth::error::AuthError;
use crate::auth::sessions::Login;
use crate::auth::testing::{Backing, PASSWORD, Settings, World, address, events, here};
use crate::model::caller::Actor;
use crate::model::change::{AuthChange, Change, Namespace, TokenChange};
use crate::model::event::{Intent, Outcome};
use crate::model::revocation::{RevocationCause, RevokedSubject};
use crate::model::unavailable::Unavailable;

#[tokio::test]
async fn a_login_grants_and_records_in_one_bundle() {
    let world = World::new().await;
    let ada = world.account("ada", &["editor"]).await;
    let grant = world.login("ada").await;
    let bundle = world.last();
    // The first event about the account brings the key that its address is sealed with.
    let [Change::Token(TokenChange::SessionOpened(session)), Change::Log(_), Change::Log(_)] =
        &bundle.changes[..]
    else {
        panic!("{bundle:?}")
    };
    assert_eq!((session.id, session.account), (grant.session, ada.id));
    assert_eq!(session.device, "test", "without a device the user agent is kept");
    let event = &events(&bundle)[0];
    assert_eq!((event.intent, event.outcome), (Intent::Login, Outcome::Granted));
    assert_eq!((&event.actor, event.address), (&Actor::Account(ada.id), None), "the address is sealed");
    let says = world.says(&grant);
    assert_eq!(says.seq, bundle.seq.0);
    assert_eq!(says.roles, ["editor"]);
    assert_eq!(says.amr, ["pwd"]);
    assert_eq!(says.client_id, "keepgate", "RFC 9068 §2.2 requires it");
    assert!(world.passes(&grant));
}

#[tokio::test]
async fn unknown_wrong_and_disabled_answer_alike_and_are_told_apart_in_the_log_only() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let eve = world.account("eve", &[]).await;
    world.auth.accounts.disable(eve.id, Actor::System, &here()).await.unwrap();
    for (name, password, reason) in [
        ("nobody", PASSWORD, "unknown_account"),
        ("ada", "incorrect horse", "wrong_password"),
        ("eve", PASSWORD, "disabled"),
    ] {
        let before = world.history().len();
        let answer = world.try_login(name, password).await.unwrap_err();
        assert!(matches!(answer, AuthError::Credentials), "{name}: {answer:?}");
        assert_eq!(world.last_event(), (Intent::Login, Outcome::Denied, reason.to_owned()));
        assert_eq!(world.history().len(), before + 1, "the same commits");
        let only_log = world.last().changes.iter().all(|change| change.namespace() == Namespace::Logs);
        assert!(only_log, "nothing but the event, and the key of what it seals");
    }
}

#[tokio::test]
async fn past_the_hashing_budget_known_and_unknown_alike_are_asked_to_come_back() {
    let mut settings = Settings::cheap();
    settings.passwords.queue = 0;
    let world = World::with(&settings).await;
    let before = world.history().len();
    let answer = world.try_login("nobody", PASSWORD).await.unwrap_err();
    assert!(
        matches!(answer, AuthError::Unavailable(Unavailable::Overloaded { .. })),
        "an unknown account costs a hash too"
    );
    assert_eq!(world.history().len(), before, "nothing was decided");
}

#[tokio::test]
async fn ill_formed_input_is_named_field_by_field() {
    let world = World::new().await;
    let before = world.history().len();
    let login = Login {
        email: "ada".into(),
        password: PASSWORD.into(),
        device: Some("x".repeat(201)),
        cookies: vec![],
    };
    let Err(AuthError::Invalid(faults)) = world.auth.sessions.login(login, &here()).await else { panic!() };
    assert_eq!(faults.iter().map(|fault| fault.field).collect::<Vec<_>>(), ["email", "device"]);
    assert_eq!(world.history().len(), before);
}

#[tokio::test]
async fn a_login_past_the_cap_ends_and_revokes_the_least_recently_used_session() {
    let mut settings = Settings::cheap();
    settings.accounts.sessions_per_account = 2;
    let world = World::with(&settings).await;
    world.account("ada", &[]).await;
    let first = world.login("ada").await;
    world.advance(1);
    let second = world.login("ada").await;
    world.advance(1);
    let first = world.refresh(&first.refresh_token, &here()).await.unwrap();
    world.advance(1);
    let third = world.login("ada").await;
    let bundle = world.last();
    let revoked = bundle.changes.iter().find_map(|change| match change {
        Change::Token(TokenChange::Revoked(revocation)) => Some(revocation),
        _ => None,
    });
    let revoked = revoked.unwrap();
    assert_eq!(revoked.subject, RevokedSubject::Session(second.session));
    assert_eq!(revoked.cause, RevocationCause::SessionLimit);
    assert!(world.session(second.session).is_none());
    assert!(!world.passes(&second) && world.passes(&first) && world.passes(&third));
}

#[tokio::test]
async fn expired_sessions_take_no_place_and_go_at_the_next_login() {
    let mut settings = Settings::cheap();
    settings.accounts.sessions_per_account = 1;
    let world = World::with(&settings).await;
    let ada = world.account("ada", &[]).await;
    let first = world.login("ada").await;
    world.clock.advance(settings.tokens.refresh_ttl);
    assert!(world.auth.sessions.list_for(ada.id).unwrap().is_empty());
    world.login("ada").await;
    assert!(world.session(first.session).is_none());
    assert_eq!(world.last().changes.len(), 3, "ended, opened, recorded; nothing left to revoke");
}

#[tokio::test]
async fn a_login_renews_a_hash_of_weaker_parameters_without_making_the_password_younger() {
    let mut settings = Settings::cheap();
    let world = World::on(Backing::Disk, &settings).await;
    let ada = world.account("ada", &[]).await;
    settings.passwords.iterations = 2;
    let raised = world.reopened(&settings).await;
    raised.advance(60);
    raised.login("ada").await;
    let renewed = raised.auth.accounts.get(ada.id).unwrap();
    assert!(renewed.password.0.contains("t=2"), "{:?}", renewed.password.0);
    assert_eq!(renewed.password_set_at, ada.password_set_at);
    let sets = |change: &Change| matches!(change, Change::Auth(AuthChange::PasswordSet { .. }));
    assert!(raised.last().changes.iter().any(sets), "in the login's own bundle");
    raised.login("ada").await;
    assert!(!raised.last().changes.iter().any(sets), "once is enough");
}

#[tokio::test]
async fn spellings_of_an_address_are_one_account() {
    let world = World::new().await;
    world.account("ada", &[]).await;
    let login =
        Login { email: " ADA@Example.COM".into(), password: PASSWORD.into(), device: None, cookies: vec![] };
    assert!(world.auth.sessions.login(login, &here()).await.is_ok());
    assert!(address("ada").ends_with("example.com"));
}
