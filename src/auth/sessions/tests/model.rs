//! Random histories of one family. In turn, each answer is compared with a reference model that
//! knows nothing of hashes, stores or bundles; all at once, what must hold whatever the order is
//! checked after each round. Lost answers (a crash, a hang-up) happen in both.

use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::error::{AuthError, RefreshRefusal};
use crate::auth::sessions::family::{ClientPrint, Decision, Family, Presentation};
use crate::auth::sessions::grant::Grant;
use crate::auth::testing::{Backing, PASSWORD, Settings, World, from, genuine, here, poll_once};
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::time::{Clock, Timestamp};

const GRACE: Duration = Duration::from_secs(10);
const CLIENTS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// Something that happens to the family. Tokens are named by how many generations back they are.
#[derive(Clone, Debug)]
enum Step {
    /// A refresh; its answer arrives or is lost.
    Refresh { back: usize, client: usize, lost: bool },
    /// Time passes.
    Wait { seconds: u64 },
    /// The session ends on purpose.
    Revoke,
}

fn refresh() -> impl Strategy<Value = Step> {
    let back = prop_oneof![8 => Just(0_usize), 3 => Just(1), 1 => 2_usize..5];
    let client = prop_oneof![9 => Just(0_usize), 1 => Just(1)];
    (back, client, prop::bool::weighted(0.2)).prop_map(|(back, client, lost)| Step::Refresh {
        back,
        client,
        lost,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => refresh(),
        4 => (0_u64..12).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Revoke),
    ]
}

/// The family as its specification has it.
struct Model {
    /// Every token ever handed out, by generation; a lost answer leaves a gap.
    texts: Vec<Option<String>>,
    /// When and by whom the last exchange was made.
    exchange: Option<(Timestamp, usize)>,
    ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// The token of that generation.
    Token(usize),
    Refused(RefreshRefusal),
}

impl Model {
    fn newest(&self) -> usize {
        self.texts.len() - 1
    }

    fn refresh(&mut self, generation: usize, client: usize, now: Timestamp) -> Expected {
        let newest = self.newest();
        if self.ended {
            return Expected::Refused(RefreshRefusal::Unknown);
        }
        if generation == newest {
            self.texts.push(None);
            self.exchange = Some((now, client));
            return Expected::Token(newest + 1);
        }
        let again = self.exchange.is_some_and(|(at, by)| by == client && now < at.plus(GRACE));
        if generation + 1 == newest && again {
            return Expected::Token(newest);
        }
        self.ended = true;
        Expected::Refused(RefreshRefusal::Reused)
    }

    /// The newest generation at most `back` before the newest whose token anybody holds.
    fn held(&self, back: usize) -> (usize, SecretString) {
        let upto = self.newest().saturating_sub(back);
        let held = |generation: usize| Some((generation, self.texts[generation].clone()?.into()));
        (0..=upto).rev().find_map(held).unwrap()
    }
}

async fn in_turn(backing: Backing, script: Vec<Step>) {
    let world = World::on(backing, &Settings::cheap()).await;
    world.account("ada", &[]).await;
    let first = world.login("ada").await;
    let text = |token: &SecretString| Some(token.expose_secret().to_owned());
    let mut model = Model { texts: vec![text(&first.refresh_token)], exchange: None, ended: false };
    let session = first.session;
    let mut grants = vec![first];
    for step in script {
        match step {
            Step::Wait { seconds } => world.advance(seconds),
            Step::Revoke => {
                let answer = world.auth.sessions.revoke_any(session, Actor::System, &here()).await;
                assert_eq!(answer.is_ok(), !model.ended);
                model.ended = true;
            }
            Step::Refresh { back, client, lost } => {
                let (generation, token) = model.held(back);
                let expected = model.refresh(generation, client, world.clock.now());
                let origin = from(CLIENTS[client]);
                let mut answer = Box::pin(world.refresh(&token, &origin));
                if lost {
                    let _ = poll_once(&mut answer);
                    drop(answer);
                    settle(&world).await;
                } else {
                    check(&world, &mut model, expected, answer.await, &mut grants);
                }
            }
        }
        assert_eq!(world.session(session).is_none(), model.ended);
        for grant in &grants {
            let fresh = world.clock.now().as_secs() < world.says(grant).exp;
            assert_eq!(world.passes(grant), fresh && !model.ended);
        }
    }
}

fn check(
    world: &World,
    model: &mut Model,
    expected: Expected,
    answer: Result<Grant, AuthError>,
    grants: &mut Vec<Grant>,
) {
    match (expected, answer) {
        (Expected::Token(generation), Ok(grant)) => {
            assert_eq!(genuine(&grant.refresh_token).generation, generation as u64);
            let text = grant.refresh_token.expose_secret();
            let known = model.texts[generation].get_or_insert_with(|| text.to_owned());
            assert_eq!(known, text, "a generation has one token");
            assert_eq!(world.says(&grant).seq, world.last().seq.0);
            grants.push(grant);
        }
        (Expected::Refused(expected), Err(AuthError::InvalidRefreshToken(refusal))) => {
            assert_eq!(refusal, expected);
        }
        (expected, answer) => panic!("expected {expected:?}, got {answer:?}"),
    }
}

/// Waits until everything that was under way is through: a command behind it in the queue is.
async fn settle(world: &World) {
    world.auth.bans.remove("192.0.2.99", Actor::System, &here()).await.unwrap_err();
}

/// One of several commands that meet.
#[derive(Clone, Debug)]
enum Meeting {
    Refresh { token: usize, client: usize, lost: bool },
    Revoke,
    LogoutAll,
    SetPassword,
    ChangePassword,
}

fn meeting() -> impl Strategy<Value = Meeting> {
    let refresh = (0_usize..4, prop_oneof![9 => Just(0_usize), 1 => Just(1)], prop::bool::weighted(0.2));
    prop_oneof![
        20 => refresh.prop_map(|(token, client, lost)| Meeting::Refresh { token, client, lost }),
        1 => Just(Meeting::Revoke),
        1 => Just(Meeting::LogoutAll),
        1 => Just(Meeting::SetPassword),
        1 => Just(Meeting::ChangePassword),
    ]
}

/// Whether an ending was acknowledged, and what was granted.
#[derive(Default)]
struct Outcome {
    ended: bool,
    granted: Option<Grant>,
}

async fn meet(world: &World, meeting: &Meeting, caller: &Caller, held: &[SecretString]) -> Outcome {
    let (sessions, accounts, origin) = (&world.auth.sessions, &world.auth.accounts, here());
    let again = || SecretString::from(PASSWORD);
    let answer = match meeting {
        Meeting::Refresh { token, client, lost } => {
            let token = &held[held.len() - 1 - token % held.len()];
            let client: Origin = from(CLIENTS[*client]);
            let mut answer = Box::pin(world.refresh(token, &client));
            if *lost {
                let _ = poll_once(&mut answer);
                return Outcome::default();
            }
            return match answer.await {
                Ok(grant) => Outcome { ended: false, granted: Some(grant) },
                Err(AuthError::InvalidRefreshToken(RefreshRefusal::Reused)) => {
                    Outcome { ended: true, granted: None }
                }
                Err(_) => Outcome::default(),
            };
        }
        Meeting::Revoke => sessions.revoke_any(caller.session, Actor::System, &origin).await,
        Meeting::LogoutAll => sessions.logout_all(caller, &origin).await,
        Meeting::SetPassword => accounts.set_password(caller.account, again(), Actor::System, &origin).await,
        // Spares the caller's own session.
        Meeting::ChangePassword => {
            let _ = accounts.change_password(caller, again(), again(), &origin).await;
            return Outcome::default();
        }
    };
    Outcome { ended: answer.is_ok(), granted: None }
}

/// How many of the tokens ever handed out the record would exchange now.
fn live_leaves(world: &World, caller: &Caller, held: &[SecretString]) -> usize {
    let Some(record) = world.session(caller.session) else { return 0 };
    let mut texts: Vec<_> = held.iter().map(|token| token.expose_secret()).collect();
    texts.sort_unstable();
    texts.dedup();
    let is_live = |text: &&str| {
        let token = genuine(&SecretString::from((*text).to_owned()));
        let presentation = Presentation {
            generation: token.generation,
            hash: token.hash(),
            client: ClientPrint::of(&here()),
            now: world.clock.now(),
        };
        matches!(Family::of(record.clone()).present(&presentation, GRACE), Decision::Rotate(_))
    };
    texts.iter().filter(|text| is_live(text)).count()
}

async fn all_at_once(backing: Backing, rounds: Vec<(Vec<Meeting>, u64)>) {
    let world = World::on(backing, &Settings::cheap()).await;
    world.account("ada", &[]).await;
    let first = world.login("ada").await;
    let caller = world.caller(&first);
    let (mut held, mut grants, mut ended) = (vec![first.refresh_token.clone()], vec![first], false);
    for (meetings, pause) in rounds {
        let outcomes = join_all(meetings.iter().map(|meeting| meet(&world, meeting, &caller, &held))).await;
        settle(&world).await;
        for outcome in outcomes {
            ended |= outcome.ended;
            if let Some(grant) = outcome.granted {
                held.push(grant.refresh_token.clone());
                grants.push(grant);
            }
        }
        assert!(live_leaves(&world, &caller, &held) <= 1, "two live leaves");
        // An ending whose answer was lost has no acknowledgement, but leaves no record either.
        let gone = world.session(caller.session).is_none();
        assert!(!ended || gone, "an acknowledged ending was undone");
        if gone {
            assert!(grants.iter().all(|grant| !world.passes(grant)), "an access token got away");
        }
        world.advance(pause);
    }
    if world.session(caller.session).is_none() {
        for token in &held {
            assert!(world.refresh(token, &here()).await.is_err(), "a refresh token got away");
        }
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(future);
}

fn rounds() -> impl Strategy<Value = Vec<(Vec<Meeting>, u64)>> {
    prop::collection::vec((prop::collection::vec(meeting(), 1..6), 0_u64..6), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn in_turn_the_service_answers_as_the_model_does(script in prop::collection::vec(step(), 1..30)) {
        run(in_turn(Backing::Memory, script));
    }

    #[test]
    fn all_at_once_there_are_never_two_live_leaves(rounds in rounds()) {
        run(all_at_once(Backing::Memory, rounds));
    }
}

proptest! {
    // Each case opens stores on disk.
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn on_disk_in_turn_the_service_answers_as_the_model_does(script in prop::collection::vec(step(), 1..20)) {
        run(in_turn(Backing::Disk, script));
    }

    #[test]
    fn on_disk_all_at_once_there_are_never_two_live_leaves(rounds in rounds()) {
        run(all_at_once(Backing::Disk, rounds));
    }
}
