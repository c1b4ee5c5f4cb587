//! Who is told to slow down, when, and in which words; and what an attacker's signatures cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use keepgate_guard::refusal::Refusal;
use keepgate_guard::verifier::Verified;
use keepgate_guard::view::Listener;

use super::harness::{Echo, Gate, expired, request, route, token, token_of};
use crate::config::rates::{Rate, RateBy, Rates, RouteRate};
use crate::config::route::{Route, RouteAuth};
use crate::edge::authenticate::TokenCheck;

/// This many at once, and then nothing for as long as a test lasts.
fn only(burst: u32) -> Rate {
    format!("{burst}/h").parse::<Rate>().unwrap()
}

/// No rates but what `change` sets.
fn rates(change: impl FnOnce(&mut Rates)) -> Rates {
    let none =
        Rates { address: None, user: None, session: None, failed_verifications: None, ..Rates::default() };
    let mut rates = none;
    change(&mut rates);
    rates
}

fn limited(path: &str, auth: RouteAuth, burst: u32, by: RateBy) -> Route {
    Route { rate: Some(RouteRate { rate: only(burst), by }), ..route(path, auth) }
}

#[tokio::test]
async fn past_an_addresss_rate_the_answer_is_429_with_when_to_come_back_and_one_event() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.address = Some(only(2)));
    });
    let mut client = gate.client().await;
    for _ in 0..2 {
        let passed = client.send(request("GET", "/", &[], "")).await;
        assert_eq!(passed.status, 200);
        assert!(!passed.headers.contains_key("ratelimit"), "only a route's own rate is told of");
    }
    let refused = client.send(request("GET", "/nowhere", &[], "")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "before routing");
    assert_eq!(refused.problem(), "rate-limited");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
    assert_eq!(refused.headers["ratelimit-policy"], "\"address\";q=2;w=3600");
    assert!(refused.headers["ratelimit"].to_str().unwrap().starts_with("\"address\";r=0;t="));
    client.send(request("GET", "/", &[], "")).await;
    let events = gate.audit.0.lock().clone();
    assert!(events.len() == 1 && events[0].contains("rate_limited"), "folded: {events:?}");
    let metrics = gate.metrics.encode();
    assert!(metrics.contains(r#"keepgate_denials_total{reason="rate_address"} 2"#), "{metrics}");
    assert!(metrics.contains("keepgate_rate_buckets 1\n"), "{metrics}");
    assert!(metrics.contains("keepgate_rate_buckets_shared_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_clients_address_is_the_one_its_trusted_proxy_names() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.address = Some(only(1)));
        parts.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8:0:1::1"] {
        assert_eq!(gate.get("/", &[("x-forwarded-for", address)]).await.status, 200, "{address}");
    }
    for address in ["203.0.113.1", "::ffff:203.0.113.2", "2001:db8:0:1::2"] {
        assert_eq!(gate.get("/", &[("x-forwarded-for", address)]).await.status, 429, "{address}");
    }
}

#[tokio::test]
async fn a_user_is_limited_over_all_sessions_and_a_session_by_itself() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::Required)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| {
            rates.user = Some(only(3));
            rates.session = Some(only(2));
        });
    });
    let ask = async |user, session| {
        let token = token_of(user, session);
        let answer = gate.get("/", &[("authorization", &token)]).await;
        answer.headers.get("ratelimit-policy").map(|policy| policy.to_str().unwrap().to_owned())
    };
    assert_eq!(ask(1, 10).await, None);
    assert_eq!(ask(1, 10).await, None);
    assert_eq!(ask(1, 10).await.unwrap(), "\"session\";q=2;w=3600");
    assert_eq!(ask(1, 11).await.unwrap(), "\"user\";q=3;w=3600", "another session, but the same user");
    assert_eq!(ask(2, 20).await, None, "another user");
    let events = gate.audit.0.lock().clone();
    assert!(events.iter().all(|event| event.contains("rate_limited")), "{events:?}");
    assert!(events.iter().all(|event| event.contains("Account")), "it is known who: {events:?}");
}

#[tokio::test]
async fn a_routes_rate_is_told_on_every_answer_and_counts_before_the_body_is_read() {
    let app = Echo::start().await;
    let routes = vec![limited("/slow", RouteAuth::None, 2, RateBy::Route), route("/", RouteAuth::None)];
    let gate = Gate::with(routes, app.servers(), |parts| parts.settings.rates = rates(|_| {}));
    let first = gate.get("/slow", &[]).await;
    assert_eq!(first.headers["ratelimit-policy"], "\"route\";q=2;w=3600");
    assert_eq!(first.headers["ratelimit"], "\"route\";r=1;t=1800");
    assert_eq!(first.headers["x-app"], "1", "beside the application's own headers");
    // The edge's own refusals after the count tell of it, too.
    let huge = gate.raw("POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n").await;
    assert!(huge.starts_with("HTTP/1.1 413") && huge.contains("ratelimit: \"route\";r=0"), "{huge}");
    // The body never comes, and nobody waits for it.
    let head = "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\
                connection: close\r\n\r\n";
    let refused = gate.raw(head).await;
    assert!(refused.starts_with("HTTP/1.1 429") && !refused.contains("100 Continue"), "{refused}");
    assert_eq!(gate.get("/other", &[]).await.status, 200);
    assert!(gate.audit.0.lock().iter().all(|event| event.contains("*/slow")));
}

#[tokio::test]
async fn a_rate_by_user_counts_those_without_a_token_by_address() {
    let app = Echo::start().await;
    let routes = vec![limited("/", RouteAuth::Optional, 1, RateBy::User)];
    let gate = Gate::with(routes, app.servers(), |parts| parts.settings.rates = rates(|_| {}));
    let (ada, bob) = (token_of(1, 10), token_of(2, 20));
    assert_eq!(gate.get("/", &[("authorization", &ada)]).await.status, 200);
    assert_eq!(gate.get("/", &[("authorization", &bob)]).await.status, 200);
    assert_eq!(gate.get("/", &[]).await.status, 200);
    assert_eq!(gate.get("/", &[]).await.status, 429);
    assert_eq!(gate.get("/", &[("authorization", &ada)]).await.status, 429);
}

/// Counts the signatures that a verifier is asked for.
struct Counting(Arc<dyn TokenCheck>, Arc<AtomicUsize>);

impl TokenCheck for Counting {
    fn recall(&self, token: &str, now: i64) -> Option<Result<Verified, Refusal>> {
        self.0.recall(token, now)
    }

    fn verify_afresh(&self, token: &str, now: i64) -> Result<Verified, Refusal> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.verify_afresh(token, now)
    }

    fn still_holds(&self, verified: &Verified) -> Result<(), Refusal> {
        self.0.still_holds(verified)
    }

    fn on_change(&self, listener: &Listener) {
        self.0.on_change(listener);
    }
}

#[tokio::test]
async fn who_sends_bad_tokens_buys_no_more_signatures_than_the_rate_while_known_tokens_pass() {
    let app = Echo::start().await;
    let signatures = Arc::new(AtomicUsize::new(0));
    let routes = vec![route("/", RouteAuth::Required), route("/maybe", RouteAuth::Optional)];
    let gate = Gate::with(routes, app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.failed_verifications = Some(only(5)));
        parts.verifier = Arc::new(Counting(Arc::clone(&parts.verifier), Arc::clone(&signatures)));
    });
    let mut client = gate.client().await;
    let good = token(&[], "");
    assert_eq!(client.send(request("GET", "/", &[("authorization", &good)], "")).await.status, 200);
    let mut statuses = Vec::new();
    for _ in 0..50 {
        let forged = format!("{}AAAA", &good[..good.len() - 4]);
        let answer = client.send(request("GET", "/", &[("authorization", &forged)], "")).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 45);
    assert_eq!(signatures.load(Ordering::SeqCst), 1 + 5, "one was the good one's");
    // A good token that is remembered passes; one that is not could be anything.
    assert_eq!(client.send(request("GET", "/", &[("authorization", &good)], "")).await.status, 200);
    let fresh = token_of(7, 8);
    for path in ["/", "/maybe"] {
        let told = client.send(request("GET", path, &[("authorization", &fresh)], "")).await;
        assert_eq!((told.status.as_u16(), told.problem().as_str()), (429, "too-many-failures"), "{path}");
        assert!(told.headers.contains_key("retry-after"));
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 6);
    assert_eq!(client.send(request("GET", "/maybe", &[], "")).await.status, 200, "without a token");
    assert!(gate.metrics.encode().contains(r#"keepgate_denials_total{reason="rate_failures"} 47"#));
}

#[tokio::test]
async fn an_ipv6_site_buys_no_more_signatures_than_its_networks_rate_sixteen_times() {
    let app = Echo::start().await;
    let signatures = Arc::new(AtomicUsize::new(0));
    let gate = Gate::with(vec![route("/", RouteAuth::Required)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.failed_verifications = Some(only(2)));
        parts.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        parts.verifier = Arc::new(Counting(Arc::clone(&parts.verifier), Arc::clone(&signatures)));
    });
    let good = token(&[], "");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let mut client = gate.client().await;
    let mut ask = async |address: &str| {
        let headers = [("authorization", forged.as_str()), ("x-forwarded-for", address)];
        client.send(request("GET", "/", &headers, "")).await.status.as_u16()
    };
    for network in 0..40 {
        for _ in 0..3 {
            ask(&format!("2001:db8:1:{network:x}::1")).await;
        }
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 2 * 16);
    assert_eq!(ask("2001:db8:1:ffff::1").await, 429);
    assert_eq!(ask("2001:db8:2::1").await, 401, "the next site is looked at");
    assert_eq!(ask("192.0.2.1").await, 401);
}

#[tokio::test]
async fn an_expired_token_is_no_forgery_whoever_signed_it() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::Required)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.failed_verifications = Some(only(1)));
    });
    let expired = expired();
    let forged = format!("{}AAAA", &expired[..expired.len() - 4]);
    for token in [&expired, &forged, &forged, &forged] {
        let answer = gate.get("/", &[("authorization", token)]).await;
        // The same words for both: nobody learns which signature was good.
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["detail"], "the token has expired");
    }
}

#[tokio::test]
async fn tokens_that_verify_are_never_counted_as_failures() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::Required)], app.servers(), |parts| {
        parts.settings.rates = rates(|rates| rates.failed_verifications = Some(only(1)));
    });
    // More than the verifier of the tests remembers.
    for session in 0..100 {
        let token = token_of(1, session);
        assert_eq!(gate.get("/", &[("authorization", &token)]).await.status, 200);
    }
}
