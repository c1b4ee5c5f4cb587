//! The reading side of a file: a few read-only connections. In WAL mode each answers from the last
//! committed transaction and never waits for the writer; only more questions at once than there are
//! connections wait, for each other, for microseconds.
//!
//! Invariant: the first is always open. Where no other can be opened, as when descriptors are used up, it
//! answers alone.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use super::{Site, connection};
use crate::store::error::StoreError;

/// One for each core of a small machine; each costs a page cache of at most 2 MB, so those after the
/// first are opened when they are first needed.
const CONNECTIONS: usize = 4;

/// How a connection is opened.
type Opening = Box<dyn Fn(&Site) -> Result<Connection, StoreError> + Send + Sync>;

/// The readers of one namespace's file.
pub(in crate::store) struct Readers<S> {
    pub(super) site: Site,
    connections: [Mutex<Option<Connection>>; CONNECTIONS],
    turn: AtomicUsize,
    opening: Opening,
    schema: PhantomData<S>,
}

impl<S> Readers<S> {
    pub(super) fn open(site: Site) -> Result<Self, StoreError> {
        let mut first = Some(connection::reader(&site)?);
        let connections = std::array::from_fn(|_| Mutex::new(first.take()));
        let opening = Box::new(connection::reader);
        Ok(Self { site, connections, turn: AtomicUsize::new(0), opening, schema: PhantomData })
    }

    /// Asks on the first connection that is free, or waits for one in turn; for one that is open, if no more
    /// can be opened.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut place = self.place();
        if place.is_none() {
            match (self.opening)(&self.site) {
                Ok(opened) => *place = Some(opened),
                Err(error) => {
                    drop(place);
                    place = self.open_place();
                    if place.is_none() {
                        return Err(error);
                    }
                }
            }
        }
        let Some(connection) = &*place else { return Err(self.site.engine(&"no connection is open")) };
        ask(connection).map_err(|error| self.site.error(error))
    }

    /// One that is open and free, or the first.
    fn open_place(&self) -> MutexGuard<'_, Option<Connection>> {
        let free = self.connections.iter().filter_map(Mutex::try_lock).find(|place| place.is_some());
        free.unwrap_or_else(|| {
            let [first, ..] = &self.connections;
            first.lock()
        })
    }

    fn place(&self) -> MutexGuard<'_, Option<Connection>> {
        let free = self.connections.iter().find_map(Mutex::try_lock);
        free.unwrap_or_else(|| {
            let [first, others @ ..] = &self.connections;
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
            turn.checked_sub(1).and_then(|at| others.get(at)).unwrap_or(first).lock()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use crate::store::sqlite::open;
    use crate::store::sqlite::user::User;

    #[test]
    fn where_no_more_can_be_opened_a_reader_waits_for_one_that_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let (readers, _applier) = open::<User>(folder.path()).unwrap();
        let mut readers = std::sync::Arc::into_inner(readers).unwrap();
        let (tell, tried) = channel();
        readers.opening = Box::new(move |site| {
            let _ = tell.send(());
            Err(site.engine(&"out of descriptors"))
        });
        let seven = || readers.read(|it| it.query_row("SELECT 7", [], |row| row.get::<_, i64>(0)));
        std::thread::scope(|scope| {
            let [first, ..] = &readers.connections;
            let held = first.lock();
            let waiting = scope.spawn(seven);
            tried.recv().unwrap();
            drop(held);
            assert_eq!(waiting.join().unwrap().unwrap(), 7);
        });
        assert_eq!(seven().unwrap(), 7);
    }
}
