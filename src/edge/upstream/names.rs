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
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
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
    /// Why nothing is known of its other addresses, if it has any: a name server failed when it was asked for
    /// those of IPv4, or of IPv6.
    pub unanswered: Unanswered,
}

/// For each address family, why nothing is known of it.
#[derive(Clone, Debug, Default)]
pub struct Unanswered {
    /// Of IPv4.
    pub v4: Option<String>,
    /// Of IPv6.
    pub v6: Option<String>,
}

impl Unanswered {
    fn holds(&self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4.is_some() } else { self.v6.is_some() }
    }

    fn why(&self) -> Option<String> {
        let told = |family, why: &Option<String>| why.as_ref().map(|why| format!("{family}: {why}"));
        told("IPv4", &self.v4).or_else(|| told("IPv6", &self.v6))
    }
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
            // Each by itself: asked for together, the family whose server fails would look as if it were none.
            let ask = |kind| resolver.lookup(host.as_str(), kind);
            let (v4, v6) = futures_util::join!(ask(RecordType::A), ask(RecordType::AAAA));
            both(answer(v4), answer(v6))
        })
    })
}

type Answer = Result<(Vec<IpAddr>, Duration), String>;

/// The addresses in an answer, which may be none.
fn answer(answer: Result<Lookup, NetError>) -> Answer {
    match answer {
        Ok(found) => {
            let address = |record: &Record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            };
            let good_for = found.valid_until().saturating_duration_since(Instant::now());
            Ok((found.answers().iter().filter_map(address).collect(), good_for))
        }
        Err(error) if error.is_no_records_found() => Ok((Vec::new(), Duration::MAX)),
        Err(error) => Err(error.to_string()),
    }
}

/// What two answers come to; an error if neither is one.
fn both(v4: Answer, v6: Answer) -> Result<Found, String> {
    let (mut addresses, mut good_for, mut unanswered) = (Vec::new(), Duration::MAX, Unanswered::default());
    for (answer, why) in [(v4, &mut unanswered.v4), (v6, &mut unanswered.v6)] {
        match answer {
            Ok((found, good)) => {
                addresses.extend(found);
                good_for = good_for.min(good);
            }
            Err(error) => *why = Some(error),
        }
    }
    match (&unanswered.v4, &unanswered.v6) {
        (Some(why), Some(_)) => Err(why.clone()),
        _ => Ok(Found { addresses, good_for, unanswered }),
    }
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
        let found = found.and_then(|mut found| {
            // What is not known to be otherwise is as it was.
            let before = self.plans.groups().known(&host).into_iter();
            found.addresses.extend(before.filter(|address| found.unanswered.holds(*address)));
            match found.addresses.is_empty() {
                true => Err("it leads to no address".to_owned()),
                false => Ok(found),
            }
        });
        match found {
            Ok(Found { addresses, unanswered, .. }) if unanswered.why().is_some() => {
                if !failed {
                    let why = unanswered.why();
                    tracing::warn!(name = host, why, "an application server's name is looked up in part");
                }
                self.plans.groups().learn(&host, usable(addresses));
                self.due.insert(host, (now + AGAIN.0, true));
            }
            Ok(Found { addresses, good_for, .. }) => {
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
