//! What a limiter lets through, whom it tells apart, and what a flood of clients does to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::limiter::{Limiter, Limiters, Past, Scope, Spec, Subject, Ticks};
use crate::config::rates::{Rate, RateBy};

/// Limiters whose time is the test's.
struct World {
    now: Arc<AtomicU64>,
    limiters: Limiters,
}

impl World {
    fn with_room_for(keys: usize) -> Self {
        let now = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&now);
        let ticks = Ticks::new(move || Duration::from_millis(read.load(Ordering::SeqCst)));
        Self { now, limiters: Limiters::new(keys, ticks) }
    }

    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    fn limiter(&self, rate: &str, burst: u32) -> Arc<Limiter> {
        self.limiters.limiter(spec(Scope::Address, rate, burst))
    }
}

fn spec(scope: Scope, rate: &str, burst: u32) -> Spec {
    let rate = rate.parse::<Rate>().unwrap().burst(NonZeroU32::new(burst).unwrap());
    Spec { scope, rate, ipv6_prefix: 64 }
}

fn at(address: &str) -> Subject {
    Subject::Address(address.parse().unwrap())
}

fn v4(number: u32) -> Subject {
    Subject::Address(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// How many of `tries` pass.
fn passed(limiter: &Limiter, subject: Subject, tries: usize) -> usize {
    (0..tries).filter(|_| limiter.take(subject).is_ok()).count()
}

#[test]
fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
    let world = World::with_room_for(100);
    let limiter = world.limiter("2/s", 5);
    let ada = at("192.0.2.1");
    assert_eq!(passed(&limiter, ada, 20), 5);
    assert_eq!(limiter.take(ada), Err(Past { wait: Duration::from_millis(500) }));
    world.pass(Duration::from_millis(1000));
    assert_eq!(passed(&limiter, ada, 20), 2);
    world.pass(Duration::from_secs(3600));
    assert_eq!(passed(&limiter, ada, 20), 5, "no more than the bucket holds");
    assert_eq!(passed(&limiter, at("192.0.2.2"), 20), 5, "another client's bucket is another");
}

#[test]
fn a_look_counts_nothing() {
    let world = World::with_room_for(100);
    let limiter = world.limiter("1/m", 2);
    let ada = at("192.0.2.1");
    assert!((0..10).all(|_| limiter.look(ada).is_ok()));
    assert_eq!(world.limiters.crowd(), (0, 0), "nobody is remembered for a look");
    assert_eq!(passed(&limiter, ada, 10), 2);
    assert_eq!(limiter.look(ada), Err(Past { wait: Duration::from_secs(60) }));
}

#[test]
fn an_ipv6_prefix_is_one_client_and_a_mapped_address_is_the_ipv4_one() {
    let world = World::with_room_for(100);
    let limiter = world.limiter("1/m", 1);
    for (first, same) in
        [("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), ("192.0.2.1", "::ffff:192.0.2.1"), ("::", "::1")]
    {
        assert!(limiter.take(at(first)).is_ok(), "{first}");
        assert!(limiter.take(at(same)).is_err(), "{same}");
    }
    assert!(limiter.take(at("2001:db8:1:3::1")).is_ok());
    assert!(limiter.take(at("192.0.2.2")).is_ok());
    let ipv6_prefix = 56;
    let wider = world.limiters.limiter(Spec { ipv6_prefix, ..spec(Scope::Address, "1/m", 1) });
    assert!(wider.take(at("2001:db8:1:200::1")).is_ok());
    assert!(wider.take(at("2001:db8:1:2ff::1")).is_err());
}

#[test]
fn headers_say_what_is_left_and_when_it_is_whole_again() {
    let world = World::with_room_for(100);
    let limiter = world.limiters.limiter(spec(Scope::Route("r".to_owned(), RateBy::Route), "10/s", 20));
    assert_eq!(limiter.policy(), "\"route\";q=20;w=2");
    let first = limiter.take(Subject::All);
    assert_eq!(limiter.standing(first), "\"route\";r=19;t=1");
    assert_eq!(passed(&limiter, Subject::All, 9), 9);
    assert_eq!(limiter.standing(limiter.take(Subject::All)), "\"route\";r=9;t=2");
    assert_eq!(passed(&limiter, Subject::All, 100), 9);
    assert_eq!(limiter.standing(limiter.look(Subject::All)), "\"route\";r=0;t=2");
}

#[test]
fn a_million_addresses_of_one_provider_take_bounded_memory_and_leave_others_in_peace() {
    const ROOM: usize = 10_000;
    let world = World::with_room_for(ROOM);
    let limiter = world.limiter("1/m", 3);
    let known = at("192.0.2.1");
    assert!(limiter.take(known).is_ok());
    // 10.0.0.0/12: sixteen neighbourhoods of 65,536 addresses each.
    let flood = |number: u32| v4(0x0a00_0000 + number);
    let served = (0..1_000_000).filter(|number| limiter.take(flood(*number)).is_ok()).count();
    let (own, crowded) = world.limiters.crowd();
    assert_eq!(own, ROOM);
    assert!(crowded <= 16 * 3, "{crowded}");
    assert!((ROOM - 1..=ROOM + 16 * 3).contains(&served), "the flood is cut: {served}");
    // Who was known has the whole of their own bucket still.
    assert_eq!(passed(&limiter, known, 10), 2);
    // And who comes new from elsewhere is served, sharing with few.
    let others = (0..200).filter(|number| limiter.take(v4(0x5000_0000 + (number << 16))).is_ok()).count();
    assert!(others > 150, "{others} of 200 new clients elsewhere");
    // Once the flood's buckets are full again there is room.
    world.pass(Duration::from_secs(200));
    assert_eq!(passed(&limiter, at("203.0.113.1"), 10), 3);
    assert_eq!(passed(&limiter, at("203.0.113.2"), 10), 3);
    world.limiters.sweep();
    assert_eq!(world.limiters.crowd().0, 2);
}

/// The /64 of that number in 2001:db8::/32.
fn network(number: u128) -> Subject {
    Subject::Address(IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (number << 64))))
}

#[test]
fn one_ipv6_site_takes_its_share_of_the_room_and_no_more() {
    let world = World::with_room_for(6400);
    let limiter = world.limiter("1/m", 3);
    // The second time its share was used up by others, whose buckets are full again.
    let rounds: [Vec<u128>; 2] = [(0..65_536).collect(), (0..65_536).rev().collect()];
    for numbers in rounds {
        let served = numbers.into_iter().filter(|number| limiter.take(network(*number)).is_ok()).count();
        assert_eq!(served, 100 + 3, "its share, and one bucket for all the rest");
        assert_eq!(world.limiters.crowd().0, 100);
        // Everybody else has a bucket of their own: the next site, other providers, IPv4.
        for number in 0..100 {
            let [next, other] = [network(65_536 + number), at(&format!("2a00:{number:x}::1"))];
            assert_eq!((passed(&limiter, next, 9), passed(&limiter, other, 9)), (3, 3), "{number}");
        }
        world.pass(Duration::from_secs(200));
    }
    world.limiters.sweep();
    assert_eq!(world.limiters.crowd().0, 0);
}

#[test]
fn one_ipv6_provider_takes_a_quarter_of_the_room_however_many_sites_it_has() {
    let world = World::with_room_for(6400);
    let limiter = world.limiter("1/m", 1);
    // 200 networks in each of 1,000 sites.
    let networks = (0..200_000_u128).map(|number| network(((number / 200) << 16) | (number % 200)));
    let served = networks.filter(|network| limiter.take(*network).is_ok()).count();
    assert_eq!(world.limiters.crowd().0, 1600);
    // 16 sites' shares, a bucket for what is past each, and one for the rest.
    assert!((1600..=1600 + 16 + 1).contains(&served), "{served}");
    assert!((0..1000).all(|number| limiter.take(v4(number)).is_ok()));
}

#[test]
fn quick_clients_in_any_number_need_no_more_room_than_are_active_at_once() {
    let world = World::with_room_for(2000);
    let limiter = world.limiter("1000/s", 10);
    for round in 0..100_u32 {
        let served = (0..1000).filter(|number| limiter.take(v4(round * 1000 + number)).is_ok()).count();
        assert_eq!(served, 1000);
        world.pass(Duration::from_millis(200));
    }
    assert_eq!(world.limiters.crowd().1, 0, "nobody had to share");
}

#[test]
fn a_flood_of_addresses_takes_no_room_from_users_and_routes() {
    let world = World::with_room_for(1000);
    let addresses = world.limiter("1/m", 1);
    assert!((0..5000).any(|number| addresses.take(v4(number)).is_err()), "past its room");
    let users = world.limiters.limiter(spec(Scope::User, "1/m", 1));
    let all = (0..1000).all(|number| users.take(Subject::Id(Uuid::from_u128(number))).is_ok());
    assert!(all);
}

#[test]
fn a_flood_at_one_route_takes_no_room_from_another() {
    let world = World::with_room_for(1000);
    let route = |name: &str| Scope::Route(name.to_owned(), RateBy::Address);
    let flooded = world.limiters.limiter(spec(route("a"), "1/m", 1));
    assert!((0..5000).any(|number| flooded.take(v4(number)).is_err()), "past its room");
    let other = world.limiters.limiter(spec(route("b"), "1/m", 1));
    assert!((0..1000).all(|number| other.take(v4(number)).is_ok()));
}

#[test]
fn a_rate_that_a_reload_leaves_as_it_was_keeps_its_buckets() {
    let world = World::with_room_for(100);
    let before = world.limiter("1/m", 1);
    assert!(before.take(at("192.0.2.1")).is_ok());
    let after = world.limiter("1/m", 1);
    assert!(after.take(at("192.0.2.1")).is_err());
    let changed = world.limiter("2/m", 1);
    assert!(changed.take(at("192.0.2.1")).is_ok(), "a new rate starts afresh");
    drop((before, after));
    assert_eq!(world.limiters.crowd().0, 1, "a rate that nobody uses is gone, and its room is free");
    assert!(passed(&changed, v4(7), 1) == 1);
}

#[test]
fn threads_that_ask_at_once_get_no_more_than_one_would() {
    let world = World::with_room_for(100);
    let limiter = world.limiter("1/h", 1000);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| served.fetch_add(passed(&limiter, Subject::All, 1000), Ordering::SeqCst));
        }
    });
    assert_eq!(served.into_inner(), 1000);
}
