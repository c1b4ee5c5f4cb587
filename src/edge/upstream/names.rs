//! Names of application servers: looked up by our own resolver (a static binary has no getaddrinfo), and
//! again when their time to live is over, so that servers that move are followed.
//!
//! What was found last is good until something else is found: a name server that is away takes nobody out
//! of service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use tokio::task::JoinSet;

use crate::config::upstream::Upstream;
use crate::edge::plan::Plans;

/// Longest time until a new plan is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// Bounds of the time until a name is looked up again: after a failure it is the shorter one.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Longest a look-up may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most addresses of one name that are used.
const MOST: usize = 64;

/// What a name leads to.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How long that is good.
    pub good_for: Duration,
}

type Looking = Pin<Box<dyn Future<Output = Result<Found, String>> + Send>>;

/// Looks names up.
pub type Resolve = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// The system's way: `/etc/hosts` and the servers of `/etc/resolv.conf`, read anew each time.
pub fn system() -> Resolve {
    Arc::new(|host| {
        Box::pin(async move {
            let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            let resolver = resolver.map_err(|error| format!("/etc/resolv.conf: {error}"))?;
            let found = resolver.lookup_ip(host.as_str()).await.map_err(|error| error.to_string())?;
            let good_for = found.valid_until().saturating_duration_since(Instant::now());
            Ok(Found { addresses: found.iter().collect(), good_for })
        })
    })
}

/// Looks up what is not known yet of groups that are about to be put in place, so that their first
/// request finds servers. Gives up after `patience`: then they are looked up once they are in place.
pub async fn look_ahead(
    plans: &Plans,
    upstreams: &BTreeMap<String, Upstream>,
    resolve: &Resolve,
    patience: Duration,
) {
    let hosts: BTreeSet<&String> =
        upstreams.values().flat_map(|group| &group.names).map(|named| &named.host).collect();
    let look = hosts.into_iter().filter(|host| !plans.groups().knows(host)).map(|host| async move {
        if let Ok(Ok(found)) = tokio::time::timeout(patience, resolve(host.clone())).await {
            plans.groups().learn(host, usable(found.addresses));
        }
    });
    futures_util::future::join_all(look).await;
}

/// In an order of their own, each once, and no more than can be used.
fn usable(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST);
    addresses
}

/// The task that looks up the names of the plan in force.
pub struct Names {
    plans: Arc<Plans>,
    resolve: Resolve,
    /// When each is due, and whether its last look-up failed.
    due: BTreeMap<String, (Instant, bool)>,
}

impl Names {
    /// Of these plans.
    pub const fn new(plans: Arc<Plans>, resolve: Resolve) -> Self {
        Self { plans, resolve, due: BTreeMap::new() }
    }

    /// Looks up until told to stop.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.look(Instant::now()) => {}
            }
            let next = self.due.values().map(|(due, _)| *due).min();
            let pause = next.map_or(LOOK, |next| next.saturating_duration_since(Instant::now()).min(LOOK));
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks up every name that is due by `now`, all at once, and has the groups follow.
    pub async fn look(&mut self, now: Instant) {
        let groups = self.plans.current().upstreams();
        let names = groups.iter().flat_map(|group| &group.config.names).map(|named| &named.host);
        let names: BTreeMap<String, ()> = names.map(|host| (host.clone(), ())).collect();
        self.due.retain(|host, _| names.contains_key(host));
        let mut looking = JoinSet::new();
        for (host, ()) in names {
            if self.due.get(&host).is_none_or(|(due, _)| *due <= now) {
                let found = (self.resolve)(host.clone());
                looking.spawn(async move {
                    let late = |_| format!("no answer within {PATIENCE:?}");
                    (host, tokio::time::timeout(PATIENCE, found).await.map_err(late).and_then(|found| found))
                });
            }
        }
        while let Some(ended) = looking.join_next().await {
            if let Ok((host, found)) = ended {
                self.found(host, found, now);
                // At once: another name may take long.
                self.plans.follow_names();
            }
        }
    }

    fn found(&mut self, host: String, found: Result<Found, String>, now: Instant) {
        let failed = self.due.get(&host).is_some_and(|(_, failed)| *failed);
        let found = found.and_then(|found| match found.addresses.is_empty() {
            true => Err("it leads to no address".to_owned()),
            false => Ok(found),
        });
        match found {
            Ok(Found { addresses, good_for }) => {
                if failed {
                    tracing::info!(name = host, "an application server's name leads somewhere again");
                }
                self.plans.groups().learn(&host, usable(addresses));
                self.due.insert(host, (now + good_for.clamp(AGAIN.0, AGAIN.1), false));
            }
            Err(why) => {
                if !failed {
                    tracing::warn!(name = host, why, "an application server's name cannot be looked up");
                }
                self.due.insert(host, (now + AGAIN.0, true));
            }
        }
    }
}
