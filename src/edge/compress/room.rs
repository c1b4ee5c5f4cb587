//! Room for encoders on one edge thread: each holds up to three megabytes while its answer is under way, so only
//! so many may be, and no client has more than its share: one that takes its answers slowly, or follows what does
//! not end, keeps its encoders for as long. What finds no room goes out as it is, which costs bytes and breaks
//! nothing.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

/// Encoders at a time on one thread.
const MOST: usize = 16;
/// And of one client: an IPv4 address, or an IPv6 site (/48), whose addresses cost it nothing.
const SHARE: usize = 4;

/// One thread's room.
#[derive(Debug, Default)]
pub struct Room {
    /// Whose encoders there are.
    taken: RefCell<Vec<u64>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Rc<Room>,
    client: u64,
}

impl Room {
    /// A place for this client, if one is free.
    pub fn take(room: &Rc<Self>, client: IpAddr) -> Option<Place> {
        let client = neighbourhood(client);
        let mut taken = room.taken.borrow_mut();
        let of_client = taken.iter().filter(|other| **other == client).count();
        if taken.len() >= MOST || of_client >= SHARE {
            return None;
        }
        taken.push(client);
        Some(Place { room: Rc::clone(room), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.borrow_mut();
        if let Some(at) = taken.iter().position(|client| *client == self.client) {
            taken.swap_remove(at);
        }
    }
}

/// No IPv6 site is taken for an IPv4 address: those have a bit that no site's 48 reach.
fn neighbourhood(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => 1 << 63 | u64::from(v4.to_bits()),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 80).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most_of(room: &Rc<Room>, client: &str) -> Vec<Place> {
        std::iter::from_fn(|| Room::take(room, client.parse().unwrap())).collect()
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_they_have_gone() {
        let room = Rc::new(Room::default());
        let mut places: Vec<_> =
            (0..20).flat_map(|number| most_of(&room, &format!("192.0.2.{number}"))).collect();
        assert_eq!(places.len(), MOST);
        places.pop();
        assert_eq!(most_of(&room, "198.51.100.1").len(), 1);
        drop(places);
        assert_eq!(most_of(&room, "198.51.100.1").len(), SHARE);
    }

    #[test]
    fn no_client_takes_more_than_its_share_however_many_addresses_it_has() {
        let room = Rc::new(Room::default());
        let first = most_of(&room, "2001:db8:1::1");
        assert_eq!(first.len(), SHARE);
        assert!(most_of(&room, "2001:db8:1:ffff::2").is_empty());
        let second = most_of(&room, "2001:db8:2::1");
        let third = most_of(&room, "192.0.2.1");
        assert_eq!((second.len(), third.len()), (SHARE, SHARE));
        assert!(most_of(&room, "::ffff:192.0.2.1").is_empty(), "the same, mapped");
        drop((first, second, third));
        assert!(room.taken.borrow().is_empty());
    }
}
