//! Files of a folder through the edge: what is served, how, and what is not; behind authentication as any route.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
};
use tempfile::TempDir;

use super::harness::{Answer, Gate, answer, request, revoke_session, route, token};
use crate::config::content::Folder;
use crate::config::route::{Route, RouteAuth, RouteTarget};
use crate::config::upstream::Server;

/// A route to this folder.
pub fn folder(path: &str, auth: RouteAuth, root: &Path, fallback: Option<&str>) -> Route {
    let (index, fallback) = ("index.html".to_owned(), fallback.map(str::to_owned));
    let target = RouteTarget::Folder(Folder { root: root.to_owned(), index, fallback, cache_control: None });
    Route { target, upgrade: Vec::new(), ..route(path, auth) }
}

/// An application that nobody asks.
pub fn nobody() -> Vec<Server> {
    vec![Server::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)))]
}

/// A folder with these files.
pub fn site(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn age(path: &Path, by: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - by).unwrap();
}

fn open_to_all(dir: &TempDir) -> Gate {
    Gate::start(vec![folder("/", RouteAuth::None, dir.path(), None)], nobody())
}

fn said<'a>(answer: &'a Answer, name: &http::HeaderName) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn send(gate: &Gate, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    gate.client().await.send(request(method, path, headers, "")).await
}

#[tokio::test]
async fn a_file_is_served_with_its_type_its_tag_and_its_date() {
    let dir =
        site(&[("index.html", "<p>home"), ("a/index.html", "<p>a"), ("a/b c.txt", "text"), ("x.bin", "")]);
    age(&dir.path().join("a/b c.txt"), Duration::from_secs(100));
    let gate = open_to_all(&dir);
    let got = gate.get("/a/b%20c.txt", &[]).await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"text"[..]));
    assert_eq!(said(&got, &CONTENT_TYPE), "text/plain; charset=utf-8");
    assert_eq!((said(&got, &X_CONTENT_TYPE_OPTIONS), said(&got, &ACCEPT_RANGES)), ("nosniff", "bytes"));
    assert_eq!((said(&got, &CACHE_CONTROL), said(&got, &VARY)), ("no-cache", "accept-encoding"));
    let (tag, date) = (said(&got, &ETAG).to_owned(), said(&got, &LAST_MODIFIED).to_owned());
    assert!(tag.starts_with('"') && date.ends_with("GMT"), "{tag} {date}");
    let head = send(&gate, "HEAD", "/a/b%20c.txt", &[]).await;
    assert_eq!((head.status.as_u16(), said(&head, &CONTENT_LENGTH), head.body.len()), (200, "4", 0));
    assert_eq!(said(&head, &ETAG), tag);
    for condition in [("if-none-match", tag.as_str()), ("if-modified-since", date.as_str())] {
        let same = gate.get("/a/b%20c.txt", &[condition]).await;
        assert_eq!((same.status.as_u16(), same.body.len(), said(&same, &ETAG)), (304, 0, tag.as_str()));
        assert!(!same.headers.contains_key(CONTENT_LENGTH));
    }
    assert_eq!(gate.get("/a/b%20c.txt", &[("if-match", "\"other\"")]).await.status, 412);
    assert_eq!(gate.get("/", &[]).await.body, "<p>home");
    assert_eq!(gate.get("/a/", &[]).await.body, "<p>a");
    let sent_on = gate.get("/a?q=1", &[]).await;
    assert_eq!((sent_on.status.as_u16(), said(&sent_on, &LOCATION)), (308, "/a/?q=1"));
    let empty = gate.get("/x.bin", &[]).await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (200, 0));
    assert_eq!(said(&empty, &CONTENT_TYPE), "application/octet-stream");
    // Written anew: another state.
    fs::write(dir.path().join("a/b c.txt"), "next").unwrap();
    let next = gate.get("/a/b%20c.txt", &[("if-none-match", &tag)]).await;
    assert_eq!((next.status.as_u16(), &next.body[..]), (200, &b"next"[..]));
}

#[tokio::test]
async fn what_was_put_in_place_with_the_date_and_size_of_what_it_replaces_has_another_tag() {
    let dir = site(&[("app.js", "one;")]);
    let gate = open_to_all(&dir);
    let before = gate.get("/app.js", &[]).await;
    let (tag, date) = (said(&before, &ETAG), said(&before, &LAST_MODIFIED));
    // As `cp -p` and `rsync --inplace -t` do.
    let path = dir.path().join("app.js");
    let (modified, then) = (fs::metadata(&path).unwrap().modified().unwrap(), fs::metadata(&path).unwrap());
    fs::write(&path, "two;").unwrap();
    let changed = |stat: &fs::Metadata| (stat.ctime(), stat.ctime_nsec());
    // The system's clock of files ticks a few hundred times a second.
    while {
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        changed(&fs::metadata(&path).unwrap()) == changed(&then)
    } {}
    let after = gate.get("/app.js", &[("if-none-match", tag)]).await;
    assert_eq!((after.status.as_u16(), &after.body[..]), (200, &b"two;"[..]));
    assert_eq!(said(&after, &LAST_MODIFIED), date);
    for condition in [tag, date] {
        let part = gate.get("/app.js", &[("range", "bytes=1-"), ("if-range", condition)]).await;
        assert_eq!((part.status.as_u16(), part.body.len()), (200, 4), "no part of another file: {condition}");
    }
}

#[tokio::test]
async fn a_part_is_served_as_one_and_never_of_another_state() {
    let dir = site(&[("f.bin", "0123456789")]);
    let gate = open_to_all(&dir);
    let tag = said(&gate.get("/f.bin", &[]).await, &ETAG).to_owned();
    let part = gate.get("/f.bin", &[("range", "bytes=2-4"), ("if-range", &tag)]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"234"[..]));
    assert_eq!((said(&part, &CONTENT_RANGE), said(&part, &CONTENT_LENGTH)), ("bytes 2-4/10", "3"));
    assert_eq!(gate.get("/f.bin", &[("range", "bytes=-1")]).await.body, "9");
    let whole = gate.get("/f.bin", &[("range", "bytes=2-4"), ("if-range", "\"old\"")]).await;
    assert_eq!((whole.status.as_u16(), &whole.body[..]), (200, &b"0123456789"[..]));
    let several = gate.get("/f.bin", &[("range", "bytes=0-1,4-5")]).await;
    assert_eq!((several.status.as_u16(), several.body.len()), (200, 10));
    let beyond = gate.get("/f.bin", &[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status.as_u16(), said(&beyond, &CONTENT_RANGE)), (416, "bytes */10"));
    assert_eq!(said(&beyond, &CACHE_CONTROL), "no-store", "or a cache would give it to everybody");
    let head = send(&gate, "HEAD", "/f.bin", &[("range", "bytes=2-4")]).await;
    assert_eq!((head.status.as_u16(), said(&head, &CONTENT_LENGTH)), (200, "10"));
}

#[tokio::test]
async fn nothing_but_files_of_the_root_is_shown_however_it_is_asked_for() {
    let dir = site(&[
        ("root/index.html", "home"),
        ("root/.env", "SECRET"),
        ("root/.git/config", "SECRET"),
        ("root/empty/x", "x"),
        ("root/.well-known/security.txt", "contact"),
        ("secret", "SECRET"),
    ]);
    let root = dir.path().join("root");
    symlink("../secret", root.join("out")).unwrap();
    symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    symlink("index.html", root.join("within.html")).unwrap();
    let gate = Gate::start(vec![folder("/s", RouteAuth::None, &root, None)], nobody());
    for path in [
        "/s/.env",
        "/s/%2eenv",
        "/s/.git/config",
        "/s/out",
        "/s/absolute",
        "/s/up/secret",
        "/s/zero",
        "/s/empty/",
        "/s/empty",
        "/s/none",
        "/s/index.html/",
        "/s/index.html/x",
        "/s/.%2e/secret",
        "/s/..%2fsecret",
        "/s/../secret",
        "/s/%2e%2e/secret",
        "/s/%252e%252e/secret",
        "/s//index.html",
        "/s/x%2f..%2f..%2fsecret",
        "/s/index.html%00",
        "/s/index.html%00.txt",
        "/s/..%5csecret",
        "/s/..;/secret",
        "/s/index.html::$DATA",
        "/s/%c0%ae%c0%ae/secret",
        "/s/proc/self/environ",
        "/s//etc/passwd",
        "/s/s/index.html",
    ] {
        let got =
            gate.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        let refused = ["400", "404"].iter().any(|status| got.starts_with(&format!("HTTP/1.1 {status} ")));
        assert!(refused && !got.contains("SECRET"), "{path}: {got}");
    }
    assert_eq!(gate.get("/s/.well-known/security.txt", &[]).await.body, "contact");
    assert_eq!(gate.get("/s/within.html", &[]).await.body, "home");
    let got = gate.get("/s/none", &[]).await;
    assert_eq!((got.status, got.problem().as_str()), (StatusCode::NOT_FOUND, "no-file"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let got = send(&gate, method, "/s/", &[]).await;
        assert_eq!((got.status.as_u16(), said(&got, &ALLOW)), (405, "GET, HEAD"), "{method}");
    }
}

#[tokio::test]
async fn a_page_answers_for_what_is_not_there_and_for_no_script() {
    let dir = site(&[("app.html", "app"), ("real.txt", "real")]);
    let gate = Gate::start(vec![folder("/", RouteAuth::None, dir.path(), Some("app.html"))], nobody());
    for (path, status, body) in
        [("/", 200, "app"), ("/user/john.doe", 200, "app"), ("/a/b/", 200, "app"), ("/real.txt", 200, "real")]
    {
        let got = gate.get(path, &[]).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (status, body.as_bytes()), "{path}");
    }
    assert_eq!(gate.get("/old.js", &[]).await.status, 404);
    assert_eq!(gate.get("/.env", &[]).await.status, 404);
}

#[tokio::test]
async fn what_lies_there_compressed_is_served_to_who_takes_it_unless_it_is_older() {
    let dir = site(&[
        ("a.js", "plain"),
        ("a.js.br", "BR"),
        ("a.js.gz", "GZ"),
        ("a.png", "png"),
        ("a.png.gz", "GZ"),
    ]);
    let gate = open_to_all(&dir);
    let plain = gate.get("/a.js", &[]).await;
    for (accepts, coding, body) in [
        ("gzip, br", "br", "BR"),
        ("gzip", "gzip", "GZ"),
        ("zstd", "", "plain"),
        ("br;q=0.1, gzip", "gzip", "GZ"),
    ] {
        let got = gate.get("/a.js", &[("accept-encoding", accepts)]).await;
        assert_eq!((said(&got, &CONTENT_ENCODING), &got.body[..]), (coding, body.as_bytes()), "{accepts}");
        assert_eq!(said(&got, &CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(said(&got, &VARY), "accept-encoding");
        assert_eq!(said(&got, &ETAG) == said(&plain, &ETAG), coding.is_empty(), "each has its own tag");
    }
    let part = gate.get("/a.js", &[("accept-encoding", "br"), ("range", "bytes=1-")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"R"[..]));
    assert_eq!(gate.get("/a.png", &[("accept-encoding", "gzip")]).await.body, "png");
    age(&dir.path().join("a.js.br"), Duration::from_secs(3600));
    let got = gate.get("/a.js", &[("accept-encoding", "br")]).await;
    assert_eq!((said(&got, &CONTENT_ENCODING), &got.body[..]), ("", &b"plain"[..]));
}

#[tokio::test]
async fn a_large_file_comes_whole_over_either_http_and_breaks_off_if_it_shrinks() {
    let dir = site(&[]);
    let path = dir.path().join("large.bin");
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    fs::write(&path, &bytes).unwrap();
    let gate = open_to_all(&dir);
    assert!(gate.get("/large.bin", &[]).await.body[..] == bytes[..]);
    let mut http2 = gate.http2().await;
    let ask = || request("GET", "https://localhost/large.bin", &[], "");
    let whole = answer(http2.send_request(ask()).await.unwrap()).await;
    assert!(whole.body[..] == bytes[..]);
    let part = gate.get("/large.bin", &[("range", "bytes=100000-300000")]).await;
    assert!(part.body[..] == bytes[100_000..=300_000]);
    // Its head is here, with its length; nothing more is taken until it has shrunk.
    let response = http2.send_request(ask()).await.unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    use http_body_util::BodyExt as _;
    assert!(response.into_body().collect().await.is_err(), "what is missing is not made up");
}

#[tokio::test]
async fn files_are_behind_authentication_and_cut_by_a_revocation_like_anything() {
    use http_body_util::BodyExt as _;
    let dir = site(&[("index.html", "members only")]);
    fs::write(dir.path().join("large.bin"), vec![7; 20_000_000]).unwrap();
    let gate = Gate::start(vec![folder("/", RouteAuth::Required, dir.path(), None)], nobody());
    assert_eq!(gate.get("/", &[]).await.status, 401);
    let token = token(&[], "");
    let got = gate.get("/", &[("authorization", &token)]).await;
    assert_eq!((&got.body[..], said(&got, &CACHE_CONTROL)), (&b"members only"[..], "private, no-cache"));
    let mut http2 = gate.http2().await;
    let ask = request("GET", "https://localhost/large.bin", &[("authorization", &token)], "");
    let response = http2.send_request(ask).await.unwrap();
    revoke_session(&gate.view);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(gate.get("/", &[("authorization", &token)]).await.status, 401);
}

#[tokio::test]
async fn a_root_that_is_put_in_anothers_place_is_served_at_once_and_one_that_is_gone_is_our_fault() {
    let dir = site(&[("one/index.html", "one"), ("two/index.html", "two")]);
    let current = dir.path().join("current");
    symlink("one", &current).unwrap();
    let gate = Gate::start(vec![folder("/", RouteAuth::None, &current, None)], nobody());
    assert_eq!(gate.get("/", &[]).await.body, "one");
    symlink("two", dir.path().join("next")).unwrap();
    fs::rename(dir.path().join("next"), &current).unwrap();
    assert_eq!(gate.get("/", &[]).await.body, "two");
    fs::remove_file(&current).unwrap();
    assert_eq!(gate.get("/", &[]).await.status, 500);
}
