//! What is still open when it may no longer be: tunnels and streams are cut by a revocation, a ban, or the
//! end of a drain, and by nothing else.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use http::HeaderValue;
use http_body_util::BodyExt;
use keepgate_guard::view::RevocationView;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};

use super::harness::{Gate, read_to_close, request, revoke_session, route, token, token_of, verifier};
use super::upgrades::{counted, is_alive, open, socket, sockets};
use super::upstreams::{read_head, scripted};
use crate::config::route::RouteAuth;
use crate::config::upstream::Server;
use crate::edge::authenticate::TokenCheck;
use crate::edge::connection::Farewell;
use crate::edge::guard::Client;
use crate::edge::watch::{Grounds, Stir, Watched, Watchlist};
use crate::model::time::{SharedClock, SystemClock};
use crate::observe::metrics::Metrics;
use crate::observe::metrics::tunnels::Cut;

/// A list, and what it goes by.
pub struct Hall {
    pub list: Rc<Watchlist>,
    pub stir: Stir,
    check: Arc<dyn TokenCheck>,
    clock: SharedClock,
    client: Client,
}

impl Hall {
    /// By this view.
    pub fn new(view: &Arc<RevocationView>) -> Self {
        let check: Arc<dyn TokenCheck> = Arc::new(verifier(view));
        let clock: SharedClock = Arc::new(SystemClock);
        let metrics = Metrics::new(crate::model::time::Timestamp::default());
        let list = Watchlist::new((&check, &Arc::default()), &clock, &metrics.edge_worker());
        let address = HeaderValue::from_static("192.0.2.1");
        let client = Client {
            address: "192.0.2.1".parse().unwrap(),
            real_ip: address.clone(),
            forwarded_for: address,
            free_at: 0,
        };
        Self { list, stir: Stir::new(&*check), check, clock, client }
    }

    /// What is open on the strength of this token.
    pub fn open(&self, token: &str) -> Watched {
        let token = token.strip_prefix("Bearer ").unwrap();
        let verified = self.check.verify_afresh(token, self.clock.now().as_secs()).unwrap();
        let grounds = Grounds::new(Some(verified), &self.client, Duration::from_secs(3600));
        Watched::new(&self.list, grounds)
    }
}

#[tokio::test]
async fn who_waits_is_woken_by_the_revocation_itself_and_leaves_no_place_behind() {
    let view = Arc::new(RevocationView::default());
    let hall = Hall::new(&view);
    let list = Rc::clone(&hall.list);
    let (mut cut, mut stays) = (hall.open(&token(&[], "")), hall.open(&token_of(1, 7)));
    let local = tokio::task::LocalSet::new();
    // Nothing else looks at the list here: without the wake this would wait for ever.
    local.spawn_local(Rc::clone(&list).keep_watch(hall.stir.subscribe()));
    // A task of its own is polled only when it is woken.
    let waiting = local.spawn_local(async move {
        let why = poll_fn(|cx| cut.poll_cut(cx)).await;
        (cut, why)
    });
    let waited = local.run_until(async {
        assert!(poll_fn(|cx| stays.poll_cut(cx)).now_or_never().is_none());
        while list.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        revoke_session(&view);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap()
    });
    let (mut cut, why) = waited.await;
    assert_eq!(why, Cut::Revoked);
    assert_eq!((cut.check(), stays.check()), (Some(Cut::Revoked), None));
    assert_eq!(list.waiting(), 1);
    drop((cut, stays));
    assert_eq!(list.waiting(), 0);
}

/// An application that sends one event and then waits for the other side's end.
async fn events() -> Server {
    scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await;
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn whose_session_ends_while_the_application_answers_gets_no_101_and_the_application_hears_of_it() {
    let (asked, mut arrived) = mpsc::unbounded_channel();
    let (answer, over) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (agree, ended) = (Arc::clone(&answer), Arc::clone(&over));
    let server = scripted(move |mut stream, _| {
        let (asked, agree, ended) = (asked.clone(), Arc::clone(&agree), Arc::clone(&ended));
        async move {
            read_head(&mut stream).await;
            asked.send(()).unwrap();
            agree.acquire().await.unwrap().forget();
            let agreed =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other/1\r\n\r\n";
            stream.write_all(agreed.as_bytes()).await.unwrap();
            assert_eq!(read_to_close(&mut stream).await, "");
            ended.add_permits(1);
        }
    })
    .await;
    let gate = Gate::start(open(), vec![server]);
    let ask = async |token: &str| {
        let head =
            "GET /private HTTP/1.1\r\nHost: localhost\r\nConnection: close, upgrade\r\nUpgrade: other/1\r\n";
        gate.raw(&format!("{head}Authorization: {token}\r\n\r\n")).await
    };
    let token = token(&[], "");
    let meanwhile = async {
        arrived.recv().await.unwrap();
        gate.revoke_session();
        answer.add_permits(1);
    };
    let (got, ()) = tokio::join!(ask(&token), meanwhile);
    assert!(got.starts_with("HTTP/1.1 401 ") && got.contains("the token was revoked"), "{got}");
    over.acquire().await.unwrap().forget();
    counted(&gate, r#"keepgate_streams_cut_total{reason="revoked"} 1"#).await;
    counted(&gate, "keepgate_tunnels_total 0").await;
    let events = gate.audit.0.lock().clone();
    assert!(events.len() == 1 && events[0].contains("revoked"), "{events:?}");
}

#[tokio::test]
async fn a_revocation_cuts_the_tunnels_of_its_session_and_no_others() {
    let (server, mut told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    let (mine, other) = (token(&[], ""), token_of(1, 7));
    let mut cut = socket(&gate, "/private", &[("authorization", &mine)]).await.unwrap();
    let mut stays = socket(&gate, "/private", &[("authorization", &other)]).await.unwrap();
    let mut nobodys = socket(&gate, "/", &[]).await.unwrap();
    for socket in [&mut cut, &mut stays, &mut nobodys] {
        assert!(is_alive(socket, "before").await);
        told.recv().await.unwrap();
    }
    gate.revoke_session();
    assert!(!matches!(cut.next().await, Some(Ok(_))));
    assert_eq!(told.recv().await.unwrap(), "end", "the application hears of it");
    assert!(is_alive(&mut stays, "after").await);
    assert!(is_alive(&mut nobodys, "after").await);
    counted(&gate, r#"keepgate_tunnels_ended_total{how="cut"} 1"#).await;
    assert!(gate.metrics.encode().contains(r#"keepgate_streams_cut_total{reason="revoked"} 1"#));
}

#[tokio::test]
async fn a_ban_cuts_what_its_client_holds_open() {
    let (server, _told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    gate.ban("192.0.2.0/24");
    assert!(is_alive(&mut socket, "somebody else's").await);
    gate.ban("127.0.0.0/8");
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    counted(&gate, r#"keepgate_streams_cut_total{reason="banned"} 1"#).await;
}

#[tokio::test]
async fn a_network_kept_out_by_a_new_configuration_is_cut_too() {
    let (server, _told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    assert!(is_alive(&mut socket, "before").await);
    gate.blacklist.configure(&["127.0.0.0/8".parse().unwrap()]);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn a_revocation_cuts_a_streaming_response_of_either_http() {
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], vec![events().await]);
    let (mine, other) = (token(&[], ""), token_of(1, 7));
    let mut client = gate.client().await;
    let mine = [("authorization", mine.as_str())];
    let mut one = client.0.send_request(request("GET", "/", &mine, "")).await.unwrap().into_body();
    let mut http2 = gate.http2().await;
    let mut ask = |headers| http2.send_request(request("GET", "https://localhost/", headers, ""));
    let mut two = ask(&mine).await.unwrap().into_body();
    let mut others = ask(&[("authorization", other.as_str())]).await.unwrap().into_body();
    for body in [&mut one, &mut two, &mut others] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    }
    gate.revoke_session();
    assert!(one.frame().await.unwrap().is_err());
    assert!(two.frame().await.unwrap().is_err());
    counted(&gate, r#"keepgate_streams_cut_total{reason="revoked"} 2"#).await;
    assert!(others.frame().now_or_never().is_none(), "its connection and its stream go on");
}

#[tokio::test]
async fn a_drain_leaves_tunnels_alone_until_its_deadline() {
    let (server, _told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    let https = gate.https();
    let draining = tokio::spawn(gate.running.drain(Farewell::Drain, Duration::from_secs(60)));
    // Once nobody is let in any more it has begun.
    while tokio::net::TcpStream::connect(https).await.is_ok() {}
    assert!(is_alive(&mut socket, "still there").await);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    assert_eq!(draining.await.unwrap(), 0, "nothing had to be cut");
}

#[tokio::test]
async fn at_the_deadline_of_a_drain_tunnels_are_cut() {
    let (server, mut told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    assert!(is_alive(&mut socket, "before").await);
    told.recv().await.unwrap();
    assert_eq!(gate.running.drain(Farewell::Drain, Duration::ZERO).await, 1);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    assert_eq!(told.recv().await.unwrap(), "end");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let (server, _told) = sockets().await;
    let gate = Gate::with(open(), vec![server], |parts| {
        parts.settings.limits.tunnel_idle_timeout = Duration::from_millis(50);
    });
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    counted(&gate, r#"keepgate_tunnels_ended_total{how="idle"} 1"#).await;
}

#[tokio::test]
async fn a_tunnel_has_a_longest_life() {
    let (server, _told) = sockets().await;
    let gate =
        Gate::with(open(), vec![server], |parts| parts.settings.limits.tunnel_lifetime = Duration::ZERO);
    let mut socket = socket(&gate, "/", &[]).await.unwrap();
    // Any change makes the gate look; without one it looks every few seconds.
    gate.ban("192.0.2.0/24");
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    counted(&gate, r#"keepgate_streams_cut_total{reason="lapsed"} 1"#).await;
}
