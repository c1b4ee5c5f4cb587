//! Servers by name: followed when they move, kept while nobody knows where they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::route::RouteAuth;
use crate::config::upstream::{Named, Upstream};
use crate::edge::tests::harness::{Echo, Gate, route};
use crate::edge::tests::plans::settings;
use crate::edge::upstream::names::{Found, Names, Resolve, Unanswered, look_ahead};
use crate::edge::upstream::state::Health;

type Zone = Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>;

/// A resolver that knows this zone; everything is good for a minute.
fn of(zone: &Zone, asked: &Arc<Mutex<u32>>) -> Resolve {
    let (zone, asked) = (Arc::clone(zone), Arc::clone(asked));
    Arc::new(move |host| {
        *asked.lock() += 1;
        let addresses = zone.lock().get(&host).cloned().ok_or_else(|| "no such name".to_owned());
        Box::pin(async move {
            let unanswered = Unanswered::default();
            Ok(Found { addresses: addresses?, good_for: Duration::from_secs(60), unanswered })
        })
    })
}

#[tokio::test]
async fn a_name_is_followed_when_it_is_due_and_what_was_known_is_kept_while_nobody_answers() {
    let app = Echo::start().await;
    let port = match &app.server {
        crate::config::upstream::Server::Tcp(address) => address.port(),
        crate::config::upstream::Server::Unix(_) => unreachable!("it listens on TCP"),
    };
    let gate = Gate::with(vec![route("/", RouteAuth::None)], Vec::new(), |parts| {
        let named = Named { host: "app.internal".to_owned(), port, weight: 1, backup: false, zone: None };
        let group = Upstream { names: vec![named], ..Upstream::of(Vec::new()) };
        parts.settings.upstreams.insert("app".to_owned(), group);
    });
    let (zone, asked) = (Zone::default(), Arc::new(Mutex::new(0)));
    let mut names = Names::new(gate.running.plans(), of(&zone, &asked));
    let servers =
        || gate.running.upstreams().standing().into_iter().map(|one| one.server).collect::<Vec<_>>();
    let mut now = Instant::now();
    names.look(now).await;
    let refused = gate.get("/", &[]).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "upstream-unresolved"));

    zone.lock().insert("app.internal".to_owned(), vec!["127.0.0.1".parse().unwrap()]);
    names.look(now + Duration::from_secs(4)).await;
    assert_eq!((servers(), *asked.lock()), (vec![format!("app.internal:{port}")], 1), "not due yet");
    assert_eq!(gate.running.upstreams().standing()[0].told.health, Health::Unresolved);
    now += Duration::from_secs(5);
    names.look(now).await;
    assert_eq!(servers(), [format!("127.0.0.1:{port}")]);
    assert_eq!(gate.get("/", &[]).await.status, 200);

    zone.lock().clear();
    now += Duration::from_secs(60);
    names.look(now).await;
    assert_eq!((gate.get("/", &[]).await.status.as_u16(), *asked.lock()), (200, 3));
    zone.lock()
        .insert("app.internal".to_owned(), vec!["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    now += Duration::from_secs(5);
    names.look(now).await;
    assert_eq!(servers(), [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")]);
    assert_eq!(app.connections(), 1, "the pool of a server that stays is kept");

    // A plan with a name that is new has its servers from its first request on.
    let mut next = settings(&gate, vec![route("/", RouteAuth::None)], Vec::new());
    let named = Named { host: "new.internal".to_owned(), port, weight: 1, backup: false, zone: None };
    next.upstreams.insert("app".to_owned(), Upstream { names: vec![named], ..Upstream::of(Vec::new()) });
    zone.lock().insert("new.internal".to_owned(), vec!["127.0.0.1".parse().unwrap()]);
    let (changer, upstreams) = (gate.running.changer(), next.upstreams.clone());
    let prepared = changer.prepare(next).unwrap();
    look_ahead(&gate.running.plans(), &upstreams, &of(&zone, &asked), Duration::from_secs(60)).await;
    changer.put(prepared);
    assert_eq!(
        (servers(), gate.get("/", &[]).await.status.as_u16()),
        (vec![format!("127.0.0.1:{port}")], 200)
    );
}

/// A gate whose only group leads to a name.
fn gate_of(name: &str) -> Gate {
    Gate::with(vec![route("/", RouteAuth::None)], Vec::new(), |parts| {
        let named = Named { host: name.to_owned(), port: 7, weight: 1, backup: false, zone: None };
        let group = Upstream { names: vec![named], ..Upstream::of(Vec::new()) };
        parts.settings.upstreams.insert("app".to_owned(), group);
    })
}

#[tokio::test]
async fn an_answer_that_misses_a_server_for_a_moment_makes_nobody_forget_that_it_is_drained() {
    let gate = gate_of("app.internal");
    let (zone, asked) = (Zone::default(), Arc::new(Mutex::new(0)));
    let mut names = Names::new(gate.running.plans(), of(&zone, &asked));
    let mut now = Instant::now();
    let both: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    let mut lead = async |to: &[IpAddr]| {
        zone.lock().insert("app.internal".to_owned(), to.to_vec());
        names.look(now).await;
        now += Duration::from_secs(60);
    };
    lead(&both).await;
    let upstreams = gate.running.upstreams();
    upstreams.drain("app", "192.0.2.1:7", true).unwrap();
    lead(&both[1..]).await;
    assert_eq!(upstreams.standing().len(), 1);
    lead(&both).await;
    assert!(upstreams.is_drained("app", "192.0.2.1:7").unwrap());
    assert!(!upstreams.is_drained("app", "192.0.2.2:7").unwrap());
}

#[tokio::test]
async fn an_address_family_that_cannot_be_asked_for_stays_as_it_was() {
    let gate = gate_of("app.internal");
    let found = Arc::new(Mutex::new((Vec::<IpAddr>::new(), Unanswered::default())));
    let said = Arc::clone(&found);
    let resolve: Resolve = Arc::new(move |_| {
        let (addresses, unanswered) = said.lock().clone();
        Box::pin(async move { Ok(Found { addresses, good_for: Duration::from_secs(60), unanswered }) })
    });
    let mut names = Names::new(gate.running.plans(), resolve);
    let servers =
        || gate.running.upstreams().standing().into_iter().map(|one| one.server).collect::<Vec<_>>();
    let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let other: IpAddr = "192.0.2.9".parse().unwrap();
    let mut now = Instant::now();
    let failing = || Unanswered { v6: Some("SERVFAIL".to_owned()), v4: None };
    for (answer, unanswered, expected) in [
        (vec![v4, v6], Unanswered::default(), vec!["192.0.2.1:7", "[2001:db8::1]:7"]),
        (vec![other], failing(), vec!["192.0.2.9:7", "[2001:db8::1]:7"]),
        (vec![other], Unanswered::default(), vec!["192.0.2.9:7"]),
        (vec![], failing(), vec!["192.0.2.9:7"]),
    ] {
        *found.lock() = (answer, unanswered);
        names.look(now).await;
        assert_eq!(servers(), expected);
        now += Duration::from_secs(60);
    }
}
