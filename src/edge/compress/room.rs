//! Room for encoders on one edge thread: each holds up to three megabytes while its answer is under way, so only
//! so many may be. What finds no room goes out as it is, which costs bytes and breaks nothing.

use std::cell::Cell;
use std::rc::Rc;

/// Encoders at a time on one thread.
const MOST: usize = 16;

/// One thread's room.
#[derive(Debug)]
pub struct Room {
    free: Cell<usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place(Rc<Room>);

impl Default for Room {
    fn default() -> Self {
        Self { free: Cell::new(MOST) }
    }
}

impl Room {
    /// A place, if one is free.
    pub fn take(room: &Rc<Self>) -> Option<Place> {
        room.free.set(room.free.get().checked_sub(1)?);
        Some(Place(Rc::clone(room)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_again_when_they_have_gone() {
        let room = Rc::new(Room::default());
        let mut places: Vec<_> = std::iter::from_fn(|| Room::take(&room)).collect();
        assert_eq!(places.len(), MOST);
        places.pop();
        assert!(Room::take(&room).is_some());
    }
}
