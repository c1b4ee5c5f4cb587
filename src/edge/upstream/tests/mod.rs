//! Groups by a clock that is set by hand.

mod balance;
mod health;
mod line;
mod names;
mod zones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::local::Group;
use super::shared::{Registry, Shared};
use super::state::{Health, ServerState};
use crate::config::upstream::{Member, Server, Upstream};
use crate::edge::proxy::pool::Connections;
use crate::edge::rates::limiter::Ticks;

/// A group whose clock is set by hand.
struct Scene {
    now: Arc<AtomicU64>,
    registry: Registry,
    shared: Arc<Shared>,
    group: Group,
}

fn server(number: u16) -> Server {
    Server::Tcp(([192, 0, 2, 1], number).into())
}

fn members(weights: &[u32], backups: usize) -> Vec<Member> {
    let first = weights.len() - backups;
    let member = |(at, weight): (usize, &u32)| Member {
        server: server(at as u16 + 1),
        weight: *weight,
        backup: at >= first,
        name: None,
        zone: None,
    };
    weights.iter().enumerate().map(member).collect()
}

impl Scene {
    fn of(members: Vec<Member>, change: impl FnOnce(&mut Upstream)) -> Self {
        let now = Arc::new(AtomicU64::new(1000));
        let clock = Arc::clone(&now);
        let registry =
            Registry::new(Ticks::new(move || Duration::from_millis(clock.load(Ordering::Relaxed))));
        let mut config = Upstream::with(members);
        change(&mut config);
        let shared = registry.group("app".to_owned(), config, None);
        let group = Group::new(&shared, 0, &Connections::new(100), None);
        Self { now, registry, shared, group }
    }

    fn later(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    fn state(&self, at: usize) -> &ServerState {
        &self.shared.servers[at]
    }

    /// Where so many requests go that come one after the other.
    async fn places(&self, count: usize) -> Vec<usize> {
        let mut places = Vec::new();
        for key in 0..count as u64 {
            places.push(self.group.begin(key).await.unwrap().place());
        }
        places
    }

    fn fail(&self, at: usize, times: usize) {
        for _ in 0..times {
            self.state(at).failed("refused", &self.shared.config.passive, self.shared.now());
        }
    }

    fn health(&self, at: usize) -> Health {
        self.state(at).told(self.shared.config.passive.slow_start, self.shared.now()).health
    }
}

fn at_once(config: &mut Upstream) {
    config.passive.slow_start = Duration::ZERO;
}
