//! The throttle under whatever comes: random histories, and more keys than it has room for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::auth::throttle::bucket::Pace;
use crate::auth::throttle::table::{Key, SHARED, Table};
use crate::auth::throttle::{Attempt, Standing, Throttle};
use crate::config::throttle::Throttle as Config;
use crate::model::email::Email;
use crate::model::master_key::MasterKey;
use crate::model::random::SeededRng;
use crate::model::time::{ManualClock, Timestamp};

fn throttle(config: &Config) -> (Throttle, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
    let rng = SeededRng::new(1);
    (Throttle::new(config, &MasterKey::generate(&rng), clock.clone(), &rng), clock)
}

fn email(n: usize) -> Email {
    format!("p{n}@example.com").parse().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Begin { account: usize, address: u8, known: bool },
    End { at: usize, right: bool },
    Withdraw { at: usize },
    Pass(u64),
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_usize..3, 0_u8..40, prop::bool::weighted(0.1))
            .prop_map(|(account, address, known)| Step::Begin { account, address, known }),
        6 => (any::<prop::sample::Index>(), prop::bool::weighted(0.1))
            .prop_map(|(at, right)| Step::End { at: at.index(1 << 16), right }),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::Withdraw { at: at.index(1 << 16) }),
        2 => (0_u64..4000).prop_map(Step::Pass),
        1 => Just(Step::Purge),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    /// What strangers and other accounts' devices do leaves a device that made no mistake free to
    /// try, at every moment, in a roomy table as in one that is always full.
    #[test]
    fn nothing_that_others_do_holds_up_a_known_device(steps in steps(), entries in 0_usize..20) {
        let (throttle, clock) = throttle(&Config { entries, ..Config::default() });
        let owner = email(0);
        let mut under_way: Vec<Attempt> = Vec::new();
        for step in steps {
            match step {
                Step::Begin { account, address, known } => {
                    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, address));
                    // Account 0's device is the owner's; whoever is known elsewhere is so to others.
                    let standing =
                        if known && account > 0 { Standing::Device([account as u8; 16]) } else { Standing::Stranger };
                    under_way.extend(throttle.begin(&email(account), standing, Some(address)).ok());
                }
                Step::End { at, right } if !under_way.is_empty() => {
                    let attempt = under_way.swap_remove(at % under_way.len());
                    if right { attempt.right() } else { attempt.wrong() }
                }
                Step::Withdraw { at } if !under_way.is_empty() => {
                    under_way.swap_remove(at % under_way.len()).withdraw();
                }
                Step::Pass(seconds) => clock.advance(Duration::from_secs(seconds)),
                Step::Purge => throttle.purge(),
                Step::End { .. } | Step::Withdraw { .. } => {}
            }
            let own = throttle.begin(&owner, Standing::Device([9; 16]), None);
            prop_assert!(own.is_ok(), "{:?}", own.err());
            own.map(Attempt::withdraw).unwrap();
        }
        // Nothing stays reserved, and nothing stays at all once it is forgotten.
        drop(under_way);
        clock.advance(Duration::from_secs(24 * 3600));
        throttle.purge();
        prop_assert!(throttle.tally().entries.iter().all(|(_, count)| *count == 0));
    }
}

#[test]
fn a_million_keys_take_bounded_room_and_push_out_nobody() {
    let (pace, now) = (Pace::of_accounts(&Config::default()), Timestamp::from_millis(1_790_000_000_000));
    let most = 4096;
    let mut table = Table::new(pace, most);
    let key = |n: u128| Key { own: n, coarse: n, account: n };
    let fail = |table: &mut Table, key: Key| {
        let slot = table.slot(key, now);
        table.reserve(slot, key);
        table.settle(slot, now, |bucket, pace| bucket.fail(pace, now));
    };
    let target = key(u128::MAX);
    (0..10).for_each(|_| fail(&mut table, target));
    let before = table.slot(target, now);
    let wait = table.wait(before, now);
    assert!(!wait.is_zero());
    for n in 0..1_000_000 {
        fail(&mut table, key(n));
    }
    assert_eq!(table.keys(), most);
    assert_eq!((table.slot(target, now), table.wait(before, now)), (before, wait), "it kept its bucket");
    // Past the bound keys share: made-up ones are slowed down together.
    let late = key(2_000_000);
    let slot = table.slot(late, now);
    assert!(!table.wait(slot, now).is_zero(), "{SHARED} buckets for all of them");
    let later = now.plus(Duration::from_secs(24 * 3600));
    table.purge(later);
    let slot = table.slot(late, later);
    assert_eq!((table.keys(), table.wait(slot, later)), (0, Duration::ZERO), "it all passes");
}

#[test]
fn an_ipv6_customer_is_one_address_however_many_they_use() {
    let (throttle, _) = throttle(&Config { address_free: 3, ..Config::default() });
    let at =
        |network: u16, host: u16| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host)));
    for n in 0..3_u16 {
        throttle.begin(&email(n.into()), Standing::Stranger, at(1, n)).unwrap().wrong();
    }
    assert!(throttle.begin(&email(7), Standing::Stranger, at(1, 7)).is_err());
    assert!(throttle.begin(&email(7), Standing::Stranger, at(2, 7)).is_ok(), "the neighbour");
}

#[test]
fn a_try_that_is_never_settled_has_failed() {
    let (throttle, clock) = throttle(&Config::default());
    for _ in 0..5 {
        drop(throttle.begin(&email(0), Standing::Stranger, None).unwrap());
    }
    assert!(throttle.begin(&email(0), Standing::Stranger, None).is_err());
    clock.advance(Duration::from_secs(1));
    let one = throttle.begin(&email(0), Standing::Stranger, None).unwrap();
    assert!(throttle.begin(&email(0), Standing::Stranger, None).is_err(), "one at a time past the free ones");
    one.right();
    assert!(throttle.begin(&email(0), Standing::Stranger, None).is_ok(), "and the next when it was right");
}
