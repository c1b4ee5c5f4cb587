//! The reading side of a file: a few read-only connections. In WAL mode each answers from the last
//! committed transaction and never waits for the writer; only more questions at once than there are
//! connections wait, for each other, for microseconds.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{Site, connection};
use crate::store::error::StoreError;

/// One for each core of a small machine; each costs a page cache of at most 2 MB.
const CONNECTIONS: usize = 4;

/// The readers of one namespace's file.
pub(in crate::store) struct Readers<S> {
    site: Site,
    connections: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    schema: PhantomData<S>,
}

impl<S> Readers<S> {
    pub(super) fn open(site: Site) -> Result<Self, StoreError> {
        let connections =
            (0..CONNECTIONS).map(|_| connection::reader(&site).map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Self { site, connections, turn: AtomicUsize::new(0), schema: PhantomData })
    }

    /// Asks on a free connection, or waits for one in turn.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let from_turn = self.connections.iter().cycle().skip(turn).take(CONNECTIONS);
        let free = from_turn.clone().find_map(Mutex::try_lock);
        let connection = free.or_else(|| from_turn.clone().next().map(Mutex::lock));
        let Some(connection) = connection else { return Err(self.site.engine(&"no connection")) };
        ask(&connection).map_err(|error| self.site.error(error))
    }
}
