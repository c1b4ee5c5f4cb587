//! Zones: who is preferred, for how long, and what every way to balance makes of it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{Scene, at_once, members};
use crate::config::upstream::{Balance, HashBy, Member, Upstream};
use crate::edge::upstream::balance::round_robin;
use crate::edge::upstream::local::NoServer;
use crate::edge::upstream::zones::Zones;

/// Servers of these weights; the first so many are in the node's zone "a", the others in "b".
fn zoned(weights: &[u32], own: usize) -> Vec<Member> {
    let zone = |at| Some(Arc::from(if at < own { "a" } else { "b" }));
    members(weights, 0)
        .into_iter()
        .enumerate()
        .map(|(at, member)| Member { zone: zone(at), ..member })
        .collect()
}

fn at_home(config: &mut Upstream) {
    config.home = Some("a".into());
    config.passive.panic = 0;
    at_once(config);
}

const BALANCES: [Balance; 4] =
    [Balance::RoundRobin, Balance::LeastConnections, Balance::RandomTwo, Balance::Hash(HashBy::Address)];

/// Weights of a group, how many of its servers are in the zone, and what each gets of its own.
fn groups() -> impl Strategy<Value = (Vec<u32>, usize, Vec<u32>)> {
    (2_usize..12).prop_flat_map(|count| {
        let (weights, shares) =
            (prop::collection::vec(1_u32..=1000, count), prop::collection::vec(0_u32..=10, count));
        (weights, 1..count, shares)
    })
}

proptest! {
    #[test]
    fn the_zone_has_its_part_and_within_a_side_shares_stay(
        (weights, own, shares) in groups(), part in 0_u32..=1000,
    ) {
        let zones = Zones::of(&zoned(&weights, own), Some("a")).unwrap();
        let weighed: Vec<u32> = weights.iter().zip(&shares).map(|(weight, share)| weight * share * 100).collect();
        let mut out = Vec::new();
        zones.prefer(part, &weighed, &mut out);
        let sum = |of: &[u32]| of.iter().map(|weight| f64::from(*weight)).sum::<f64>();
        let (before, after) = (weighed.split_at(own), out.split_at(own));
        if sum(before.0) > 0.0 && sum(before.1) > 0.0 {
            let got = sum(after.0) / sum(&out);
            // Each weight is rounded: by less than one.
            let slack = 2.0 * weights.len() as f64 / sum(&out);
            prop_assert!((got - f64::from(part) / 1000.0).abs() <= slack, "{got} for {part}: {out:?} of {weighed:?}");
            prop_assert!((sum(&out) - sum(&weighed)).abs() <= 2.0 * weights.len() as f64, "the measure stays");
        } else {
            prop_assert_eq!(&out, &weighed, "nobody to prefer, or nobody else");
        }
        for (before, after) in [(before.0, after.0), (before.1, after.1)] {
            for (had, has) in before.iter().zip(after) {
                prop_assert!(*had > 0 || *has == 0, "who weighs nothing gets nothing");
                let (share, now) = (f64::from(*had) / sum(before).max(1.0), f64::from(*has) / sum(after).max(1.0));
                let slack = (weights.len() + 1) as f64 / sum(after).max(1.0);
                prop_assert!((share - now).abs() <= slack || sum(after) == 0.0);
            }
        }
        prop_assert!(sum(&weighed) == 0.0 || sum(&out) > 0.0, "somebody is asked where somebody could be");
    }

    #[test]
    fn what_stays_grows_with_what_is_in_service_and_is_all_from_five_sevenths_on(
        (weights, own, shares) in groups(), better in any::<prop::sample::Index>(),
    ) {
        let zones = Zones::of(&zoned(&weights, own), Some("a")).unwrap();
        let mut weighed: Vec<u32> = weights.iter().zip(&shares).map(|(weight, share)| weight * share * 100).collect();
        let part = zones.part(&weighed);
        let (have, whole) = (weighed[..own].iter().sum::<u32>(), weights[..own].iter().sum::<u32>() * 1000);
        let want = (f64::from(have) / f64::from(whole) * 1400.0).min(1000.0);
        prop_assert!((f64::from(part) - want).abs() <= 1.0, "{part}, not {want}");
        let better = better.index(own);
        weighed[better] = weights[better] * 1000;
        prop_assert!(zones.part(&weighed) >= part);
    }

    #[test]
    fn by_turns_the_zone_s_servers_are_chosen_exactly_by_weight(weights in prop::collection::vec(1_u32..=20, 2..8)) {
        let all: Vec<u32> = weights.iter().chain(&[7, 9]).copied().collect();
        let zones = Zones::of(&zoned(&all, weights.len()), Some("a")).unwrap();
        let (mut out, mut turns, mut chosen) = (Vec::new(), vec![0; all.len()], vec![0; all.len()]);
        let weighed: Vec<u32> = all.iter().map(|weight| weight * 1000).collect();
        zones.prefer(1000, &weighed, &mut out);
        let round: u32 = weights.iter().sum();
        for _ in 0..round {
            chosen[round_robin(&out, &mut turns).unwrap()] += 1;
        }
        prop_assert_eq!(&chosen[..weights.len()], &weights[..]);
    }
}

#[test]
fn without_a_zone_of_its_own_or_another_nobody_is_preferred() {
    let members = zoned(&[1, 1], 1);
    assert!(Zones::of(&members, None).is_none());
    assert!(Zones::of(&members, Some("c")).is_none());
    assert!(Zones::of(&zoned(&[1, 1], 2), Some("a")).is_none());
    let backup = Member { backup: true, ..members[0].clone() };
    assert!(Zones::of(&[backup, members[1].clone()], Some("a")).is_none());
    let unsaid = Member { zone: None, ..members[1].clone() };
    assert!(Zones::of(&[members[0].clone(), unsaid], Some("a")).is_some());
}

#[tokio::test]
async fn all_stay_in_the_zone_while_enough_of_it_is_well_and_leave_it_when_none_is_however_they_are_balanced()
{
    for balance in BALANCES {
        let scene = Scene::of(zoned(&[1, 1, 1, 1, 1, 1], 4), |config| {
            at_home(config);
            config.balance = balance.clone();
        });
        // Three of four: more than five sevenths.
        scene.fail(0, 3);
        let places = scene.places(200).await;
        assert!(places.iter().all(|place| (1..4).contains(place)), "{balance:?}: {places:?}");
        assert!((1..4).all(|place| places.contains(&place)), "{balance:?}: each of them is asked");
        assert_eq!(scene.shared.spilled(), 0);
        (1..4).for_each(|at| scene.fail(at, 3));
        let places = scene.places(200).await;
        assert!(places.iter().all(|place| *place > 3), "{balance:?}: {places:?}");
        assert_eq!(scene.shared.spilled(), 200);
        // Back: nobody stays away for longer than need be.
        scene.later(11);
        assert!(scene.places(50).await.iter().all(|place| *place < 4), "{balance:?}");
    }
}

#[tokio::test]
async fn a_zone_that_is_half_well_keeps_seven_tenths() {
    // Each request is over before the next: there is never anything under way to go by.
    for balance in BALANCES {
        let scene = Scene::of(zoned(&[2, 2, 1, 3], 2), |config| {
            at_home(config);
            config.balance = balance.clone();
        });
        scene.fail(0, 3);
        let places = scene.places(4000).await;
        let of = |place: usize| places.iter().filter(|at| **at == place).count();
        assert_eq!(of(0), 0);
        assert!((2650..=2950).contains(&of(1)), "{balance:?}: {}", of(1));
        assert_eq!(scene.shared.spilled() as usize, of(2) + of(3));
        // The heavier is the emptier for its weight, where that is what is looked at.
        let by_load = matches!(balance, Balance::LeastConnections | Balance::RandomTwo);
        assert!(of(3) > of(2) && (by_load || of(2) > 0), "{balance:?}: and the rest by weight");
    }
}

#[tokio::test]
async fn what_is_under_way_piles_up_in_the_same_parts() {
    for balance in [Balance::LeastConnections, Balance::RandomTwo] {
        let scene = Scene::of(zoned(&[1, 1, 1, 1], 2), |config| {
            at_home(config);
            config.balance = balance.clone();
        });
        scene.fail(0, 3);
        let mut flights = Vec::new();
        for key in 0..200 {
            flights.push(scene.group.begin(key).await.unwrap());
        }
        let own = flights.iter().filter(|flight| flight.place() == 1).count();
        assert_eq!(own, 140, "{balance:?}: of 200");
    }
}

#[tokio::test]
async fn a_zone_that_is_full_sends_on_instead_of_having_anybody_wait() {
    for balance in BALANCES {
        let scene = Scene::of(zoned(&[1, 1, 1], 2), |config| {
            at_home(config);
            config.balance = balance.clone();
            config.bounds.max_connections = 2;
            config.bounds.queue = 0;
        });
        let mut flights = Vec::new();
        for key in 0..6 {
            flights.push(scene.group.begin(key).await.unwrap());
        }
        let places: Vec<_> = flights.iter().map(|flight| flight.place()).collect();
        assert!(
            places[..4].iter().all(|place| *place < 2) && places[4..] == [2, 2],
            "{balance:?}: {places:?}"
        );
        assert_eq!(scene.shared.spilled(), 2);
        assert_eq!(scene.group.begin(9).await.unwrap_err(), NoServer::Busy);
        flights.remove(0);
        assert!(scene.group.begin(9).await.unwrap().place() < 2);
    }
}

#[tokio::test]
async fn another_zone_that_is_down_as_a_whole_does_not_send_requests_to_it() {
    for balance in BALANCES {
        let scene = Scene::of(zoned(&[1; 10], 2), |config| {
            at_home(config);
            (config.balance, config.passive.panic) = (balance.clone(), 30);
        });
        (2..10).for_each(|at| scene.fail(at, 3));
        let places = scene.places(40).await;
        assert!(places.iter().all(|place| *place < 2), "{balance:?}: {places:?}");
    }
}

#[tokio::test]
async fn when_health_is_not_looked_at_zones_are_not_either() {
    let scene = Scene::of(zoned(&[1, 1, 1], 1), |config| {
        at_home(config);
        config.passive.panic = 30;
    });
    (0..3).for_each(|at| scene.fail(at, 3));
    let places = scene.places(30).await;
    assert!((0..3).all(|place| places.iter().filter(|at| **at == place).count() == 10), "{places:?}");
}

#[tokio::test]
async fn who_was_tried_in_the_zone_is_tried_there_again_if_anybody_else_is() {
    for balance in BALANCES {
        let scene = Scene::of(zoned(&[1, 1, 1], 2), |config| {
            at_home(config);
            config.balance = balance.clone();
        });
        let first = scene.group.begin(0).await.unwrap().place();
        let others: Vec<_> = (0..40).map(|_| scene.group.another(0, &[first]).unwrap().place()).collect();
        assert!(others.iter().all(|place| *place == 1 - first), "{balance:?}: {others:?}");
        assert_eq!(scene.group.another(0, &[0, 1]).unwrap().place(), 2);
        assert_eq!(scene.shared.spilled(), 1);
    }
}

#[tokio::test]
async fn who_leaves_the_zone_after_waiting_in_line_is_counted_too() {
    let scene = Scene::of(zoned(&[1, 1], 1), |config| {
        at_home(config);
        (config.bounds.max_connections, config.bounds.queue) = (1, 1);
    });
    let (own, other) = (scene.group.begin(0).await.unwrap(), scene.group.begin(1).await.unwrap());
    assert_eq!((own.place(), other.place(), scene.shared.spilled()), (0, 1, 1));
    let mut held = Vec::new();
    for (ends, place, spilled) in [(other, 1, 2), (own, 0, 2)] {
        let mut waits = Box::pin(scene.group.begin(2));
        assert!(waits.as_mut().now_or_never().is_none(), "it waits");
        drop(ends);
        let flight = waits.await.unwrap();
        assert_eq!((flight.place(), scene.shared.spilled()), (place, spilled));
        held.push(flight);
    }
}
