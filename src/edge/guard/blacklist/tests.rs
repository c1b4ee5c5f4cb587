//! Bans by network, their ends, and what the configuration bans beside them.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn ban(network: &str, expires_at: Option<i64>) -> Ban {
    Ban {
        network: network.parse().unwrap(),
        reason: "test".into(),
        author: "test".into(),
        created_at: Timestamp::default(),
        expires_at: expires_at.map(Timestamp::from_millis),
    }
}

fn banned(list: &Blacklist, address: &str) -> bool {
    list.contains(address.parse().unwrap(), NOW)
}

#[test]
fn a_network_bans_its_addresses_and_no_others() {
    let list = Blacklist::new();
    list.insert(&ban("192.0.2.0/24", None));
    list.insert(&ban("198.51.100.7/32", None));
    list.insert(&ban("2001:db8::/32", None));
    assert!(banned(&list, "192.0.2.255"));
    assert!(!banned(&list, "192.0.3.0"));
    assert!(banned(&list, "198.51.100.7"));
    assert!(!banned(&list, "198.51.100.8"));
    assert!(banned(&list, "2001:db8:ffff::1"));
    assert!(!banned(&list, "2001:db9::1"));
}

#[test]
fn everything_can_be_banned_by_family() {
    let list = Blacklist::new();
    list.insert(&ban("0.0.0.0/0", None));
    assert!(banned(&list, "203.0.113.9"));
    assert!(!banned(&list, "2001:db8::1"));
    list.insert(&ban("::/0", None));
    assert!(banned(&list, "2001:db8::1"));
}

#[test]
fn a_mapped_address_is_the_ipv4_address_it_maps() {
    let list = Blacklist::new();
    list.insert(&ban("192.0.2.1/32", None));
    assert!(banned(&list, "::ffff:192.0.2.1"));
    list.insert(&ban("::ffff:198.51.100.0/120", None));
    assert!(banned(&list, "198.51.100.77"));
    assert!(!banned(&list, "198.51.101.1"));
}

#[test]
fn who_is_banned_twice_is_told_of_the_later_end_and_of_none_where_there_is_none() {
    let list = Blacklist::new();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let until = |text: &str| list.until(address(text), at(1));
    list.insert(&ban("192.0.2.0/24", Some(50_000)));
    list.insert(&ban("192.0.2.1/32", Some(9_000)));
    list.insert(&ban("192.0.2.2/32", Some(90_000)));
    list.insert(&ban("192.0.2.3/32", None));
    list.configure(&["192.0.2.4/32".parse().unwrap()]);
    let terms = Bans { offences: 1, ladder: vec![Duration::from_secs(70)], ..Bans::default() };
    for who in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "198.51.100.1"] {
        list.offend(address(who), &"test".into(), &terms, at(1)).unwrap();
    }
    assert_eq!(
        [until("192.0.2.1"), until("192.0.2.2"), until("192.0.2.9")],
        [71, 90, 50].map(|end| Some(at(end)))
    );
    assert_eq!([until("192.0.2.3"), until("192.0.2.4")], [None, None], "until somebody lifts it");
    assert_eq!((until("198.51.100.1"), until("198.51.100.2")), (Some(at(71)), None));
}

#[test]
fn a_ban_lapses_and_is_forgotten() {
    let list = Blacklist::new();
    list.insert(&ban("192.0.2.1/32", Some(1_000)));
    list.insert(&ban("192.0.2.2/32", Some(1_001)));
    assert!(!banned(&list, "192.0.2.1"));
    assert!(banned(&list, "192.0.2.2"));
    list.forget_lapsed(Timestamp::from_millis(1_000).plus(FORGOTTEN_LATE));
    assert_eq!(list.kept(), 1);
}

#[test]
fn lapsed_bans_are_dropped_a_bounded_number_at_a_time_and_what_was_banned_anew_stays() {
    let list = Blacklist::new();
    let many = u32::try_from(2 * AT_ONCE + 10).unwrap();
    for number in 0..many {
        list.insert(&ban(&format!("{}/32", std::net::Ipv4Addr::from(number)), Some(1_000)));
    }
    list.insert(&ban("0.0.0.1/32", Some(2_000)));
    list.insert(&ban("0.0.0.2/32", None));
    list.insert(&ban("0.0.0.3/32", None));
    list.insert(&ban("0.0.0.3/32", Some(1_000)));
    list.remove("0.0.0.4/32".parse().unwrap());
    assert_eq!(list.ends.lock().len(), list.kept() - 1, "one entry for each ban with an end");
    let now = Timestamp::from_millis(1_000).plus(FORGOTTEN_LATE);
    assert_eq!([0; 4].map(|_| list.forget_some(now)), [AT_ONCE, AT_ONCE, 7, 0]);
    assert_eq!((list.kept(), list.ends.lock().len()), (2, 1));
    assert!(banned(&list, "0.0.0.1") && banned(&list, "0.0.0.2") && !banned(&list, "0.0.0.3"));
}

#[test]
fn a_clock_that_jumps_ahead_and_returns_lifts_no_ban() {
    let list = Blacklist::new();
    list.insert(&ban("192.0.2.2/32", Some(1_001)));
    list.forget_lapsed(NOW.plus(Duration::from_secs(3 * 3600)));
    assert!(banned(&list, "192.0.2.2"));
}

#[test]
fn a_removed_ban_bans_no_more_and_a_wider_one_stays() {
    let list = Blacklist::new();
    list.insert(&ban("192.0.2.1/32", None));
    list.insert(&ban("192.0.2.0/24", None));
    list.remove("192.0.2.0/24".parse().unwrap());
    assert!(banned(&list, "192.0.2.1"));
    assert!(!banned(&list, "192.0.2.2"));
    list.remove("192.0.2.1/32".parse().unwrap());
    assert_eq!(list.kept(), 0);
}

#[test]
fn what_is_configured_and_what_is_banned_do_not_lift_each_other() {
    let list = Blacklist::new();
    let network = |text: &str| text.parse::<IpNet>().unwrap();
    list.insert(&ban("192.0.2.0/24", None));
    list.configure(&[network("192.0.2.0/24"), network("198.51.100.0/24")]);
    list.remove(network("192.0.2.0/24"));
    assert!(banned(&list, "192.0.2.1") && banned(&list, "198.51.100.1"));
    list.insert(&ban("192.0.2.0/24", None));
    let before = list.version();
    list.configure(&[network("203.0.113.0/24")]);
    assert!(list.version() > before, "open connections must be looked up again");
    assert!(banned(&list, "192.0.2.1") && banned(&list, "203.0.113.1"));
    assert!(!banned(&list, "198.51.100.1"));
    list.forget_lapsed(NOW.plus(FORGOTTEN_LATE * 9));
    assert!(banned(&list, "203.0.113.1"));
}

#[test]
fn every_new_ban_raises_the_version() {
    let list = Blacklist::new();
    let before = list.version();
    list.insert(&ban("192.0.2.1/32", None));
    assert!(list.version() > before);
}
