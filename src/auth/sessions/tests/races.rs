//! Races: commands that meet on one family, on real threads. Three of them are races that Keycloak
//! shipped. What counts is what is true once every command has been answered, whichever came first.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::auth::error::{AuthError, RefreshRefusal};
use crate::auth::sessions::grant::Grant;
use crate::auth::testing::{Backing, PASSWORD, Settings, World, from, here};
use crate::model::caller::{Actor, Origin};

const ROUNDS: usize = 20;

async fn worlds() -> [Arc<World>; 2] {
    let settings = Settings::cheap();
    let memory = World::on(Backing::Memory, &settings).await;
    [Arc::new(memory), Arc::new(World::on(Backing::Disk, &settings).await)]
}

fn spawn_refresh(
    tasks: &mut JoinSet<Result<Grant, AuthError>>,
    world: &Arc<World>,
    token: &SecretString,
    origin: Origin,
) {
    let (world, token) = (Arc::clone(world), token.clone());
    tasks.spawn(async move { world.refresh(&token, &origin).await });
}

/// Keycloak PR#46054 (CVE-2026-1035): concurrent requests with one refresh token passed the check
/// of its use count together, and each got tokens of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_refreshes_of_one_token_have_one_successor() {
    for world in worlds().await {
        world.account("ada", &[]).await;
        let mut grant = world.login("ada").await;
        for round in 1..=ROUNDS {
            let mut tasks = JoinSet::new();
            (0..8).for_each(|_| spawn_refresh(&mut tasks, &world, &grant.refresh_token, here()));
            let answers: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
            let first = &answers[0];
            for answer in &answers {
                assert_eq!(answer.refresh_token.expose_secret(), first.refresh_token.expose_secret());
                assert!(world.passes(answer));
            }
            assert_eq!(world.session(grant.session).unwrap().generation, round as u64);
            grant = answers.into_iter().next().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_clients_with_one_token_end_the_family_whoever_wins() {
    for world in worlds().await {
        world.account("ada", &[]).await;
        for _ in 0..ROUNDS {
            let grant = world.login("ada").await;
            let mut tasks = JoinSet::new();
            for client in ["192.0.2.1", "192.0.2.2"] {
                spawn_refresh(&mut tasks, &world, &grant.refresh_token, from(client));
            }
            let answers = tasks.join_all().await;
            let granted: Vec<_> = answers.iter().flatten().collect();
            assert_eq!(granted.len(), 1, "{answers:?}");
            assert!(world.session(grant.session).is_none());
            assert!(!world.passes(granted[0]) && !world.passes(&grant));
        }
    }
}

/// Keycloak PR#51885 (issue #50999): tokens of one second could not be told apart by their time, so
/// an older one was taken again after a newer one had been used.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_older_token_is_theft_even_if_all_of_it_happens_in_one_millisecond() {
    for world in worlds().await {
        world.account("ada", &[]).await;
        let first = world.login("ada").await;
        let second = world.refresh(&first.refresh_token, &here()).await.unwrap();
        let third = world.refresh(&second.refresh_token, &here()).await.unwrap();
        let answer = world.refresh(&first.refresh_token, &here()).await;
        assert!(matches!(answer, Err(AuthError::InvalidRefreshToken(RefreshRefusal::Reused))), "{answer:?}");
        let answer = world.refresh(&third.refresh_token, &here()).await;
        assert!(matches!(answer, Err(AuthError::InvalidRefreshToken(RefreshRefusal::Unknown))), "{answer:?}");
        assert!([&first, &second, &third].iter().all(|grant| !world.passes(grant)));
    }
}

/// What can end Ada's first session while it is refreshed; the second is the caller's own.
const ENDINGS: [&str; 7] =
    ["logout", "logout_all", "revoke", "revoke_any", "disable", "change_password", "set_password"];

async fn end(world: &World, ending: &str, doomed: &Grant, own: &Grant) -> Result<(), AuthError> {
    let (sessions, accounts, origin) = (&world.auth.sessions, &world.auth.accounts, here());
    let own = world.caller(own);
    let again = || SecretString::from(PASSWORD);
    match ending {
        "logout" => sessions.logout(&world.caller(doomed), &origin).await,
        "logout_all" => sessions.logout_all(&own, &origin).await,
        "revoke" => sessions.revoke(&own, doomed.session, &origin).await,
        "revoke_any" => sessions.revoke_any(doomed.session, Actor::System, &origin).await,
        "disable" => accounts.disable(own.account, Actor::System, &origin).await,
        "change_password" => accounts.change_password(&own, again(), again(), &origin).await.map(|_| ()),
        _ => accounts.set_password(own.account, again(), Actor::System, &origin).await,
    }
}

/// Keycloak issue #51312: `/revoke` did not take part in the lock that refreshes took, so a refresh
/// under way gave tokens that outlived the revocation. Here with every way to end a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_granted_by_a_refresh_outlives_an_acknowledged_ending() {
    for world in worlds().await {
        let ada = world.account("ada", &[]).await;
        for round in 0..ROUNDS * 2 {
            let ending = ENDINGS[round % ENDINGS.len()];
            world.auth.accounts.enable(ada.id, Actor::System, &here()).await.unwrap();
            let (doomed, own) = (world.login("ada").await, world.login("ada").await);
            let mut tasks = JoinSet::new();
            (0..3).for_each(|_| spawn_refresh(&mut tasks, &world, &doomed.refresh_token, here()));
            let ended = end(&world, ending, &doomed, &own).await;
            let answers = tasks.join_all().await;
            ended.unwrap();
            assert!(world.session(doomed.session).is_none(), "{ending}");
            assert!(!world.passes(&doomed), "{ending}");
            for granted in answers.into_iter().flatten() {
                assert!(!world.passes(&granted), "{ending}: an access token got away");
                let answer = world.refresh(&granted.refresh_token, &here()).await;
                assert!(answer.is_err(), "{ending}: a refresh token got away");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_carries_the_roles_of_before_an_acknowledged_change() {
    for world in worlds().await {
        let ada = world.account("ada", &["r0"]).await;
        let mut grant = world.login("ada").await;
        for round in 1..=ROUNDS {
            let mut tasks = JoinSet::new();
            (0..4).for_each(|_| spawn_refresh(&mut tasks, &world, &grant.refresh_token, here()));
            let role = format!("r{round}");
            let roles = [role.parse().unwrap()].into();
            world.auth.accounts.set_roles(ada.id, roles, Actor::System, &here()).await.unwrap();
            for granted in tasks.join_all().await.into_iter().map(Result::unwrap) {
                let says = world.says(&granted).roles;
                assert_eq!(world.passes(&granted), says == [role.as_str()], "{says:?} at {role}");
                grant = granted;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_under_way_does_not_survive_the_password_it_used() {
    let world = Arc::new(World::new().await);
    let ada = world.account("ada", &[]).await;
    for round in 0..ROUNDS {
        let (old, new) = (format!("long enough {round}"), format!("long enough {}", round + 1));
        let accounts = &world.auth.accounts;
        accounts.set_password(ada.id, old.clone().into(), Actor::System, &here()).await.unwrap();
        let task = {
            let (world, old) = (Arc::clone(&world), old.clone());
            tokio::spawn(async move { world.try_login("ada", &old).await })
        };
        accounts.set_password(ada.id, new.into(), Actor::System, &here()).await.unwrap();
        if let Ok(granted) = task.await.unwrap() {
            assert!(!world.passes(&granted));
            assert!(world.refresh(&granted.refresh_token, &here()).await.is_err());
        }
        assert!(world.try_login("ada", &old).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_logins_keep_the_cap() {
    let mut settings = Settings::cheap();
    settings.accounts.sessions_per_account = 3;
    // Right ones at once, past the free tries too, are asked to come back.
    settings.throttle.free = 10;
    let world = Arc::new(World::with(&settings).await);
    let ada = world.account("ada", &[]).await;
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.login("ada").await });
    }
    let grants = tasks.join_all().await;
    assert_eq!(world.auth.sessions.list_for(ada.id).unwrap().len(), 3);
    assert_eq!(grants.iter().filter(|grant| world.passes(grant)).count(), 3);
}
