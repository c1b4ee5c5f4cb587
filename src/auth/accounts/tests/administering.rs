//! What administrators do, and what no two of them can do together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::error::AuthError;
use crate::auth::testing::{PASSWORD, World, address, here};
use crate::model::account::AccountStatus;
use crate::model::caller::Actor;
use crate::model::change::{AuthChange, Change, TokenChange};
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::revocation::{RevocationCause, RevokedSubject};

#[tokio::test]
async fn taking_power_away_revokes_in_the_bundle_that_takes_it() {
    let world = World::new().await;
    for (what, cause) in [
        ("roles", RevocationCause::RolesChanged),
        ("disable", RevocationCause::AccountDisabled),
        ("password", RevocationCause::PasswordChanged),
        ("delete", RevocationCause::AccountDeleted),
    ] {
        let ada = world.account(what, &["editor"]).await;
        let grant = world.login(what).await;
        let accounts = &world.auth.accounts;
        match what {
            "roles" => accounts.set_roles(ada.id, BTreeSet::new(), Actor::System, &here()).await,
            "disable" => accounts.disable(ada.id, Actor::System, &here()).await,
            "password" => accounts.set_password(ada.id, PASSWORD.into(), Actor::System, &here()).await,
            _ => accounts.delete(ada.id, Actor::System, &here()).await,
        }
        .unwrap();
        let changes = world.last().changes;
        let revoked = changes.iter().find_map(|change| match change {
            Change::Token(TokenChange::Revoked(revocation)) => Some(revocation),
            _ => None,
        });
        let revoked = revoked.unwrap();
        assert_eq!((&revoked.subject, revoked.cause), (&RevokedSubject::Account(ada.id), cause));
        assert!(changes.iter().any(|change| matches!(change, Change::Auth(_))), "{what}");
        assert!(matches!(changes.last(), Some(Change::Log(_))), "{what}");
        assert!(!world.passes(&grant), "{what}");
        assert_eq!(world.session(grant.session).is_some(), what == "roles");
    }
}

#[tokio::test]
async fn a_disabled_account_can_be_enabled_and_a_deleted_one_is_gone() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    let accounts = &world.auth.accounts;
    accounts.disable(ada.id, Actor::System, &here()).await.unwrap();
    accounts.disable(ada.id, Actor::System, &here()).await.unwrap();
    assert_eq!(accounts.get(ada.id).unwrap().status, AccountStatus::Disabled);
    accounts.enable(ada.id, Actor::System, &here()).await.unwrap();
    world.login("ada").await;
    accounts.delete(ada.id, Actor::System, &here()).await.unwrap();
    assert!(matches!(accounts.find(&address("ada")), Err(AuthError::NotFound)));
    assert!(matches!(accounts.enable(ada.id, Actor::System, &here()).await, Err(AuthError::NotFound)));
    assert_eq!(world.last_event(), (Intent::AccountEnable, Outcome::Denied, "not_found".to_owned()));
    let again = world.account("ada", &[]).await;
    assert_ne!(again.id, ada.id, "the address is free, the id is not");
}

#[tokio::test]
async fn unchanged_roles_revoke_nothing() {
    let world = World::new().await;
    let ada = world.account("ada", &["editor"]).await;
    let grant = world.login("ada").await;
    world.auth.accounts.set_roles(ada.id, ada.roles.clone(), Actor::System, &here()).await.unwrap();
    assert_eq!(world.last_event(), (Intent::RolesChange, Outcome::Granted, "unchanged".to_owned()));
    assert!(world.passes(&grant));
}

async fn demote(world: &World, how: usize, id: AccountId) -> Result<(), AuthError> {
    let accounts = &world.auth.accounts;
    match how % 3 {
        0 => accounts.disable(id, Actor::System, &here()).await,
        1 => accounts.delete(id, Actor::System, &here()).await,
        _ => accounts.set_roles(id, BTreeSet::new(), Actor::System, &here()).await,
    }
}

#[tokio::test]
async fn the_last_active_administrator_stays() {
    let world = World::new().await;
    let ada = world.account("ada", &["admin"]).await;
    let eve = world.account("eve", &["admin"]).await;
    world.auth.accounts.disable(eve.id, Actor::System, &here()).await.unwrap();
    for how in 0..3 {
        assert!(matches!(demote(&world, how, ada.id).await, Err(AuthError::LastAdministrator)), "{how}");
        let (_, outcome, reason) = world.last_event();
        assert_eq!((outcome, reason.as_str()), (Outcome::Denied, "last_administrator"));
        assert_eq!(world.last().changes.len(), 1, "nothing but the event");
    }
    let more = ["admin", "editor"].map(|role| role.parse().unwrap()).into();
    world.auth.accounts.set_roles(ada.id, more, Actor::System, &here()).await.unwrap();
    world.auth.accounts.enable(eve.id, Actor::System, &here()).await.unwrap();
    demote(&world, 0, ada.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_administrators_who_take_each_other_out_leave_one() {
    let world = Arc::new(World::new().await);
    for round in 0..18_usize {
        let pair = [format!("a{round}"), format!("b{round}")];
        let ada = world.account(&pair[0], &["admin"]).await;
        let eve = world.account(&pair[1], &["admin"]).await;
        if let Some(before) = round.checked_sub(1) {
            // The survivor of the round before is not of this pair.
            for name in [format!("a{before}"), format!("b{before}")] {
                if let Ok(account) = world.auth.accounts.find(&address(&name)) {
                    demote(&world, 1, account.id).await.unwrap();
                }
            }
        }
        let first = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { demote(&world, round, ada.id).await })
        };
        let second = demote(&world, round / 3, eve.id).await;
        let answers = [first.await.unwrap(), second];
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        let all = world.auth.accounts.list(None, 100).unwrap();
        assert_eq!(all.iter().filter(|account| account.is_active_admin()).count(), 1);
    }
}

#[tokio::test]
async fn deleting_an_account_takes_along_what_other_modules_keep_of_it() {
    let world = World::new().await;
    let ada = world.account("ada", &[]).await;
    world.auth.accounts.delete(ada.id, Actor::System, &here()).await.unwrap();
    let changes = world.last().changes;
    assert!(changes.contains(&Change::Auth(AuthChange::AccountDeleted { account: ada.id })));
    assert!(
        changes.iter().any(|change| matches!(change, Change::User(_))),
        "the erasure, in the same bundle"
    );
}
