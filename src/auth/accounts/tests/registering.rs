//! How accounts come to be.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::auth::accounts::Registration;
use crate::auth::error::AuthError;
use crate::auth::invites::NewInvite;
use crate::auth::testing::{PASSWORD, Settings, World, events, here};
use crate::config::accounts::Registration as Mode;
use crate::model::account::Account;
use crate::model::caller::Actor;
use crate::model::change::{AuthChange, Change};
use crate::model::event::{Intent, Outcome};

fn person(email: &str, invite: Option<&SecretString>) -> Registration {
    Registration {
        email: email.into(),
        password: PASSWORD.into(),
        name: " Ada ".into(),
        invite: invite.cloned(),
    }
}

async fn world(mode: Mode) -> World {
    let mut settings = Settings::cheap();
    settings.accounts.registration = mode;
    World::with(&settings).await
}

async fn register(world: &World, email: &str, invite: Option<&SecretString>) -> Result<Account, AuthError> {
    world.auth.accounts.register(person(email, invite), &here()).await
}

async fn invite(world: &World, email: Option<&str>, roles: &[&str]) -> SecretString {
    let new = NewInvite {
        email: email.map(str::to_owned),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        ttl: None,
    };
    world.auth.invites.create(new, Actor::Console(0), &here()).await.unwrap().1
}

#[tokio::test]
async fn open_registration_makes_an_account_without_roles() {
    let world = world(Mode::Open).await;
    let ada = register(&world, "Ada@Example.com", None).await.unwrap();
    assert_eq!((ada.email.as_str(), ada.name.as_str()), ("ada@example.com", "Ada"));
    assert!(ada.roles.is_empty());
    assert_eq!(world.auth.accounts.find("ADA@example.com").unwrap(), ada);
    assert_eq!(world.auth.accounts.find(&ada.id.to_string()).unwrap(), ada);
    let event = &events(&world.last())[0];
    assert_eq!((event.intent, event.outcome), (Intent::Register, Outcome::Granted));
    assert_eq!(event.target, ada.id.to_string());
}

#[tokio::test]
async fn every_fault_is_named_and_nothing_is_changed() {
    let world = world(Mode::Open).await;
    let before = world.history().len();
    let bad = Registration {
        email: "ada".into(),
        password: "short".into(),
        name: "x\u{7}".repeat(60),
        invite: None,
    };
    let Err(AuthError::Invalid(faults)) = world.auth.accounts.register(bad, &here()).await else { panic!() };
    let faults: Vec<_> = faults.iter().map(|fault| (fault.field, fault.code)).collect();
    assert_eq!(faults, [("email", "invalid"), ("password", "too_short"), ("name", "too_long")]);
    assert_eq!(world.history().len(), before);
}

#[tokio::test]
async fn closed_registration_refuses_and_says_so_in_the_log() {
    let world = world(Mode::Closed).await;
    assert!(matches!(register(&world, "ada@example.com", None).await, Err(AuthError::RegistrationClosed)));
    assert_eq!(world.last_event(), (Intent::Register, Outcome::Denied, "closed".to_owned()));
    assert_eq!(world.auth.accounts.count().unwrap(), 0);
}

#[tokio::test]
async fn an_invitation_is_good_once_and_gives_its_roles() {
    let world = world(Mode::Invite).await;
    let code = invite(&world, None, &["editor"]).await;
    assert!(code.expose_secret().starts_with("kgi_"));
    let ada = register(&world, "ada@example.com", Some(&code)).await.unwrap();
    assert_eq!(ada.roles.first().unwrap().as_str(), "editor");
    let removed = |change: &Change| matches!(change, Change::Auth(AuthChange::InviteRemoved { .. }));
    assert!(world.last().changes.iter().any(removed), "in the bundle that made the account");
    assert!(world.auth.invites.list().unwrap().is_empty());
    assert!(matches!(register(&world, "eve@example.com", Some(&code)).await, Err(AuthError::Invite)));
}

#[tokio::test]
async fn a_missing_foreign_lapsed_or_withdrawn_invitation_is_refused() {
    let world = world(Mode::Invite).await;
    let bound = invite(&world, Some("ada@example.com"), &[]).await;
    let withdrawn = invite(&world, None, &[]).await;
    let id = world.auth.invites.list().unwrap().into_iter().find(|invite| invite.email.is_none()).unwrap().id;
    world.auth.invites.revoke(id, Actor::System, &here()).await.unwrap();
    let again = world.auth.invites.revoke(id, Actor::System, &here()).await;
    assert!(matches!(again, Err(AuthError::NotFound)));
    for (email, code) in [
        ("ada@example.com", None),
        ("ada@example.com", Some(SecretString::from("kgi_nonsense"))),
        ("eve@example.com", Some(bound.clone())),
        ("eve@example.com", Some(withdrawn)),
    ] {
        assert!(matches!(register(&world, email, code.as_ref()).await, Err(AuthError::Invite)), "{email}");
        assert_eq!(world.last_event(), (Intent::Register, Outcome::Denied, "invite".to_owned()));
    }
    world.clock.advance(Duration::from_secs(7 * 24 * 3600));
    assert!(matches!(register(&world, "ada@example.com", Some(&bound)).await, Err(AuthError::Invite)));
}

#[tokio::test]
async fn a_taken_address_leaves_the_invitation_unused() {
    let world = world(Mode::Invite).await;
    world.account("ada", &[]).await;
    let code = invite(&world, None, &[]).await;
    let taken = register(&world, "ADA@example.com", Some(&code)).await;
    assert!(matches!(taken, Err(AuthError::EmailTaken)));
    assert_eq!(world.last_event(), (Intent::Register, Outcome::Denied, "email_taken".to_owned()));
    assert!(register(&world, "eve@example.com", Some(&code)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_want_one_address_one_gets_it() {
    let world = Arc::new(world(Mode::Open).await);
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { register(&world, "ada@example.com", None).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AuthError::EmailTaken))));
    assert_eq!(world.auth.accounts.count().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_with_one_invitation_one_gets_in() {
    let mut settings = Settings::cheap();
    settings.accounts.registration = Mode::Invite;
    // As many as there are guests, or the hashing queue would let them in one after the other.
    settings.passwords.threads = 4;
    let world = Arc::new(World::with(&settings).await);
    for round in 1..=20 {
        let code = invite(&world, None, &[]).await;
        let mut tasks = JoinSet::new();
        for guest in 0..4 {
            let (world, code) = (Arc::clone(&world), code.clone());
            let email = format!("guest{guest}.{round}@example.com");
            tasks.spawn(async move { register(&world, &email, Some(&code)).await });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(AuthError::Invite))));
        assert_eq!(world.auth.accounts.count().unwrap(), round);
    }
}

#[tokio::test]
async fn a_flood_of_registrations_that_cost_no_hash_is_one_event_and_a_count() {
    for (mode, reason) in [(Mode::Closed, "closed"), (Mode::Invite, "invite")] {
        let world = world(mode).await;
        let before = world.history().len();
        for _ in 0..20 {
            assert!(register(&world, "ada@example.com", None).await.is_err());
        }
        assert_eq!(world.history().len(), before + 1);
        world.auth.denials.close_windows(None).await;
        assert_eq!(world.last_event(), (Intent::Register, Outcome::Denied, reason.to_owned()));
        assert_eq!(events(&world.last())[0].count, 19);
    }
}
