//! A group as all edge threads share it: its configuration, which goes with its plan, and what
//! outlives plans: the state of its servers, its retry budget, its line.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;

use super::budget::Budget;
use super::queue::Line;
use super::state::{ServerState, WHOLE, millis};
use super::way::{Secure, Way};
use super::zones::Zones;
use crate::config::upstream::{MOST_SERVERS, Member, Named, Server, Upstream};
use crate::edge::rates::limiter::Ticks;

/// What outlives plans, by the group's name.
#[derive(Debug)]
pub struct Registry {
    ticks: Ticks,
    groups: Mutex<BTreeMap<String, Arc<Lasting>>>,
    /// What names lead to, as far as that is known.
    names: Mutex<BTreeMap<String, Vec<IpAddr>>>,
}

/// For how long a server is known that no name leads to any more: a name server's answer may miss one for a
/// moment, which is no reason to forget that it fails, or that an operator has drained it.
const REMEMBERED: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Lasting {
    servers: Mutex<Vec<Arc<ServerState>>>,
    /// Those that names led to, and since when they do not; the longest gone first.
    gone: Mutex<VecDeque<(u64, Arc<ServerState>)>>,
    budget: Budget,
    line: Arc<Line>,
    denied_retries: AtomicU64,
    panics: AtomicU64,
    spilled: AtomicU64,
}

/// A group in a plan.
#[derive(Debug)]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: Upstream,
    /// Its servers: in the configuration's order, and after them what its names lead to.
    pub members: Vec<Member>,
    /// How each of them is spoken to.
    pub ways: Vec<Way>,
    /// How each of them stands.
    pub servers: Vec<Arc<ServerState>>,
    /// Which of them are in the node's own zone, where that matters.
    pub zones: Option<Zones>,
    /// `Host` of what they are sent, if it is not the client's.
    pub host: Option<HeaderValue>,
    /// What their TLS goes by.
    pub secure: Option<Arc<Secure>>,
    lasting: Arc<Lasting>,
    ticks: Ticks,
}

impl Registry {
    /// Without any group, in this time.
    pub fn new(ticks: Ticks) -> Self {
        Self { ticks, groups: Mutex::default(), names: Mutex::default() }
    }

    /// The time that groups go by.
    pub const fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// A group of this configuration, with what is known of its servers from before.
    pub fn group(&self, name: String, config: Upstream, secure: Option<Arc<Secure>>) -> Arc<Shared> {
        let now = self.ticks.millis();
        let mut groups = self.groups.lock();
        let lasting = groups.entry(name.clone()).or_insert_with(|| {
            Arc::new(Lasting {
                servers: Mutex::default(),
                gone: Mutex::default(),
                budget: Budget::new(&config.retries, now),
                line: Arc::default(),
                denied_retries: AtomicU64::new(0),
                panics: AtomicU64::new(0),
                spilled: AtomicU64::new(0),
            })
        });
        let lasting = Arc::clone(lasting);
        drop(groups);
        let (mut known, gone) = (lasting.servers.lock(), lasting.gone.lock());
        let state = |member: &Member| {
            let gone = gone.iter().map(|(_, state)| state);
            if let Some(state) = known.iter().chain(gone).find(|state| *state.server() == member.server) {
                return Arc::clone(state);
            }
            let state = Arc::new(ServerState::new(member.server.clone()));
            known.push(Arc::clone(&state));
            state
        };
        let members = self.members(&config);
        let servers = members.iter().map(state).collect();
        drop((known, gone));
        let ways = members.iter().map(|member| Way::to(member, config.http2, secure.as_ref())).collect();
        let zones = Zones::of(&members, config.home.as_deref());
        let host = config.host.as_ref().and_then(|host| HeaderValue::try_from(host).ok());
        let ticks = self.ticks.clone();
        Arc::new(Shared { name, config, members, ways, servers, zones, host, secure, lasting, ticks })
    }

    /// A name leads here now.
    pub fn learn(&self, host: &str, addresses: Vec<IpAddr>) {
        self.names.lock().insert(host.to_owned(), addresses);
    }

    /// Where a name leads, as far as that is known.
    pub fn known(&self, host: &str) -> Vec<IpAddr> {
        self.names.lock().get(host).cloned().unwrap_or_default()
    }

    /// Whether it is known where a name leads.
    pub fn knows(&self, host: &str) -> bool {
        self.names.lock().contains_key(host)
    }

    /// Whether a group's names lead elsewhere since it was made.
    pub fn is_stale(&self, group: &Shared) -> bool {
        !group.config.names.is_empty() && self.members(&group.config) != group.members
    }

    fn members(&self, config: &Upstream) -> Vec<Member> {
        let mut members = config.servers.clone();
        let names = self.names.lock();
        for Named { host, port, weight, backup, zone } in &config.names {
            for address in names.get(host).into_iter().flatten() {
                let server = Server::Tcp(SocketAddr::new(*address, *port));
                let known = members.iter().any(|member| member.server == server);
                if !known && members.len() < MOST_SERVERS {
                    let name = Some(Arc::from(host.as_str()));
                    let (weight, backup, zone) = (*weight, *backup, zone.clone());
                    members.push(Member { server, weight, backup, name, zone });
                }
            }
        }
        members
    }

    /// Forgets what is in no group any more, once these are the ones in force.
    pub fn keep(&self, groups: &[Arc<Shared>]) {
        let held = groups.iter().map(|group| (group.name.clone(), Arc::clone(&group.lasting)));
        // Also what another plan's end has had forgotten between this one's making and now.
        *self.groups.lock() = held.collect();
        let named = |host: &String| {
            groups.iter().flat_map(|group| &group.config.names).any(|named| named.host == *host)
        };
        self.names.lock().retain(|host, _| named(host));
        for group in groups {
            group.keep();
            if group.config.active.is_none() {
                group.servers.iter().for_each(|state| state.unchecked());
            }
            // Whoever waits may have room now.
            group.servers.iter().for_each(|state| super::queue::serve(group, state));
        }
    }
}

impl Shared {
    /// Its servers are the ones in force; those that its names led to are remembered for a while.
    fn keep(&self) {
        let now = self.now();
        let mut servers = self.lasting.servers.lock();
        let before = std::mem::replace(&mut *servers, self.servers.clone());
        let mut gone = self.lasting.gone.lock();
        let back = |state: &Arc<ServerState>| self.servers.iter().any(|here| Arc::ptr_eq(here, state));
        gone.retain(|(_, state)| !back(state));
        if !self.config.names.is_empty() {
            gone.extend(before.into_iter().filter(|state| !back(state)).map(|state| (now, state)));
        }
        let late = |since: u64| now.saturating_sub(since) > millis(REMEMBERED);
        // A drain is an operator's word, and ends by one.
        gone.retain(|(since, state)| !late(*since) || state.is_drained() || state.in_flight() > 0);
        while gone.len() > MOST_SERVERS {
            gone.pop_front();
        }
        self.servers.iter().for_each(|state| state.relent(&self.config.passive, now));
    }

    /// The time, milliseconds.
    pub fn now(&self) -> u64 {
        self.ticks.millis()
    }

    /// How this server of the group is spoken to.
    pub fn way(&self, server: &Arc<ServerState>) -> Way {
        let at = self.servers.iter().position(|known| Arc::ptr_eq(known, server));
        at.and_then(|at| self.ways.get(at)).cloned().unwrap_or_default()
    }

    /// Who waits.
    pub fn line(&self) -> &Arc<Line> {
        &self.lasting.line
    }

    /// How much each server is to get: its weight, as far as it is in service and not in `tried`, in
    /// thousandths; 0 for one that is not to be asked. `weights` is filled with one for each server.
    ///
    /// Backups are asked when too few others are in service. If they are not, either, health is not
    /// looked at: but for servers that an operator has drained, all are asked. A request that was tried
    /// before is not: it knows that they fail. Returns whether health was looked at.
    pub fn weigh(&self, tried: &[usize], weights: &mut Vec<u32>) -> bool {
        weights.clear();
        let passive = &self.config.passive;
        let members = || self.members.iter().zip(&self.servers).enumerate();
        let (mut known, mut well, mut backups) = (0_usize, 0_usize, false);
        let (mut own_known, mut own_well) = (0_usize, 0_usize);
        for (at, (member, state)) in members() {
            backups |= member.backup;
            let share = match member.backup || tried.contains(&at) {
                true => 0,
                false => state.share(passive.slow_start, || self.now()),
            };
            known += usize::from(!member.backup && !state.is_drained());
            well += usize::from(share > 0);
            if self.zones.as_ref().is_some_and(|zones| zones.is_own(at)) {
                own_known += usize::from(!member.backup && !state.is_drained());
                own_well += usize::from(share > 0);
            }
            weights.push(member.weight * share);
        }
        let least = |known: usize| (known * passive.panic as usize / 100).max(1);
        // All of a group that is asked for the first time, nearly always. Another zone that is down as a whole
        // leaves one's own, where nothing is wrong, as it was.
        let enough = well >= least(known) || own_well >= least(own_known) || (well > 0 && !tried.is_empty());
        if enough || (backups && self.weigh_backups(tried, weights)) || !tried.is_empty() {
            return true;
        }
        self.weigh_all(weights, known > 0);
        false
    }

    /// Weighs the backups too. Returns whether any of them is in service: few of the others are enough then.
    fn weigh_backups(&self, tried: &[usize], weights: &mut [u32]) -> bool {
        let members = self.members.iter().zip(&self.servers).zip(weights).enumerate();
        let mut any = false;
        for (at, ((member, state), weight)) in members {
            if member.backup && !tried.contains(&at) {
                *weight = member.weight * state.share(self.config.passive.slow_start, || self.now());
                any |= *weight > 0;
            }
        }
        any
    }

    /// Weighs without regard to health: the backups only if there are no others.
    fn weigh_all(&self, weights: &mut [u32], others: bool) {
        for (weight, (member, state)) in weights.iter_mut().zip(self.members.iter().zip(&self.servers)) {
            let asked = !state.is_drained() && member.backup != others;
            *weight = if asked { member.weight * WHOLE } else { 0 };
        }
    }

    /// A request is sent without regard to health.
    pub fn panic(&self) {
        self.lasting.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is sent out of the node's own zone.
    pub fn spill(&self) {
        self.lasting.spilled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request that was given room at this server goes out of the node's own zone, and that for its zone's
    /// sake: where health is not looked at, zones are not.
    pub fn leaves(&self, server: &Arc<ServerState>) -> bool {
        let Some(zones) = &self.zones else { return false };
        let at = self.servers.iter().position(|known| Arc::ptr_eq(known, server));
        let outside = at.is_some_and(|at| !zones.is_own(at));
        outside && self.weigh(&[], &mut Vec::with_capacity(self.servers.len()))
    }

    /// How many were.
    pub fn spilled(&self) -> u64 {
        self.lasting.spilled.load(Ordering::Relaxed)
    }

    /// Whether a server might be chosen for a new request, if it had room. For whoever serves the line.
    pub fn is_fit(&self, server: &Arc<ServerState>) -> bool {
        let mut weights = Vec::with_capacity(self.servers.len());
        self.weigh(&[], &mut weights);
        let known = self.servers.iter().zip(weights);
        let fit = known.into_iter().any(|(known, weight)| weight > 0 && Arc::ptr_eq(known, server));
        // A request of an earlier plan may end at a server that is nobody's any more.
        fit && self.lasting.servers.lock().iter().any(|known| Arc::ptr_eq(known, server))
    }

    /// Whether any server is in service.
    pub fn is_in_service(&self) -> bool {
        self.servers.iter().any(|state| state.share(self.config.passive.slow_start, || self.now()) > 0)
    }

    /// So many requests have begun.
    pub fn earn(&self, requests: u32) {
        self.lasting.budget.earn(requests, &self.config.retries);
    }

    /// Whether a request may be tried again.
    pub fn may_retry(&self) -> bool {
        let may = self.lasting.budget.spend(&self.config.retries, self.now());
        if !may {
            self.lasting.denied_retries.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Retries that the budget did not allow, and requests that were sent without regard to health.
    pub fn counts(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.lasting.denied_retries), count(&self.lasting.panics))
    }
}
