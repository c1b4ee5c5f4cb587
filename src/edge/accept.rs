//! Which connections are taken in at all: the first stage, before a byte is read or a cipher run.
//!
//! A connection past a budget, or from a banned address, is closed at once: it has cost an
//! `accept(2)` and nothing else. Counted for each address so that one client cannot have them all;
//! an IPv6 client counts as its /64, which is what one customer gets (RFC 6177).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::guard::blacklist::Blacklist;
use crate::model::caller::client_number;
use crate::model::time::Timestamp;
use crate::observe::metrics::Turned;

/// Locks that the per-address counts are spread over.
const SHARDS: usize = 16;

/// The connections that are open, over all edge threads.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicUsize,
    per_address: AtomicUsize,
    open: AtomicUsize,
    addresses: [Mutex<HashMap<u128, usize>>; SHARDS],
}

/// A connection counted; dropping it counts it out.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    /// Whose it is, once that is known.
    client: Option<u128>,
}

/// A connection whose client the proxy before it has not named yet.
#[derive(Debug)]
pub struct Unnamed {
    stream: TcpStream,
    permit: Permit,
}

/// A connection that was taken in.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    address: IpAddr,
    permit: Permit,
}

impl Budget {
    /// At most `limit` connections, and `per_address` from one client.
    pub fn new(limit: usize, per_address: usize) -> Arc<Self> {
        let addresses = std::array::from_fn(|_| Mutex::default());
        let (limit, per_address) = (limit.into(), per_address.into());
        Arc::new(Self { limit, per_address, open: AtomicUsize::new(0), addresses })
    }

    /// Other bounds from now on. Nobody who is in is put out.
    pub fn resize(&self, limit: usize, per_address: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.per_address.store(per_address, Ordering::Relaxed);
    }

    fn shard(&self, client: u128) -> &Mutex<HashMap<u128, usize>> {
        // An IPv6 client's bits are all in the upper half, an IPv4 one's in the lower.
        let mixed = (client >> 64) ^ client;
        let [first, ..] = &self.addresses;
        let place = usize::try_from((mixed ^ (mixed >> 16)) % SHARDS as u128).unwrap_or(0);
        self.addresses.get(place).unwrap_or(first)
    }

    /// A permit for a client that is not known yet.
    fn enter(self: &Arc<Self>) -> Result<Permit, Turned> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= self.limit.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return Err(Turned::Budget);
        }
        Ok(Permit { budget: Arc::clone(self), client: None })
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Turned> {
        let mut permit = self.enter()?;
        permit.name(address)?;
        Ok(permit)
    }
}

impl Permit {
    /// Counts it for this client too, if that may have one more.
    fn name(&mut self, address: IpAddr) -> Result<(), Turned> {
        let client = client_number(address);
        let mut counts = self.budget.shard(client).lock();
        let count = counts.entry(client).or_insert(0);
        if *count >= self.budget.per_address.load(Ordering::Relaxed) {
            return Err(Turned::AddressBudget);
        }
        *count += 1;
        drop(counts);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, Ordering::AcqRel);
        let Some(client) = self.client else { return };
        let mut counts = self.budget.shard(client).lock();
        if let Some(count) = counts.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

impl Accepted {
    /// Takes a connection in, or says why not and gives it back to be closed.
    pub fn admit(
        stream: TcpStream,
        address: IpAddr,
        (budget, blacklist, now): (&Arc<Budget>, &Blacklist, Timestamp),
    ) -> Result<Self, (Turned, TcpStream)> {
        let address = address.to_canonical();
        if blacklist.contains(address, now) {
            return Err((Turned::Blacklist, stream));
        }
        let permit = match budget.take(address) {
            Ok(permit) => permit,
            Err(turned) => return Err((turned, stream)),
        };
        Ok(Self::new(stream, address, permit))
    }

    fn new(stream: TcpStream, address: IpAddr, permit: Permit) -> Self {
        // Small answers must not wait for an ACK; failing to say so is no reason to refuse.
        let _ = stream.set_nodelay(true);
        Self { stream, address, permit }
    }

    /// The client's address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// For the stage that reads from it.
    pub fn into_parts(self) -> (TcpStream, IpAddr, Permit) {
        (self.stream, self.address, self.permit)
    }
}

impl Unnamed {
    /// Takes in a proxy's connection; it counts for nobody but all.
    pub fn admit(stream: TcpStream, budget: &Arc<Budget>) -> Result<Self, (Turned, TcpStream)> {
        match budget.enter() {
            Ok(permit) => Ok(Self { stream, permit }),
            Err(turned) => Err((turned, stream)),
        }
    }

    /// For reading who it is.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Takes it in as this client's, or says why not and gives it back to be closed.
    pub fn of(
        mut self,
        address: IpAddr,
        (blacklist, now): (&Blacklist, Timestamp),
    ) -> Result<Accepted, (Turned, TcpStream)> {
        let address = address.to_canonical();
        if blacklist.contains(address, now) {
            return Err((Turned::Blacklist, self.stream));
        }
        match self.permit.name(address) {
            Ok(()) => Ok(Accepted::new(self.stream, address, self.permit)),
            Err(turned) => Err((turned, self.stream)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_closed_connection_makes_room_for_the_next() {
        let budget = Budget::new(2, 2);
        let first = budget.take(address("192.0.2.1")).unwrap();
        let _second = budget.take(address("192.0.2.2")).unwrap();
        assert_eq!(budget.take(address("192.0.2.3")).unwrap_err(), Turned::Budget);
        drop(first);
        assert!(budget.take(address("192.0.2.3")).is_ok());
    }

    #[test]
    fn one_address_cannot_have_all_connections() {
        let budget = Budget::new(10, 1);
        let _held = budget.take(address("192.0.2.1")).unwrap();
        assert_eq!(budget.take(address("::ffff:192.0.2.1")).unwrap_err(), Turned::AddressBudget);
        assert!(budget.take(address("192.0.2.2")).is_ok());
        assert_eq!(budget.open.load(Ordering::Acquire), 1);
    }

    #[test]
    fn a_smaller_budget_puts_nobody_out_and_lets_nobody_new_in() {
        let budget = Budget::new(10, 10);
        let held = [0, 1, 2].map(|_| budget.take(address("192.0.2.1")).unwrap());
        budget.resize(10, 2);
        assert_eq!(budget.take(address("192.0.2.1")).unwrap_err(), Turned::AddressBudget);
        assert!(budget.take(address("192.0.2.2")).is_ok());
        let [_one, two, three] = held;
        drop((two, three));
        assert!(budget.take(address("192.0.2.1")).is_ok());
        budget.resize(1, 1);
        assert_eq!(budget.take(address("192.0.2.3")).unwrap_err(), Turned::Budget);
    }

    #[test]
    fn a_proxys_connection_counts_for_all_until_its_client_is_named() {
        let budget = Budget::new(2, 1);
        let mut first = budget.enter().unwrap();
        let mut second = budget.enter().unwrap();
        assert_eq!(budget.enter().unwrap_err(), Turned::Budget);
        first.name(address("192.0.2.1")).unwrap();
        assert_eq!(second.name(address("192.0.2.1")).unwrap_err(), Turned::AddressBudget);
        drop((first, second));
        assert!(budget.take(address("192.0.2.1")).is_ok());
        assert_eq!(budget.open.load(Ordering::Acquire), 0);
    }

    #[test]
    fn an_ipv6_client_counts_as_its_subnet() {
        let budget = Budget::new(10, 1);
        let _held = budget.take(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(budget.take(address("2001:db8:1:2:ffff::9")).unwrap_err(), Turned::AddressBudget);
        assert!(budget.take(address("2001:db8:1:3::1")).is_ok());
    }
}
