//! A disk that hangs, more files than may be open, and clients that take nothing: each is bounded, told as what it
//! is, and no concern of anybody else's.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::RETRY_AFTER;
use http_body_util::{BodyExt as _, Empty};
use keepgate_guard::view::RevocationView;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use super::cutting::Hall;
use super::harness::{Answer, Echo, Gate, answer, request, revoke_session, route, token};
use super::statics::{folder, nobody, site};
use super::upgrades::counted;
use super::upstreams::{read_head, scripted};
use crate::config::route::{Route, RouteAuth, RouteTarget};
use crate::edge::body::{BodyError, Outgoing};
use crate::edge::codings::Coding;
use crate::edge::compress;
use crate::edge::compress::body::Compressed;
use crate::edge::local::LocalApi;
use crate::edge::statics::body::{FileBody, OPEN_FILES, Rooms};

/// More threads than wait for the disk.
const THREADS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);

/// Whatever waits for the disk waits until this is dropped.
type Hung = mpsc::Sender<()>;

/// An API that keeps every thread busy that its edge thread has for the disk, as a disk does that hangs.
fn hanging() -> (LocalApi, Hung) {
    let (hung, waits) = mpsc::channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    let api: LocalApi = Arc::new(move |_| {
        let waits = Arc::clone(&waits);
        Box::pin(async move {
            for _ in 0..THREADS {
                let waits = Arc::clone(&waits);
                // Ends with an error: nothing is ever sent.
                tokio::task::spawn_blocking(move || waits.lock().recv().is_ok());
            }
            http::Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync())
        })
    });
    (api, hung)
}

async fn all_of(gate: &Gate, count: usize, path: &str) -> Vec<Answer> {
    let http2 = gate.http2().await;
    let target = format!("https://localhost{path}");
    let asked = (0..count).map(|_| {
        let mut http2 = http2.clone();
        let ask = request("GET", &target, &[], "");
        async move { answer(http2.send_request(ask).await.unwrap()).await }
    });
    join_all(asked).await
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_504_for_so_many_and_a_503_for_the_rest_and_keeps_nobody_else_waiting() {
    let (dir, echo) = (site(&[("a.txt", "a")]), Echo::start().await);
    let (api, hung) = hanging();
    let hang = Route { target: RouteTarget::Api, ..route("/hang", RouteAuth::None) };
    let routes = vec![folder("/", RouteAuth::None, dir.path(), None), hang, route("/app", RouteAuth::None)];
    let gate = Gate::with(routes, echo.servers(), |parts| {
        parts.api = api;
        parts.settings.limits.http2_streams = 1000;
        parts.settings.limits.response_timeout = Duration::from_secs(1);
    });
    assert_eq!(gate.get("/a.txt", &[]).await.body, "a");
    assert_eq!(gate.get("/hang", &[]).await.status, 200);
    let answers = all_of(&gate, OPEN_FILES + 40, "/a.txt").await;
    let (timed_out, full): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 504);
    assert_eq!((timed_out.len(), full.len()), (OPEN_FILES, 40));
    assert!(timed_out.iter().all(|answer| answer.problem() == "disk-timeout"));
    for answer in full {
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "files-full"));
        assert_eq!(answer.headers[RETRY_AFTER], "1");
    }
    // Nobody waits for those any more, and still no more are begun; what needs no disk is served.
    assert_eq!(gate.get("/a.txt", &[]).await.problem(), "files-full");
    assert_eq!(gate.get("/app", &[]).await.status, 200);
    drop(hung);
    while gate.get("/a.txt", &[]).await.status != 200 {}
}

#[tokio::test]
async fn no_more_files_are_open_than_there_is_room_for_however_slowly_they_are_taken() {
    let dir = site(&[]);
    let large = std::fs::File::create(dir.path().join("large.bin")).unwrap();
    large.set_len(1 << 30).unwrap();
    std::fs::write(dir.path().join("small.txt"), "small").unwrap();
    let gate = Gate::with(vec![folder("/", RouteAuth::None, dir.path(), None)], nobody(), |parts| {
        parts.settings.limits.http2_streams = 1000;
    });
    let mut http2 = gate.http2().await;
    let mut open = Vec::new();
    for _ in 0..OPEN_FILES {
        let ask = request("GET", "https://localhost/large.bin", &[], "");
        let response = http2.send_request(ask).await.unwrap();
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    let full = gate.get("/small.txt", &[]).await;
    assert_eq!((full.status.as_u16(), full.problem().as_str()), (503, "files-full"));
    assert_eq!(full.headers[RETRY_AFTER], "1");
    open.pop();
    while gate.get("/small.txt", &[]).await.status != 200 {}
}

#[test]
fn a_revocation_wakes_a_file_that_waits_for_its_disk_or_its_client() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    let (hung, waits) = mpsc::channel::<()>();
    let waited = LocalSet::new().block_on(&runtime, async {
        // The one thread there is for the disk.
        tokio::task::spawn_blocking(move || waits.recv().is_ok());
        let view = Arc::new(RevocationView::default());
        let hall = Hall::new(&view);
        tokio::task::spawn_local(Rc::clone(&hall.list).keep_watch(hall.stir.subscribe()));
        let room = Rooms::default().take().unwrap();
        let watched = hall.open(&token(&[], ""));
        let hour = Duration::from_secs(3600);
        let mut body = FileBody::new((file, room), (0, 1 << 20), Bytes::from_static(b"first"), hour, watched);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        let waiting = tokio::task::spawn_local(async move { body.frame().await });
        // Another one, compressed, whose client takes nothing: nobody asks it for more.
        let (file, room) = (tempfile::tempfile().unwrap(), Rooms::default().take().unwrap());
        let untaken = FileBody::new((file, room), (0, 9), Bytes::new(), hour, hall.open(&token(&[], "")));
        let place = compress::room::Room::take(&Rc::default(), [192, 0, 2, 1].into()).unwrap();
        let untaken = Compressed::new(Outgoing::file(untaken), Coding::Gzip, place).unwrap();
        let mut untaken = Outgoing::compressed(untaken);
        let blocked = tokio::task::spawn_local(async move { poll_fn(|cx| untaken.poll_cut(cx)).await });
        let listed = async {
            while hall.list.waiting() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, listed).await.expect("who waits is on the list");
        revoke_session(&view);
        let why = tokio::time::timeout(PATIENCE, blocked).await.expect("it is woken").unwrap();
        assert!(matches!(why, BodyError::Cut(_)), "{why}");
        tokio::time::timeout(PATIENCE, waiting).await.expect("it is woken").unwrap()
    });
    let error = waited.unwrap().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(BodyError::Cut(_))), "{error}");
    drop(hung);
}

#[tokio::test]
async fn a_revocation_cuts_what_a_client_of_http1_does_not_take() {
    let dir = site(&[]);
    std::fs::File::create(dir.path().join("large.bin")).unwrap().set_len(1 << 30).unwrap();
    let endless = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let piece = [b'x'; 1 << 16];
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let routes = vec![
        folder("/", RouteAuth::Required, dir.path(), None),
        route("/app", RouteAuth::Required),
        route("/other", RouteAuth::Required),
    ];
    let gate = Gate::start(routes, vec![endless]);
    let token = token(&[], "");
    let mut open = Vec::new();
    for path in ["/large.bin", "/app"] {
        let mut stream = gate.tls(b"http/1.1").await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        stream.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        open.push(stream);
    }
    // The one thread has gone round often by then: it has filled what the system takes, and waits.
    for _ in 0..50 {
        assert_eq!(gate.get("/other", &[]).await.status, 401);
    }
    gate.revoke_session();
    let cut = counted(&gate, r#"keepgate_streams_cut_total{reason="revoked"} 2"#);
    tokio::time::timeout(PATIENCE, cut).await.expect("both are cut while nobody reads");
    drop(open);
}
