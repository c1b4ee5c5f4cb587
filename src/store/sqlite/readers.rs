//! The reading side of a file: a few read-only connections. In WAL mode each answers from the last
//! committed transaction and never waits for the writer; only more questions at once than there are
//! connections wait, for each other, for microseconds.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use super::{Site, connection};
use crate::store::error::StoreError;

/// One for each core of a small machine; each costs a page cache of at most 2 MB, so those after the
/// first are opened when they are first needed.
const CONNECTIONS: usize = 4;

/// The readers of one namespace's file.
pub(in crate::store) struct Readers<S> {
    pub(super) site: Site,
    connections: [Mutex<Option<Connection>>; CONNECTIONS],
    turn: AtomicUsize,
    schema: PhantomData<S>,
}

impl<S> Readers<S> {
    pub(super) fn open(site: Site) -> Result<Self, StoreError> {
        let mut first = Some(connection::reader(&site)?);
        let connections = std::array::from_fn(|_| Mutex::new(first.take()));
        Ok(Self { site, connections, turn: AtomicUsize::new(0), schema: PhantomData })
    }

    /// Asks on the first connection that is free, or waits for one in turn.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut place = self.place();
        let connection = match &mut *place {
            Some(connection) => connection,
            none => none.insert(connection::reader(&self.site)?),
        };
        ask(connection).map_err(|error| self.site.error(error))
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
