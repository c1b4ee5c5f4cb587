//! The ladder's steps, its memory and its room, by a clock that the test moves.

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn terms() -> Bans {
    let ladder = vec![SECOND * 60, SECOND * 600];
    Bans { offences: 3, window: SECOND * 30, ladder, forget: SECOND * 3600, ..Bans::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Offends once, so many seconds after the start; the seconds of the ban that it earns.
fn offend(ladder: &Ladder, who: &str, at: u64) -> Option<u64> {
    let now = START.plus(SECOND * u32::try_from(at).unwrap());
    let earned = ladder.offend(address(who), &"test".into(), &terms(), now)?;
    assert_eq!(earned.since, now);
    Some(earned.until.since(now).as_secs())
}

fn banned(ladder: &Ladder, who: &str, at: u64) -> bool {
    ladder.until(address(who), START.plus(Duration::from_secs(at))).is_some()
}

#[test]
fn each_ban_is_longer_than_the_one_before_and_the_last_step_is_the_longest() {
    let ladder = Ladder::default();
    let at = |at: u64| offend(&ladder, "192.0.2.1", at);
    assert_eq!([at(0), at(1), at(2)], [None, None, Some(60)]);
    assert!(banned(&ladder, "192.0.2.1", 61) && !banned(&ladder, "192.0.2.1", 62));
    assert!(!banned(&ladder, "192.0.2.2", 3), "nobody else is");
    assert_eq!([at(10), at(11), at(12), at(13)], [None; 4], "what was under way counts for nothing");
    assert_eq!([at(100), at(101), at(102)], [None, None, Some(600)]);
    assert_eq!([at(1000), at(1001), at(1002)], [None, None, Some(600)]);
    assert_eq!(ladder.standing(START.plus(SECOND * 1003)).bans, 3);
}

#[test]
fn offences_far_apart_earn_nothing_and_quiet_is_rewarded() {
    let ladder = Ladder::default();
    let at = |at: u64| offend(&ladder, "192.0.2.1", at);
    assert_eq!([at(0), at(20), at(30), at(59), at(60), at(89)], [None; 6]);
    assert_eq!(at(89), Some(60));
    assert_eq!([at(89 + 60), at(150), at(151)], [None, None, Some(600)]);
    // An hour after that ban's end it begins anew.
    assert_eq!([at(5000), at(5001), at(5002)], [None, None, Some(60)]);
}

#[test]
fn an_ipv6_client_is_its_subnet_and_a_mapped_one_its_ipv4_address() {
    let ladder = Ladder::default();
    for (at, who) in ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:0:ffff::"].into_iter().enumerate() {
        offend(&ladder, who, at as u64);
    }
    assert!(banned(&ladder, "2001:db8::9", 3) && !banned(&ladder, "2001:db8:0:1::1", 3));
    for at in 0..3 {
        offend(&ladder, "::ffff:192.0.2.1", at);
    }
    assert!(banned(&ladder, "192.0.2.1", 3));
    let networks: Vec<String> =
        ladder.page(None, 9, START).iter().map(|earned| earned.network.to_string()).collect();
    assert_eq!(networks, ["192.0.2.1/32", "2001:db8::/64"]);
}

#[test]
fn who_is_pardoned_begins_anew_and_a_list_has_pages() {
    let ladder = Ladder::default();
    let who = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    for who in who {
        (0..3).for_each(|at| _ = offend(&ladder, who, at));
    }
    let network = |text: &str| text.parse::<IpNet>().unwrap();
    let page = |after| ladder.page(after, 2, START.plus(SECOND * 3));
    let networks = |page: Vec<Earned>| page.into_iter().map(|earned| earned.network).collect::<Vec<_>>();
    assert_eq!(networks(page(None)), [network("192.0.2.1/32"), network("192.0.2.2/32")]);
    assert_eq!(networks(page(Some(network("192.0.2.2/32")))), [network("192.0.2.3/32")]);
    assert!(!ladder.pardon(network("192.0.2.0/24"), START), "exactly as it is listed");
    assert!(ladder.pardon(network("192.0.2.1/32"), START.plus(SECOND * 3)));
    assert!(!ladder.pardon(network("192.0.2.1/32"), START.plus(SECOND * 3)));
    assert!(!banned(&ladder, "192.0.2.1", 3) && banned(&ladder, "192.0.2.2", 3));
    assert_eq!(offend(&ladder, "192.0.2.1", 4), None);
}

#[test]
fn who_must_not_be_banned_any_more_is_forgotten_and_nobody_else() {
    let ladder = Ladder::default();
    for who in ["192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::7"] {
        (0..3).for_each(|at| _ = offend(&ladder, who, at));
    }
    offend(&ladder, "192.0.2.2", 3);
    let never = ["192.0.2.0/25", "2001:db8::1/128"].map(|network| network.parse().unwrap());
    let freed = ladder.spare(&never, START.plus(SECOND * 3));
    let networks = ["192.0.2.1/32", "2001:db8::/64"].map(|network| network.parse().unwrap());
    assert_eq!(freed, networks, "its /64 holds one of them");
    // Requests that were under way, by the configuration before.
    (3..10).for_each(|at| assert_eq!(offend(&ladder, "192.0.2.1", at), None));
    assert_eq!(offend(&ladder, "2001:db8::8", 3), None);
    assert!(!banned(&ladder, "192.0.2.1", 3) && !banned(&ladder, "2001:db8::7", 3));
    assert!(banned(&ladder, "192.0.2.200", 3) && banned(&ladder, "198.51.100.1", 3));
    assert_eq!(ladder.standing(START.plus(SECOND * 3)).remembered, 2);
    assert!(ladder.spare(&[], START).is_empty());
    (20..22).for_each(|at| assert_eq!(offend(&ladder, "192.0.2.1", at), None));
    assert!(offend(&ladder, "192.0.2.1", 22).is_some(), "not spared any more");
    ladder.forget(START.plus(SECOND * 100_000));
    assert_eq!(ladder.sentenced.load(Ordering::Relaxed), 0);
}

#[test]
fn memory_is_bounded_and_one_site_does_not_have_all_of_it() {
    let ladder = Ladder::with_room(2048);
    for number in 0..100_000_u128 {
        let own = (0x2001_0db8 << 96) | (number << 64);
        ladder.offend(IpAddr::V6(Ipv6Addr::from_bits(own)), &"test".into(), &terms(), START);
    }
    assert_eq!(ladder.standing(START).remembered, 64, "two /48 have a 64th of the room each");
    for number in 0..4096_u128 {
        let own = (0x2001_0db8 << 96) | (number << 80);
        ladder.offend(IpAddr::V6(Ipv6Addr::from_bits(own)), &"test".into(), &terms(), START);
    }
    let standing = ladder.standing(START);
    assert_eq!(standing.remembered, 512, "a /32 has a quarter of it at most");
    assert!(standing.forgone > 90_000);
    for number in 0..4000_u32 {
        ladder.offend(IpAddr::V4(number.into()), &"test".into(), &terms(), START);
    }
    assert_eq!(ladder.standing(START).remembered, 2048);
    // Those who were remembered are not displaced by those who come.
    (0..2).for_each(|at| _ = offend(&ladder, "0.0.0.7", at));
    assert!(banned(&ladder, "0.0.0.7", 2));
    // Room comes back when the windows have closed.
    assert_eq!(offend(&ladder, "203.0.113.9", 31), None);
    assert_eq!(ladder.standing(START).remembered, 2);
    ladder.forget(START.plus(SECOND * 10_000));
    assert_eq!(ladder.standing(START).remembered, 0);
    assert_eq!(ladder.sentenced.load(Ordering::Relaxed), 0);
}
