//! A group as one edge thread sees it: its own pools, whose turn it is, and how a request gets its
//! server, or a place in line.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{self, Lots};
use super::key::hash;
use super::queue::{self, Slot};
use super::shared::Shared;
use super::state::ServerState;
use super::zones::{Rule, Zones};
use crate::config::upstream::{Balance, Member as Configured};
use crate::edge::proxy::pool::{Connections, Pool};

/// Requests that are counted here before the budget, which all threads share, hears of them.
const BATCH: u32 = 32;

/// The servers of one upstream group.
#[derive(Debug)]
pub struct Group {
    shared: Arc<Shared>,
    members: Vec<Rc<Member>>,
    open: Arc<Connections>,
    choice: RefCell<Choice>,
    begun: Cell<u32>,
}

/// One of them.
#[derive(Debug)]
struct Member {
    place: usize,
    pool: Rc<Pool>,
    state: Arc<ServerState>,
    group: Arc<Shared>,
}

/// What choosing remembers, and room to do it in.
#[derive(Debug)]
struct Choice {
    turns: Vec<i64>,
    weights: Vec<u32>,
    /// Those by zone.
    zoned: Vec<u32>,
    /// How far the next is that leaves the zone.
    owed: u64,
    lots: Lots,
}

/// A request under way at a server, until dropped.
#[derive(Debug)]
pub struct Flight(Rc<Member>);

/// Why a request gets no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// All that could be asked have as many requests as they may, and the line is too long, or it has
    /// waited too long.
    Busy,
    /// There is none to ask: all are drained, or were tried.
    Nobody,
    /// There is none at all: no name of the group leads anywhere.
    Nowhere,
}

impl Group {
    /// The group on one thread: with the pools of servers that it had `before`, and empty ones of the others.
    /// `start` tells the threads apart; all groups of all threads share `open`.
    pub fn new(shared: &Arc<Shared>, start: usize, open: &Arc<Connections>, before: Option<&Self>) -> Self {
        let config = &shared.config;
        let member = |(place, (member, state)): (usize, (&Configured, &Arc<ServerState>))| {
            let way = shared.way(state);
            let same =
                |known: &&Rc<Member>| *known.pool.server() == member.server && *known.pool.way() == way;
            let known = before.and_then(|group| group.members.iter().find(same));
            let new = || Rc::new(Pool::new(member.server.clone(), way.clone(), Arc::clone(open)));
            let pool = known.map_or_else(new, |known| Rc::clone(&known.pool));
            pool.configure(config.idle_connections, config.idle_timeout);
            Rc::new(Member { place, pool, state: Arc::clone(state), group: Arc::clone(shared) })
        };
        let members: Vec<_> = shared.members.iter().zip(&shared.servers).enumerate().map(member).collect();
        let lots = Lots::new(hash(shared.name.as_bytes()) ^ start as u64);
        let turns = vec![0; members.len()];
        let weights = Vec::with_capacity(members.len());
        let mut choice = Choice { turns, weights, zoned: Vec::new(), owed: 0, lots };
        // Where the threads begin to go round is staggered.
        let weights: Vec<u32> = shared.members.iter().map(|member| member.weight).collect();
        for _ in 0..start % members.len().max(1) {
            balance::round_robin(&weights, &mut choice.turns);
        }
        let (shared, open) = (Arc::clone(shared), Arc::clone(open));
        Self { shared, members, open, choice: RefCell::new(choice), begun: Cell::new(0) }
    }

    /// What all threads share of it.
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Closes the connection that has been idle longest at one of the servers. Returns whether there was
    /// one.
    pub fn close_idle(&self) -> bool {
        self.members.iter().any(|member| member.pool.close_oldest())
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, now: Instant) {
        self.members.iter().for_each(|member| member.pool.sweep(now));
    }

    /// A server for a new request, after waiting for one if need be.
    pub async fn begin(&self, key: u64) -> Result<Flight, NoServer> {
        self.count();
        // Whoever waits was here before.
        if self.shared.line().is_empty() {
            match self.pick(key, &[]) {
                Err(NoServer::Busy) => {}
                picked => return picked,
            }
        }
        // Boxed, as it is rare: every request would have room for it otherwise.
        Box::pin(self.wait(key)).await
    }

    /// Another server for a request that was tried at these before.
    pub fn another(&self, key: u64, tried: &[usize]) -> Option<Flight> {
        self.pick(key, tried).ok()
    }

    /// How often a request of this group may be tried again.
    pub fn retries(&self) -> usize {
        self.shared.config.retries.most as usize
    }

    /// Whether the budget has a retry.
    pub fn may_retry(&self) -> bool {
        self.shared.earn(self.begun.take());
        self.shared.may_retry()
    }

    fn count(&self) {
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() >= BATCH {
            self.shared.earn(self.begun.take());
        }
    }

    fn pick(&self, key: u64, tried: &[usize]) -> Result<Flight, NoServer> {
        if self.members.is_empty() {
            return Err(NoServer::Nowhere);
        }
        let most = self.shared.config.bounds.max_connections;
        let mut choice = self.choice.borrow_mut();
        let Choice { turns, weights, zoned, owed, lots } = &mut *choice;
        let healthy = self.shared.weigh(tried, weights);
        if !healthy {
            self.shared.panic();
        }
        // By what is in service: who has no room, or was tried, is well, and passed over.
        let zones = self.shared.zones.as_ref().filter(|_| healthy);
        let rule = zones.map_or(Rule::Nowhere, |zones| {
            if tried.is_empty() {
                self.rule(zones, weights, owed)
            } else {
                self.shared.weigh(&[], zoned);
                self.rule(zones, zoned, owed)
            }
        });
        let mut busy = false;
        if most > 0 {
            for (weight, member) in weights.iter_mut().zip(&self.members) {
                if *weight > 0 && member.state.in_flight() >= most {
                    *weight = 0;
                    busy = true;
                }
            }
        }
        loop {
            let weights_now = rule.weigh(weights, zoned);
            let load = |at: usize| self.members.get(at).map_or(0, |member| member.state.in_flight());
            let seed = |at: usize| self.members.get(at).map_or(0, |member| member.state.seed());
            let place = match &self.shared.config.balance {
                Balance::RoundRobin => balance::round_robin(weights_now, turns),
                Balance::LeastConnections => balance::least_connections(weights_now, load, lots.draw()),
                Balance::RandomTwo => balance::random_two(weights_now, load, (lots.draw(), lots.draw())),
                Balance::Hash(_) => balance::rendezvous(weights_now, seed, key),
            };
            let member = place.and_then(|place| self.members.get(place));
            let Some(member) = member else {
                return Err(if busy { NoServer::Busy } else { NoServer::Nobody });
            };
            if member.state.take_off(most) {
                if rule.leaves(member.place) {
                    self.shared.spill();
                }
                return Ok(Flight(Rc::clone(member)));
            }
            // Another thread was quicker.
            busy = true;
            if let Some(weight) = weights.get_mut(member.place) {
                *weight = 0;
            }
        }
    }

    /// How zones bear on a request, where this much of each server is in service.
    fn rule<'a>(&self, zones: &'a Zones, weights: &[u32], owed: &mut u64) -> Rule<'a> {
        let part = zones.part(weights);
        match &self.shared.config.balance {
            Balance::RoundRobin | Balance::Hash(_) => Rule::Part(zones, part),
            Balance::LeastConnections | Balance::RandomTwo => Rule::Side(zones, Zones::stays(part, owed)),
        }
    }

    async fn wait(&self, key: u64) -> Result<Flight, NoServer> {
        let bounds = &self.shared.config.bounds;
        let line = self.shared.line();
        let refuse = || {
            line.refuse();
            NoServer::Busy
        };
        let mut ticket = line.join(bounds.queue).ok_or_else(refuse)?;
        // Room that was made before there was a line; see `queue`. Only the first may look for it.
        let at_once = if ticket.is_first() { self.pick(key, &[]) } else { Err(NoServer::Busy) };
        if !ticket.is_first() {
            // A server whose time out of service has passed tells nobody.
            self.serve();
        }
        let flight = match at_once {
            Err(NoServer::Busy) => {
                let slot = tokio::time::timeout(bounds.queue_timeout, &mut ticket.room).await;
                let slot = slot.ok().and_then(Result::ok).ok_or_else(refuse)?;
                self.board(slot).ok_or(NoServer::Busy)?
            }
            picked => picked?,
        };
        drop(ticket);
        // Whoever gets in leaves the door open: there may be room that nobody's end tells of, at a server
        // that has come back.
        self.serve();
        Ok(flight)
    }

    fn serve(&self) {
        self.shared.servers.iter().for_each(|server| queue::serve(&self.shared, server));
    }

    /// At a server that this group does not know, because a reload has come in between, over a connection of
    /// its own.
    fn board(&self, slot: Slot) -> Option<Flight> {
        let here = self.members.iter().find(|member| slot.is_at(&member.state)).cloned();
        let (state, group) = slot.claim()?;
        if group.leaves(&state) {
            group.spill();
        }
        Some(Flight(here.unwrap_or_else(|| {
            let way = group.way(&state);
            let pool = Rc::new(Pool::new(state.server().clone(), way, Arc::clone(&self.open)));
            Rc::new(Member { place: usize::MAX, pool, state, group })
        })))
    }
}

impl Flight {
    /// The server's pool.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.0.pool
    }

    /// Its place in the group.
    pub fn place(&self) -> usize {
        self.0.place
    }

    /// It answered.
    pub fn answered(&self) {
        self.0.state.answered(|| self.0.group.now());
    }

    /// It failed, and that was its own doing.
    pub fn failed(&self, why: &str) {
        let Member { state, group, .. } = &*self.0;
        if let Some(out) = state.failed(why, &group.config.passive, group.now()) {
            tell_ejected(&group.name, state.label(), out, why);
        }
    }
}

fn tell_ejected(upstream: &str, server: &str, out: Duration, why: &str) {
    let seconds = out.as_secs_f64();
    tracing::warn!(
        upstream,
        server,
        seconds,
        why,
        "an application server is out of service for a while: its requests fail"
    );
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Member { state, group, .. } = &*self.0;
        state.land();
        if !group.line().is_empty() {
            queue::serve(group, state);
        }
    }
}
