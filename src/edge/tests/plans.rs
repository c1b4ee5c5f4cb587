//! Plans put in place while requests are under way: nobody is cut, and the next request follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::harness::{Echo, Gate, answer, request, route};
use super::upgrades::{is_alive, socket, sockets};
use crate::config::cors::Cors;
use crate::config::limits::Limits;
use crate::config::rates::{RateBy, Rates, RouteRate};
use crate::config::route::{Route, RouteAuth};
use crate::config::upstream::{Server, Upstream};
use crate::edge::EdgeError;
use crate::edge::plan::Settings;

pub fn settings(gate: &Gate, routes: Vec<Route>, servers: Vec<Server>) -> Settings {
    Settings {
        limits: Limits::default(),
        rates: Rates::default(),
        cors: Cors::default(),
        request_headers: crate::config::headers::HeaderRules::default(),
        response_headers: crate::config::headers::HeaderRules::default(),
        filters: Vec::new(),
        bans: crate::config::filter::Bans::default(),
        forwarding: crate::config::forwarding::Forwarding::default(),
        trusted_proxies: Vec::new(),
        terminator: gate.terminator.clone(),
        hsts: Duration::ZERO,
        routes,
        error_pages: Vec::new(),
        upstreams: BTreeMap::from([("app".to_owned(), Upstream::of(servers))]),
    }
}

fn change(gate: &Gate, settings: Settings) {
    let changer = gate.running.changer();
    changer.put(changer.prepare(settings).unwrap());
}

fn open(path: &str) -> Vec<Route> {
    vec![route(path, RouteAuth::None)]
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_go_on_through_many_changes_and_none_of_their_requests_fails() {
    let app = Echo::start().await;
    let gate = Arc::new(Gate::with(open("/"), app.servers(), |parts| parts.listen.workers = 2));
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (gate, over, done) = (Arc::clone(&gate), Arc::clone(&over), Arc::clone(&done));
        clients.spawn(async move {
            let (mut one, mut two) = (gate.client().await, gate.http2().await);
            while !over.load(Ordering::Relaxed) {
                assert_eq!(one.send(request("POST", "/x", &[], "a body")).await.status, 200);
                let asked = request("GET", "https://localhost/y", &[], "");
                assert_eq!(answer(two.send_request(asked).await.unwrap()).await.status, 200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut client = gate.client().await;
    let mut round = 0;
    while round < 100 || done.load(Ordering::Relaxed) < 400 {
        round += 1;
        let mut routes = open("/");
        routes.extend(open(&format!("/round{round}")));
        let mut next = settings(&gate, routes, app.servers());
        next.limits.connections_per_address = 100 + round;
        change(&gate, next);
        assert_eq!(client.send(request("GET", "/x", &[], "")).await.status, 200);
    }
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    // Five requests are under way at once; what counts is that a change costs none.
    assert!(app.connections() < 50, "pools survive: {} connections", app.connections());
}

#[tokio::test]
async fn a_change_is_in_force_with_the_next_request_on_an_open_connection() {
    let (old, new) = (Echo::start().await, Echo::start().await);
    let gate = Gate::start(open("/old"), old.servers());
    let mut client = gate.client().await;
    assert_eq!(client.send(request("GET", "/old", &[], "")).await.status, 200);
    change(&gate, settings(&gate, open("/new"), new.servers()));
    assert_eq!(client.send(request("GET", "/old", &[], "")).await.status, 404);
    let got = client.send(request("GET", "/new", &[], "")).await;
    assert_eq!((got.status.as_u16(), new.connections()), (200, 1));
    assert!(!got.headers.contains_key("strict-transport-security"), "hsts = 0s came with it");
}

#[tokio::test]
async fn a_request_keeps_the_plan_it_began_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = Server::Tcp(listener.local_addr().unwrap());
    let other = Echo::start().await;
    let gate = Gate::start(open("/"), vec![slow]);
    let asking = {
        let mut client = gate.client().await;
        tokio::spawn(async move { client.send(request("GET", "/x", &[], "")).await })
    };
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    change(&gate, settings(&gate, open("/elsewhere"), other.servers()));
    assert_eq!(gate.get("/x", &[]).await.status, 404);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let got = asking.await.unwrap();
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"ok"[..]));
    assert_eq!(other.connections(), 0);
    // Its connection went back to a pool that nobody asks any more, and was closed with it.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_any_more_is_not_believed_on_an_old_connection() {
    let app = Echo::start().await;
    let gate = Gate::with(open("/"), app.servers(), |parts| {
        parts.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut client = gate.client().await;
    let named = || request("GET", "/", &[("x-forwarded-for", "203.0.113.9")], "");
    assert_eq!(client.send(named()).await.echoed("x-real-ip"), ["203.0.113.9"]);
    change(&gate, settings(&gate, open("/"), app.servers()));
    assert_eq!(client.send(named()).await.echoed("x-real-ip"), ["127.0.0.1"]);
    let mut trusting = settings(&gate, open("/"), app.servers());
    trusting.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    change(&gate, trusting);
    assert_eq!(client.send(named()).await.echoed("x-real-ip"), ["203.0.113.9"]);
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_changes_nothing() {
    let app = Echo::start().await;
    let gate = Gate::start(open("/"), app.servers());
    let changer = gate.running.changer();
    let twice = [open("/a"), open("/a")].concat();
    let refused = changer.prepare(settings(&gate, twice, app.servers())).unwrap_err();
    assert!(matches!(refused, EdgeError::Route(_)), "{refused}");
    let refused = changer.prepare(settings(&gate, open("/"), Vec::new())).unwrap_err();
    assert!(matches!(refused, EdgeError::NoServers { .. }), "{refused}");
    assert_eq!(gate.get("/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_smaller_budget_turns_the_next_away_and_keeps_who_is_in() {
    let app = Echo::start().await;
    let gate = Gate::start(open("/"), app.servers());
    let (mut one, mut two) = (gate.client().await, gate.client().await);
    let mut smaller = settings(&gate, open("/"), app.servers());
    smaller.limits.connections_per_address = 1;
    change(&gate, smaller);
    assert!(gate.tls(b"http/1.1").await.is_err());
    for client in [&mut one, &mut two] {
        assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    }
}

#[tokio::test]
async fn a_tunnel_goes_on_through_a_change_that_takes_its_route_and_its_server_away() {
    let (server, _told) = sockets().await;
    let gate = Gate::start(open("/"), vec![server]);
    let mut tunnel = socket(&gate, "/ws", &[]).await.unwrap();
    let other = Echo::start().await;
    change(&gate, settings(&gate, open("/other"), other.servers()));
    assert_eq!(gate.get("/ws", &[]).await.status, 404, "the change is in place");
    assert!(is_alive(&mut tunnel, "still there").await);
}

#[tokio::test]
async fn a_change_forgets_nothing_of_a_rate_that_stays_as_it_was() {
    let app = Echo::start().await;
    let limited = |rate: &str| {
        let rate = Some(RouteRate { rate: rate.parse().unwrap(), by: RateBy::Address });
        vec![Route { rate, ..route("/", RouteAuth::None) }]
    };
    let gate = Gate::start(limited("2/h"), app.servers());
    let mut client = gate.client().await;
    let mut ask = async || client.send(request("GET", "/", &[], "")).await.status.as_u16();
    assert_eq!((ask().await, ask().await, ask().await), (200, 200, 429));
    let mut next = settings(&gate, [limited("2/h"), open("/other")].concat(), app.servers());
    next.rates.user = None;
    change(&gate, next);
    assert_eq!(ask().await, 429);
    change(&gate, settings(&gate, limited("3/h"), app.servers()));
    assert_eq!(ask().await, 200, "another rate begins afresh");
    let mut next = settings(&gate, limited("3/h"), app.servers());
    next.rates.address = Some("1/h".parse().unwrap());
    change(&gate, next);
    assert_eq!((ask().await, ask().await), (200, 429), "so do those of all routes");
}
