//! Who is left out, for how long, and who is not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Scene, at_once, members};
use crate::config::upstream::{Active, Upstream};
use crate::edge::upstream::local::NoServer;
use crate::edge::upstream::state::{Health, Turn, WHOLE};

#[tokio::test]
async fn failures_in_a_row_put_a_server_out_and_a_success_between_them_does_not() {
    let scene = Scene::of(members(&[1, 1], 0), at_once);
    scene.fail(0, 2);
    scene.state(0).answered(|| scene.shared.now());
    scene.fail(0, 2);
    assert_eq!(scene.health(0), Health::Up);
    scene.later(11);
    scene.fail(0, 1);
    assert_eq!(scene.health(0), Health::Up, "what is long ago does not count");
    scene.fail(0, 2);
    assert_eq!(scene.health(0), Health::Ejected);
    assert_eq!(scene.places(4).await, [1; 4]);
    scene.later(10);
    let mut places = scene.places(4).await;
    places.sort_unstable();
    assert_eq!((places, scene.health(0)), (vec![0, 0, 1, 1], Health::Up));
}

#[test]
fn a_server_that_fails_again_at_once_is_out_for_longer_each_time_up_to_five_minutes() {
    let scene = Scene::of(members(&[1, 1], 0), at_once);
    let passive = &scene.shared.config.passive;
    let out = |now| scene.state(0).failed("refused", passive, now);
    scene.fail(0, 2);
    let mut now = scene.shared.now();
    let mut times = Vec::new();
    for _ in 0..7 {
        // One failure is enough for a server that is on trial.
        let span = out(now).unwrap();
        assert_eq!(out(now + 1), None, "a late failure of what was sent before");
        times.push(span.as_secs());
        now += span.as_millis() as u64 + 5;
    }
    assert_eq!(times, [10, 20, 40, 80, 160, 300, 300]);
    scene.state(0).answered(|| now);
    assert_eq!(out(now + 1), None, "it answered: it takes three again");
    assert_eq!(out(now + 2), None);
    assert_eq!(out(now + 3).unwrap().as_secs(), 300, "but it was back for a moment only");
    now += 300_010;
    scene.state(0).answered(|| now);
    now += 301_000;
    (0..2).for_each(|_| assert_eq!(out(now), None));
    assert_eq!(out(now).unwrap().as_secs(), 10, "in service for longer than it was out: forgiven");
    assert_eq!(scene.state(0).ejections(), 9);
}

#[tokio::test]
async fn a_server_that_comes_back_gets_its_share_little_by_little() {
    let scene = Scene::of(members(&[1, 1], 0), |_| {});
    scene.fail(0, 3);
    let share = || scene.state(0).share(Duration::from_secs(10), || scene.shared.now());
    let mut shares = vec![share()];
    scene.later(10);
    for _ in 0..5 {
        shares.push(share());
        scene.later(3);
    }
    assert_eq!(shares, [0, 100, 300, 600, 900, WHOLE]);
    scene.now.fetch_sub(13_000, Ordering::Relaxed);
    assert_eq!(scene.health(0), Health::Rising);
    let places = scene.places(100).await;
    let few = places.iter().filter(|at| **at == 0).count();
    assert!((16..=17).contains(&few), "two twelfths of a hundred: {few}");
}

#[tokio::test]
async fn the_last_ones_are_asked_however_they_fail() {
    let scene = Scene::of(members(&[1, 1, 1, 1], 0), |config| config.passive.panic = 50);
    scene.fail(0, 3);
    scene.fail(1, 3);
    assert!(scene.places(8).await.iter().all(|at| *at >= 2), "half of them are enough");
    assert_eq!(scene.shared.counts().1, 0);
    scene.fail(2, 3);
    let mut places = scene.places(4).await;
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3], "fewer are not: the last one would be run over");
    assert_eq!(scene.shared.counts().1, 4);
    let alone = Scene::of(members(&[1], 0), |_| {});
    alone.fail(0, 3);
    assert_eq!(alone.places(2).await, [0, 0]);
}

#[tokio::test]
async fn backups_are_asked_when_too_few_others_are_in_service() {
    let scene = Scene::of(members(&[1, 1, 1], 1), at_once);
    assert!(!scene.places(6).await.contains(&2));
    scene.fail(0, 3);
    assert_eq!(scene.places(2).await, [1, 1]);
    scene.fail(1, 3);
    assert_eq!(scene.places(2).await, [2, 2]);
    scene.fail(2, 3);
    assert!(!scene.places(4).await.contains(&2), "when all are out, those that are meant to be are asked");
    // A request that was tried at the others goes to a backup.
    scene.later(10);
    assert_eq!(scene.group.another(0, &[0, 1]).unwrap().place(), 2);
    assert!(scene.group.another(0, &[0, 1, 2]).is_none());
}

#[tokio::test]
async fn a_drained_server_gets_nothing_even_if_it_is_the_last() {
    let scene = Scene::of(members(&[1, 1], 0), |_| {});
    let flight = scene.group.begin(0).await.unwrap();
    let at = flight.place();
    assert!(scene.state(at).drain(true, 5) && !scene.state(at).drain(true, 5));
    assert_eq!((scene.state(at).in_flight(), scene.health(at)), (1, Health::Drained));
    assert_eq!(scene.places(3).await, [1 - at; 3]);
    scene.fail(1 - at, 3);
    assert_eq!(scene.places(3).await, [1 - at; 3]);
    scene.state(1 - at).drain(true, 5);
    assert_eq!(scene.group.begin(0).await.unwrap_err(), NoServer::Nobody);
    scene.state(at).drain(false, 6);
    assert_eq!(scene.places(2).await, [at; 2]);
    drop(flight);
    assert_eq!(scene.state(at).in_flight(), 0);
}

#[test]
fn checks_take_a_server_out_and_in_after_so_many_in_a_row() {
    let scene = Scene::of(members(&[1, 1], 0), |_| {});
    let (state, rule) = (scene.state(0), Active::of("/".to_owned()));
    let bad = || state.checked(Err("503"), &rule, scene.shared.now());
    let good = || state.checked(Ok(()), &rule, scene.shared.now());
    assert_eq!([bad(), bad(), good(), bad(), bad()], [None; 5]);
    assert_eq!(bad(), Some(Turn::Down));
    let told = state.told(Duration::from_secs(10), scene.shared.now());
    assert_eq!((told.health, told.since, told.why.as_str()), (Health::Down, Some(1001), "503"));
    assert_eq!(state.share(Duration::ZERO, || 5000), 0);
    assert_eq!([good(), bad(), good()], [None; 3]);
    scene.later(1);
    assert_eq!(good(), Some(Turn::Up));
    assert_eq!((scene.health(0), state.checks()), (Health::Rising, (4, 6)));
    assert_eq!([bad(), bad(), bad()], [None, None, Some(Turn::Down)]);
    state.check_at(9);
    state.unchecked();
    assert_eq!(state.due(), 0);
    assert_ne!(scene.health(0), Health::Down, "nobody checks it any more");
}

#[test]
fn a_reload_forgets_nothing_of_servers_that_stay_and_all_of_those_that_go() {
    let scene = Scene::of(members(&[1, 1], 0), |_| {});
    scene.state(0).drain(true, 5);
    scene.fail(1, 3);
    let again = |weights: &[u32]| {
        let group = scene.registry.group("app".to_owned(), Upstream::with(members(weights, 0)), None);
        scene.registry.keep(std::slice::from_ref(&group));
        group
    };
    let next = again(&[3, 1, 1]);
    assert!(next.servers[0].is_drained());
    let told = next.servers[1].told(Duration::ZERO, next.now());
    assert_eq!((told.health, told.why.as_str()), (Health::Ejected, "refused"));
    again(&[1]);
    let back = again(&[1, 1]);
    assert_eq!(back.servers[1].failures(), 0, "it was gone in between");
    assert!(back.servers[0].is_drained());
}

#[tokio::test]
async fn a_shorter_time_for_failing_ends_the_ejections_that_are_under_way() {
    let scene = Scene::of(members(&[1, 1], 0), |config| {
        config.passive.fail_timeout = Duration::from_secs(60);
        config.passive.slow_start = Duration::ZERO;
    });
    scene.fail(0, 3);
    let by = |seconds: u64, max_fails: u32| {
        let mut config = scene.shared.config.clone();
        config.passive.fail_timeout = Duration::from_secs(seconds);
        config.passive.max_fails = max_fails;
        let shared = scene.registry.group("app".to_owned(), config, None);
        scene.registry.keep(&[shared]);
    };
    scene.later(10);
    by(600, 3);
    by(20, 3);
    assert_eq!(scene.health(0), Health::Ejected, "20 seconds are not over");
    scene.later(10);
    assert_eq!(scene.health(0), Health::Up);
    scene.fail(1, 3);
    assert_eq!(scene.health(1), Health::Ejected);
    by(60, 0);
    assert_eq!(scene.health(1), Health::Up, "nobody is ejected any more");
}
