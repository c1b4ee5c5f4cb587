//! Accounts from elsewhere: batches whole or not at all, and no hash that is a trap.

use crate::auth::accounts::transfer::{BATCH, Import, Incoming, Manner};
use crate::auth::error::AuthError;
use crate::auth::testing::{PASSWORD, Settings, World, address, events, here};
use crate::model::account::{AccountStatus, PasswordHash};
use crate::model::caller::Actor;
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::time::Timestamp;

const REFUSE: Manner = Manner { check: false, skip_existing: false };
const SKIP: Manner = Manner { check: false, skip_existing: true };
const CHECK: Manner = Manner { check: true, skip_existing: false };

fn incoming(name: &str) -> Incoming {
    Incoming {
        id: None,
        email: address(name).parse().unwrap(),
        name: name.to_owned(),
        roles: ["member".parse().unwrap()].into(),
        status: AccountStatus::Active,
        created_at: None,
        password: None,
        password_set_at: None,
    }
}

async fn import(world: &World, batch: &[Incoming], manner: Manner) -> Import {
    world.auth.accounts.import(batch, manner, Actor::Console(0), &here()).await.unwrap()
}

fn said(import: &Import) -> Vec<(usize, &'static str, &'static str)> {
    import.misfits.iter().map(|misfit| (misfit.index, misfit.fault.field, misfit.fault.code)).collect()
}

#[tokio::test]
async fn an_account_arrives_with_its_id_times_and_password() {
    let there = World::new().await;
    let old = there.account("ada", &["admin"]).await;
    let here_now = World::new().await;
    here_now.advance(60);
    let ada = Incoming {
        id: Some(old.id),
        roles: old.roles.clone(),
        created_at: Some(old.created_at),
        password: Some(old.password.clone()),
        password_set_at: Some(old.password_set_at),
        ..incoming("ada")
    };
    let done = import(&here_now, &[ada], REFUSE).await;
    assert_eq!((done.created, done.skipped, said(&done)), (1, 0, vec![]));
    let event = events(&here_now.last()).pop().unwrap();
    assert_eq!((event.intent, event.reason.as_str()), (Intent::AccountCreate, "import"));
    assert_eq!(event.target, old.id.to_string());
    let new = here_now.auth.accounts.get(old.id).unwrap();
    assert_eq!((new.created_at, &new.password, &new.roles), (old.created_at, &old.password, &old.roles));
    here_now.login("ada").await;
}

#[tokio::test]
async fn without_a_hash_nobody_logs_in_until_a_password_is_set() {
    let world = World::new().await;
    import(&world, &[incoming("ada")], REFUSE).await;
    for guess in ["", PASSWORD] {
        assert!(matches!(world.try_login("ada", guess).await, Err(AuthError::Credentials)), "{guess:?}");
    }
    let ada = world.auth.accounts.find(&address("ada")).unwrap();
    assert!(ada.password.is_none());
    world.auth.accounts.set_password(ada.id, PASSWORD.into(), Actor::Console(0), &here()).await.unwrap();
    world.login("ada").await;
}

#[tokio::test]
async fn every_record_that_does_not_fit_is_named_and_nothing_is_created() {
    let world = World::new().await;
    let eve = world.account("eve", &[]).await;
    let id = |n: u128| Some(AccountId(uuid::Uuid::from_u128(n)));
    let absurd =
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let bcrypt = "$2b$12$abcdefghijklmnopqrstuv";
    let far = Timestamp::from_millis(i64::MAX);
    let batch = [
        incoming("ada"),
        incoming("eve"),
        Incoming { password: Some(PasswordHash(absurd.into())), ..incoming("b") },
        Incoming { password: Some(PasswordHash(bcrypt.into())), ..incoming("c") },
        Incoming { password: Some(PasswordHash::none()), ..incoming("d") },
        Incoming { name: "x".repeat(101), ..incoming("e") },
        Incoming { name: "a\u{7}b".into(), id: id(0), ..incoming("f") },
        Incoming { created_at: Some(far), ..incoming("g") },
        Incoming { id: Some(eve.id), ..incoming("h") },
        Incoming { id: id(9), ..incoming("eve") },
        Incoming { id: id(9), ..incoming("i") },
        incoming("ada"),
    ];
    let wanted = vec![
        (1, "email", "taken"),
        (2, "password_hash", "unusable"),
        (3, "password_hash", "unusable"),
        (4, "password_hash", "unusable"),
        (5, "name", "too_long"),
        (6, "name", "invalid"),
        (6, "id", "invalid"),
        (7, "created_at", "out_of_range"),
        (8, "id", "taken"),
        (9, "email", "repeated"),
        (9, "email", "taken"),
        (10, "id", "repeated"),
        (11, "email", "repeated"),
    ];
    let before = world.history().len();
    let checked = import(&world, &batch, CHECK).await;
    assert_eq!((checked.created, said(&checked)), (0, wanted.clone()));
    assert_eq!(world.history().len(), before, "a look leaves nothing");
    assert_eq!(said(&import(&world, &batch, REFUSE).await), wanted);
    assert_eq!(world.auth.accounts.count().unwrap(), 1);
    let (intent, outcome, reason) = world.last_event();
    assert_eq!((intent, outcome, reason.as_str()), (Intent::AccountCreate, Outcome::Denied, "import"));
}

#[tokio::test]
async fn what_is_there_already_is_skipped_on_demand_so_that_a_run_can_be_repeated() {
    let world = World::new().await;
    let batch = [incoming("ada"), incoming("bob")];
    assert_eq!(import(&world, &batch, SKIP).await.created, 2);
    let before = world.history().len();
    let again = import(&world, &batch, SKIP).await;
    assert_eq!((again.created, again.skipped), (0, 2));
    assert_eq!(world.history().len(), before);
    let one_more = import(&world, &[incoming("ada"), incoming("cleo")], SKIP).await;
    assert_eq!((one_more.created, one_more.skipped), (1, 1));
}

#[tokio::test]
async fn a_batch_is_bounded_and_an_export_is_on_record() {
    let world = World::with(&Settings::cheap()).await;
    let many: Vec<_> = (0..=BATCH).map(|n| incoming(&format!("n{n}"))).collect();
    let refused = world.auth.accounts.import(&many, REFUSE, Actor::Console(0), &here()).await;
    assert!(matches!(refused, Err(AuthError::Invalid(_))));
    assert_eq!(import(&world, &many[1..], REFUSE).await.created, BATCH);
    let page = world.auth.accounts.export(None, usize::MAX, true, Actor::Console(0), &here()).await.unwrap();
    assert_eq!(page.len(), BATCH);
    let event = events(&world.last()).pop().unwrap();
    assert_eq!((event.intent, event.count as usize), (Intent::AccountExport, BATCH));
    assert_eq!(event.reason, "with_password_hashes");
}
