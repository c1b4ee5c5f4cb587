//! The balancers, by what they come to over many choices.

use proptest::prelude::*;

use super::{Scene, members};
use crate::config::upstream::{Balance, HashBy, Upstream};
use crate::edge::proxy::pool::Connections;
use crate::edge::upstream::balance::{Lots, least_connections, random_two, rendezvous, round_robin};
use crate::edge::upstream::key::hash;
use crate::edge::upstream::local::Group;

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..=20, 1..12)
}

fn total(weights: &[u32]) -> u32 {
    weights.iter().sum()
}

proptest! {
    #[test]
    fn over_a_round_each_is_chosen_exactly_by_its_weight(weights in weights()) {
        let mut turns = vec![0; weights.len()];
        let mut chosen = vec![0; weights.len()];
        for _ in 0..total(&weights) {
            chosen[round_robin(&weights, &mut turns).unwrap()] += 1;
        }
        prop_assert_eq!(&chosen, &weights);
        prop_assert!(turns.iter().all(|turn| *turn == 0), "and the round begins anew");
        prop_assert_eq!(total(&weights) == 0, round_robin(&weights, &mut turns).is_none());
    }

    #[test]
    fn within_a_round_nobody_gets_more_than_one_ahead_of_its_share(weights in weights()) {
        let all = total(&weights);
        let mut turns = vec![0; weights.len()];
        let mut chosen = vec![0_u32; weights.len()];
        for step in 1..=all {
            chosen[round_robin(&weights, &mut turns).unwrap()] += 1;
            for (have, weight) in chosen.iter().zip(&weights) {
                prop_assert!(have * all < step * weight + all * 2, "{chosen:?} of {weights:?} after {step}");
            }
        }
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_chosen(
        servers in prop::collection::vec((0_u32..=5, 0_u32..50), 1..12), lot: u64,
    ) {
        let weights: Vec<u32> = servers.iter().map(|(weight, _)| *weight).collect();
        let cost = |at: usize| f64::from(servers[at].1 + 1) / f64::from(weights[at]);
        match least_connections(&weights, |at| servers[at].1, lot) {
            None => prop_assert_eq!(total(&weights), 0),
            Some(at) => {
                let others = (0..weights.len()).filter(|other| weights[*other] > 0);
                prop_assert!(weights[at] > 0 && others.map(cost).all(|other| cost(at) <= other));
            }
        }
    }

    #[test]
    fn of_two_drawn_the_better_is_chosen_and_never_one_without_weight(weights in weights(), seed: u64) {
        let mut lots = Lots::new(seed);
        for _ in 0..50 {
            match random_two(&weights, |at| at as u32, (lots.draw(), lots.draw())) {
                None => prop_assert_eq!(total(&weights), 0),
                Some(at) => prop_assert!(weights[at] > 0),
            }
        }
    }

    #[test]
    fn a_server_that_goes_takes_its_own_keys_with_it_and_no_others(
        weights in prop::collection::vec(1_u32..=20, 2..12), gone: prop::sample::Index, seed: u64,
    ) {
        let gone = gone.index(weights.len());
        let mut without = weights.clone();
        without[gone] = 0;
        let mut lots = Lots::new(seed);
        let server = |at: usize| hash(&at.to_le_bytes());
        for _ in 0..200 {
            let key = lots.draw();
            let (before, after) = (rendezvous(&weights, server, key), rendezvous(&without, server, key));
            prop_assert_ne!(after, Some(gone));
            prop_assert!(before == after || before == Some(gone), "a key of another server moved");
        }
    }
}

/// How far counts are from their shares, in standard deviations of the worst.
fn deviation(chosen: &[u32], weights: &[u32]) -> f64 {
    let (tries, all) = (f64::from(total(chosen)), f64::from(total(weights)));
    let off = |(have, weight): (&u32, &u32)| {
        let share = f64::from(*weight) / all;
        (f64::from(*have) - tries * share).abs() / (tries * share * (1.0 - share)).sqrt()
    };
    chosen.iter().zip(weights).map(off).fold(0.0, f64::max)
}

#[test]
fn keys_and_lots_are_spread_by_weight() {
    let weights = [1, 2, 3, 10];
    let mut lots = Lots::new(7);
    let (mut hashed, mut drawn) = ([0; 4], [0; 4]);
    let server = |at: usize| hash(&at.to_le_bytes());
    for key in 0..40_000_u64 {
        hashed[rendezvous(&weights, server, hash(&key.to_le_bytes())).unwrap()] += 1;
        // All equally loaded for their weights: nothing but the draw decides.
        let load = |at: usize| weights[at] * 100 - 1;
        drawn[random_two(&weights, load, (lots.draw(), lots.draw())).unwrap()] += 1;
    }
    assert!(deviation(&hashed, &weights) < 5.0, "{hashed:?}");
    assert!(deviation(&drawn, &weights) < 5.0, "{drawn:?}");
}

#[test]
fn two_choices_keep_the_load_even_where_one_does_not() {
    let weights = [1; 20];
    let mut lots = Lots::new(3);
    let (mut two, mut one) = ([0_u32; 20], [0_u32; 20]);
    for _ in 0..20_000 {
        let at = random_two(&weights, |at| two[at], (lots.draw(), lots.draw())).unwrap();
        two[at] += 1;
        one[random_two(&weights, |_| 0, (lots.draw(), lots.draw())).unwrap()] += 1;
    }
    let spread = |of: &[u32]| of.iter().max().unwrap() - of.iter().min().unwrap();
    assert!(spread(&two) <= 6 && spread(&one) > 30, "{two:?} {one:?}");
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_server_on_every_thread() {
    let balance = |config: &mut Upstream| config.balance = Balance::Hash(HashBy::Address);
    let scene = Scene::of(members(&[1, 1, 1], 0), balance);
    let other = Group::new(&scene.shared, 5, &Connections::new(1), None);
    for key in 0..50 {
        let here = scene.group.begin(key).await.unwrap().place();
        assert_eq!(other.begin(key).await.unwrap().place(), here);
    }
}
