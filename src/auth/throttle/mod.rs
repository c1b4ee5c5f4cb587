//! Passwords are guessed slowly, and no owner is locked out by it.
//!
//! Before a hash is computed, a try is reserved in one or two **buckets** of failures
//! ([`bucket`]); past its free tries a bucket refuses with the time to come back, and nothing waits
//! here. Whom a try is counted against depends on who makes it ([`Standing`]):
//!
//! - a **known device** (its cookie, [`device`]), a **known address** (one with a live session of the
//!   account), or the caller's own **session** has a bucket of its own for that account;
//! - **strangers** share one bucket for each account, however many addresses they have, and one for
//!   each address prefix over all accounts, which is what guessing one password at many accounts
//!   meets.
//!
//! Invariant: strangers never touch the bucket of a known device, so what they do can keep no owner
//! out who has logged in from there before. Failures at a known address count against its prefix too,
//! but the prefix does not hold it up: others may share it.
//!
//! An e-mail address without an account is throttled like one with, so that a refusal does not tell a
//! stranger whether there is one. Who shares an address with others learns when it is throttled, and
//! meanwhile which accounts have a live session there: those are not held up by it. All of it
//! is in memory: whoever can restart the node needs no guesses. Accounts are keyed by keyed hashes of
//! their addresses, and the tables are bounded ([`table`]).

pub mod bucket;
pub mod counts;
pub mod denial;
pub mod device;
pub mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};

use self::bucket::Pace;
use self::counts::{Counts, From, Tally};
use self::device::{Device, DeviceKeys};
use self::table::{Key, Slot, Table};
use crate::config::throttle::Throttle as Config;
use crate::model::account::Account;
use crate::model::caller::client_number;
use crate::model::email::Email;
use crate::model::id::{AccountId, SessionId};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{self, Rng};
use crate::model::session::Session;
use crate::model::time::{SharedClock, Timestamp};

/// A device cookie as a login's answer carries it.
#[derive(Clone, Debug)]
pub struct DeviceCookie {
    /// Its value.
    pub value: SecretString,
    /// How long it is good.
    pub max_age: Duration,
}

/// Who makes a try, as far as that is known before the password is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A device that the account logged in from.
    Device([u8; 16]),
    /// An address at which the account has a live session, by its number.
    Address(u128),
    /// The session of a verified caller, who is asked for the password again.
    Session(SessionId),
    /// Anybody else.
    Stranger,
}

/// A try may not be made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// When it may be.
    pub retry_after: Duration,
    /// The bucket that refused.
    pub by: From,
}

/// How an account's strangers and its known devices stand, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Strangers' failures at the account.
    pub strangers: table::Standing,
    /// Its known devices, addresses and sessions.
    pub known: table::Standing,
}

/// Which table a bucket is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Strangers,
    Known,
    Prefixes,
}

/// One bucket that a try is counted against.
#[derive(Clone, Copy, Debug)]
struct Against {
    which: Which,
    key: Key,
    /// Whether it may refuse, or only counts.
    asked: bool,
}

struct Tables {
    strangers: Table,
    known: Table,
    prefixes: Table,
}

impl Tables {
    const fn of(&mut self, which: Which) -> &mut Table {
        match which {
            Which::Strangers => &mut self.strangers,
            Which::Known => &mut self.known,
            Which::Prefixes => &mut self.prefixes,
        }
    }
}

struct Inner {
    tables: Mutex<Tables>,
    /// Of this process alone: nobody can work out which keys meet.
    key: [u8; 32],
    devices: DeviceKeys,
    device_ttl: Duration,
    clock: SharedClock,
    counts: Counts,
}

/// Decides which tries may be made. Cheap to clone.
#[derive(Clone)]
pub struct Throttle(Arc<Inner>);

impl Throttle {
    /// With empty tables. Cookies rest on `master`: under another one, every device is a stranger.
    pub fn new(config: &Config, master: &MasterKey, clock: SharedClock, rng: &dyn Rng) -> Self {
        let (accounts, addresses) = (Pace::of_accounts(config), Pace::of_addresses(config));
        Self(Arc::new(Inner {
            tables: Mutex::new(Tables {
                strangers: Table::new(accounts, config.entries),
                known: Table::new(accounts, config.entries),
                prefixes: Table::new(addresses, config.entries),
            }),
            key: random::bytes(rng),
            devices: DeviceKeys::new(&master.derive(Purpose::KnownDevices)),
            device_ttl: config.device_ttl,
            clock,
            counts: Counts::default(),
        }))
    }

    /// The device of a cookie, if it is known to that account: a cookie from before the password was
    /// set is not, since whoever the change was to shut out may have it. Without an account it does
    /// the same work for nothing.
    pub fn known_device(&self, account: Option<&Account>, cookies: &[SecretString]) -> Option<Device> {
        let inner = &self.0;
        let now = inner.clock.now();
        let id = account.map_or(AccountId(uuid::Uuid::nil()), |account| account.id);
        let read = cookies.iter().find_map(|cookie| inner.devices.read(id, cookie.expose_secret()));
        read.zip(account).map(|(device, account)| (device, account.password_set_at)).and_then(
            |(device, set)| {
                let known = set <= device.issued_at && now.since(device.issued_at) < inner.device_ttl;
                known.then_some(device)
            },
        )
    }

    /// The cookie that makes a device known from now on: `device` again, or a new one.
    pub fn cookie(&self, account: AccountId, device: Option<Device>, rng: &dyn Rng) -> DeviceCookie {
        let id = device.map_or_else(|| random::bytes(rng), |device| device.id);
        let device = Device { id, issued_at: self.0.clock.now() };
        DeviceCookie { value: self.0.devices.write(account, &device), max_age: self.0.device_ttl }
    }

    /// The standing of a client without a known device: whether one of these sessions was last used
    /// from its address and is live.
    pub fn by_address(&self, sessions: &[Session], address: Option<IpAddr>) -> Standing {
        let now = self.0.clock.now();
        let number = address.map(client_number);
        let here = sessions.iter().any(|session| {
            now < session.expires_at && number.is_some() && session.address.map(client_number) == number
        });
        number.filter(|_| here).map_or(Standing::Stranger, Standing::Address)
    }

    /// Reserves a try at the password of an account, existing or not.
    ///
    /// # Errors
    /// [`Throttled`] if one of its buckets has to wait; nothing is reserved then.
    pub fn begin(
        &self,
        email: &Email,
        standing: Standing,
        address: Option<IpAddr>,
    ) -> Result<Attempt, Throttled> {
        let account = self.account_hash(email);
        let known = |kind, what: &[u8]| {
            let own = self.hash(kind, &[&account.to_be_bytes(), what]);
            Against { which: Which::Known, key: Key { own, coarse: account, account }, asked: true }
        };
        let prefix = |asked| address.map(|address| Against { asked, ..self.prefix(address) });
        let key = Key { own: account, coarse: account, account };
        let (from, first, second) = match standing {
            Standing::Device(id) => (From::Device, known(b'd', &id), None),
            Standing::Address(number) => (From::Address, known(b'a', &number.to_be_bytes()), prefix(false)),
            Standing::Session(id) => (From::Session, known(b's', id.0.as_bytes()), None),
            Standing::Stranger => {
                (From::Stranger, Against { which: Which::Strangers, key, asked: true }, prefix(true))
            }
        };
        self.reserve(from, [Some(first), second])
    }

    /// Reserves a registration, which tells whether an address is taken: it counts against the
    /// client's prefix.
    ///
    /// # Errors
    /// [`Throttled`], as [`Self::begin`].
    pub fn begin_registration(&self, address: Option<IpAddr>) -> Result<Attempt, Throttled> {
        self.reserve(From::Prefix, [address.map(|address| self.prefix(address)), None])
    }

    fn reserve(&self, from: From, against: [Option<Against>; 2]) -> Result<Attempt, Throttled> {
        let now = self.0.clock.now();
        let mut tables = self.0.tables.lock();
        let found = against.map(|it| it.map(|it| (it, tables.of(it.which).slot(it.key, now))));
        let waits = found.iter().flatten().filter(|(it, _)| it.asked).map(|(it, slot)| {
            let by = if it.which == Which::Prefixes { From::Prefix } else { from };
            Throttled { retry_after: tables.of(it.which).wait(*slot, now), by }
        });
        let longest = waits.max_by_key(|throttled| throttled.retry_after);
        if let Some(throttled) = longest.filter(|throttled| !throttled.retry_after.is_zero()) {
            self.0.counts.refused(throttled.by);
            return Err(throttled);
        }
        for (it, slot) in found.iter().flatten() {
            tables.of(it.which).reserve(*slot, it.key);
        }
        drop(tables);
        let held = found.map(|it| it.map(|(it, slot)| (it.which, slot)));
        Ok(Attempt { inner: Arc::clone(&self.0), from, held })
    }

    fn prefix(&self, address: IpAddr) -> Against {
        let coarse = match address.to_canonical() {
            IpAddr::V4(v4) => u128::from(v4.to_bits() & 0xffff_ff00),
            IpAddr::V6(v6) => v6.to_bits() & (u128::MAX << 80),
        };
        let own = self.hash(b'p', &[&client_number(address).to_be_bytes()]);
        let coarse = self.hash(b'c', &[&coarse.to_be_bytes()]);
        Against { which: Which::Prefixes, key: Key { own, coarse, account: 0 }, asked: true }
    }

    /// What stands for an e-mail address here; also tells accounts apart in what is folded about
    /// them, whether they exist or not.
    pub fn account_hash(&self, email: &Email) -> u128 {
        self.hash(b'e', &[email.as_str().as_bytes()])
    }

    /// Of one kind, parts have one length each, or there is one part.
    fn hash(&self, kind: u8, parts: &[&[u8]]) -> u128 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.key);
        hasher.update(&[kind]);
        parts.iter().for_each(|part| _ = hasher.update(part));
        let mut number = [0; 16];
        hasher.finalize_xof().fill(&mut number);
        u128::from_be_bytes(number)
    }

    /// Forgets what failed at an account. The prefixes that it failed from stay.
    pub fn clear(&self, email: &Email) {
        let account = self.account_hash(email);
        let mut tables = self.0.tables.lock();
        tables.strangers.clear(account);
        tables.known.clear(account);
    }

    /// How an account stands.
    pub fn standings(&self, email: &Email) -> Standings {
        let (account, now) = (self.account_hash(email), self.0.clock.now());
        let tables = self.0.tables.lock();
        Standings {
            strangers: tables.strangers.standing(account, now),
            known: tables.known.standing(account, now),
        }
    }

    /// Drops what is forgotten. Call it now and then.
    pub fn purge(&self) {
        let now = self.now();
        let mut tables = self.0.tables.lock();
        for which in [Which::Strangers, Which::Known, Which::Prefixes] {
            tables.of(which).purge(now);
        }
    }

    /// The time that delays are counted in.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What was counted so far, and how full the tables are.
    pub fn tally(&self) -> Tally {
        let tables = self.0.tables.lock();
        let entries = [
            ("strangers", tables.strangers.keys()),
            ("known", tables.known.keys()),
            ("prefixes", tables.prefixes.keys()),
        ];
        drop(tables);
        self.0.counts.tally(entries)
    }
}

/// A try under way. It counts like a failure until it is settled, and for good if it never is.
#[must_use = "a try that is dropped has failed"]
pub struct Attempt {
    inner: Arc<Inner>,
    from: From,
    held: [Option<(Which, Slot)>; 2],
}

impl Attempt {
    /// Whether whoever makes it is known to the account.
    pub const fn is_known(&self) -> bool {
        matches!(self.from, From::Device | From::Address | From::Session)
    }

    /// The password was right: a known device's failures are forgotten. Strangers' are not, nor the
    /// prefix's: whoever guesses has an account of their own to be right with.
    pub fn right(mut self) {
        self.inner.counts.tried(self.from);
        self.end(|which, table, slot, now| {
            table.settle(slot, now, |bucket, _| {
                bucket.withdraw();
                if which == Which::Known {
                    bucket.forgive();
                }
            });
        });
    }

    /// Nothing was tried: no hash was computed.
    pub fn withdraw(mut self) {
        self.end(|_, table, slot, now| table.settle(slot, now, |bucket, _| bucket.withdraw()));
    }

    /// The password was wrong.
    pub fn wrong(self) {
        drop(self);
    }

    fn end(&mut self, mut settle: impl FnMut(Which, &mut Table, Slot, Timestamp)) {
        let held = std::mem::take(&mut self.held);
        let now = self.inner.clock.now();
        let mut tables = self.inner.tables.lock();
        for (which, slot) in held.into_iter().flatten() {
            settle(which, tables.of(which), slot, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.held.iter().all(Option::is_none) {
            return;
        }
        self.inner.counts.tried(self.from);
        self.end(|_, table, slot, now| table.settle(slot, now, |bucket, pace| bucket.fail(pace, now)));
    }
}
