//! What stays open after its request was answered (tunnels, bodies that stream), and whether it still
//! may: it is cut as soon as the token it began with is revoked or its client is banned, and in any case after
//! `limits.tunnel_lifetime`, when the client has to come again with a token of that day.
//!
//! A token's expiry cuts nothing: access tokens live for minutes, and what is open on the strength of one
//! is asked after at every revocation instead. A list for each edge thread, without a lock. A body is
//! checked with each frame, which is three loads while nothing was revoked, and listed only while it has
//! to wait for its next; most never are.
//!
//! Invariant: between the moment something is listed and its end no revocation passes it by: it is looked
//! at after it was listed, and after every change that follows.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use keepgate_guard::verifier::Verified;
use keepgate_guard::view::Listener;
use tokio::sync::watch;

use super::authenticate::TokenCheck;
use super::guard::Client;
use super::guard::blacklist::Blacklist;
use crate::model::time::{SharedClock, Timestamp};
use crate::observe::metrics::EdgeCounters;
use crate::observe::metrics::tunnels::Cut;

/// After a look at the whole list, at least this long before the next, and this many times what the look took:
/// a flood of logouts must not have a thread look for revoked tunnels all the time.
const PAUSE: Duration = Duration::from_millis(1);
const SHARE: u32 = 20;

/// Wakes every thread's list when something was revoked. Shared by all threads.
pub struct Stir {
    sender: watch::Sender<()>,
    _listener: Listener,
}

impl Stir {
    /// Listens to a verifier.
    pub fn new(check: &dyn TokenCheck) -> Self {
        let sender = watch::Sender::new(());
        let stir = sender.clone();
        let listener: Listener = Arc::new(move || {
            stir.send_replace(());
        });
        check.on_change(&listener);
        Self { sender, _listener: listener }
    }

    /// For one thread.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.sender.subscribe()
    }
}

/// Why something may stay open.
#[derive(Debug)]
pub struct Grounds {
    verified: Option<Verified>,
    client: IpAddr,
    /// The blacklist's version at which the client was last found free.
    free_at: Cell<u64>,
    lifetime: Duration,
}

impl Grounds {
    /// The token it began with, if any, and the client; and how long at most.
    pub const fn new(verified: Option<Verified>, client: &Client, lifetime: Duration) -> Self {
        Self { verified, client: client.address, free_at: Cell::new(client.free_at), lifetime }
    }
}

/// What one edge thread holds open.
pub struct Watchlist {
    check: Arc<dyn TokenCheck>,
    blacklist: Arc<Blacklist>,
    clock: SharedClock,
    counters: Arc<EdgeCounters>,
    places: RefCell<Places>,
}

#[derive(Default)]
struct Places {
    taken: Vec<Option<Listed>>,
    free: Vec<usize>,
}

struct Listed {
    grounds: Grounds,
    until: Timestamp,
    cut: Option<Cut>,
    waker: Waker,
}

impl Watchlist {
    /// Of a thread that counts with `counters`.
    pub fn new(
        (check, blacklist): (&Arc<dyn TokenCheck>, &Arc<Blacklist>),
        clock: &SharedClock,
        counters: &Arc<EdgeCounters>,
    ) -> Rc<Self> {
        Rc::new(Self {
            check: Arc::clone(check),
            blacklist: Arc::clone(blacklist),
            clock: Arc::clone(clock),
            counters: Arc::clone(counters),
            places: RefCell::default(),
        })
    }

    /// Looks at the list whenever something was revoked or banned.
    pub async fn keep_watch(self: Rc<Self>, mut stirred: watch::Receiver<()>) {
        let mut banned = self.blacklist.changes();
        loop {
            let changed = tokio::select! {
                changed = stirred.changed() => changed,
                changed = banned.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let began = Instant::now();
            self.look();
            tokio::time::sleep(PAUSE.max(began.elapsed() * SHARE)).await;
        }
    }

    /// Looks once, for what only time brings about as well.
    pub fn look(&self) {
        let now = self.clock.now();
        let mut wakers = Vec::new();
        for listed in self.places.borrow_mut().taken.iter_mut().flatten() {
            if listed.cut.is_none() {
                let cut = self.fallen(&listed.grounds).or((listed.until <= now).then_some(Cut::Lapsed));
                listed.cut = cut;
                wakers.extend(cut.map(|_| listed.waker.clone()));
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many wait on it now.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.places.borrow().taken.iter().flatten().count()
    }

    fn fallen(&self, grounds: &Grounds) -> Option<Cut> {
        if let Some(verified) = &grounds.verified
            && self.check.still_holds(verified).is_err()
        {
            return Some(Cut::Revoked);
        }
        let version = self.blacklist.version();
        if grounds.free_at.get() != version {
            if self.blacklist.contains(grounds.client, self.clock.now()) {
                return Some(Cut::Banned);
            }
            grounds.free_at.set(version);
        }
        None
    }

    fn list(&self, grounds: Grounds, waker: &Waker) -> usize {
        let until = self.clock.now().plus(grounds.lifetime);
        let listed = Some(Listed { grounds, until, cut: None, waker: waker.clone() });
        let mut places = self.places.borrow_mut();
        let Places { taken, free } = &mut *places;
        if let Some(at) = free.pop()
            && let Some(place) = taken.get_mut(at)
        {
            *place = listed;
            return at;
        }
        taken.push(listed);
        taken.len() - 1
    }

    fn strike(&self, at: usize) -> Option<Listed> {
        let mut places = self.places.borrow_mut();
        let listed = places.taken.get_mut(at)?.take()?;
        if places.taken.len() == places.free.len() + 1 {
            // Nothing is left: a crowd that has gone leaves no room behind.
            *places = Places::default();
        } else {
            places.free.push(at);
        }
        Some(listed)
    }

    fn count(&self, grounds: &Grounds, cut: Cut) {
        self.counters.tunnels.cut.up(cut);
        let account = grounds.verified.as_ref().map(|verified| verified.claims().sub);
        let account = account.map(tracing::field::display);
        tracing::info!(reason = cut.word(), client = %grounds.client, account, "an open stream was cut");
    }
}

/// Something open, on its thread's list from its first wait on.
pub struct Watched {
    list: Rc<Watchlist>,
    state: State,
}

enum State {
    Unlisted(Grounds),
    Listed(usize),
    Cut(Cut),
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl Watched {
    /// Open on these grounds.
    pub fn new(list: &Rc<Watchlist>, grounds: Grounds) -> Self {
        Self { list: Rc::clone(list), state: State::Unlisted(grounds) }
    }

    /// Whether it must be cut, now.
    pub fn check(&mut self) -> Option<Cut> {
        let cut = match &self.state {
            State::Unlisted(grounds) => self.list.fallen(grounds),
            State::Listed(at) => {
                let places = self.list.places.borrow();
                let listed = places.taken.get(*at).and_then(Option::as_ref)?;
                listed.cut.or_else(|| self.list.fallen(&listed.grounds))
            }
            State::Cut(cut) => return Some(*cut),
        }?;
        match std::mem::replace(&mut self.state, State::Cut(cut)) {
            State::Unlisted(grounds) => self.list.count(&grounds, cut),
            State::Listed(at) => {
                if let Some(listed) = self.list.strike(at) {
                    self.list.count(&listed.grounds, cut);
                }
            }
            State::Cut(_) => {}
        }
        Some(cut)
    }

    /// Ready when it must be cut. Whoever waits for something else asks this too.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        match std::mem::replace(&mut self.state, State::Cut(Cut::Lapsed)) {
            State::Unlisted(grounds) => self.state = State::Listed(self.list.list(grounds, cx.waker())),
            State::Listed(at) => {
                self.state = State::Listed(at);
                let mut places = self.list.places.borrow_mut();
                if let Some(listed) = places.taken.get_mut(at).and_then(Option::as_mut) {
                    listed.waker.clone_from(cx.waker());
                }
            }
            cut @ State::Cut(_) => self.state = cut,
        }
        // After it was listed: what is revoked from here on wakes it.
        self.check().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let State::Listed(at) = self.state {
            self.list.strike(at);
        }
    }
}
