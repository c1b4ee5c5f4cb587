//! Filters and the ban ladder through the real binary: what is stopped however it is written, whom an offence is
//! counted for, how a ban is felt on open and new connections, and how it is listed, pardoned and forgotten.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::harness::client::plain;
use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;
use crate::smuggling::runner::{self, Way};

/// A proxy that is believed, and somebody who is not.
const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";

const FILTERS: &str = r#"
        [[filters]]
        name = "admin"
        paths = ["/admin", "/admin/*"]
        [[filters]]
        name = "scoped"
        paths = ["/v1/@admin*", "/v1/a;b", "/v1/c:d//e"]
        [[filters]]
        name = "backups"
        paths = ["*.bak"]
        action = "not_found"
        [[filters]]
        name = "script"
        query = ["*<script*"]
        [[filters]]
        name = "tools"
        headers = ["user-agent: *sqlmap*"]
        [[filters]]
        name = "bare-post"
        methods = ["POST"]
        headers = ["!x-form"]
        content_types = ["text/xml", "*+xml"]
        [[filters]]
        name = "watched"
        paths = ["/watched"]
        action = "log"
        [[filters]]
        name = "trap"
        paths = ["/trap"]
        action = "ban"
"#;

fn text(upstream: &Recorder, filters: &str, bans: &str) -> String {
    format!(
        r#"
        [listen]
        https = ["127.0.0.1:0"]
        trusted_proxies = ["{PROXY}", "10.0.0.0/8", "2001:db8:7::1"]
        {filters}
        [bans]
        {bans}
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        "#,
        upstream.address
    )
}

fn gate_before(upstream: &Recorder, filters: &str, bans: &str) -> Gate {
    Gate::start_from_file(&text(upstream, filters, bans))
}

async fn ask(gate: &Gate, from: &str, line: &str, headers: &str) -> String {
    let text = format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n");
    let answer = runner::say(&gate.client().from(from), text.as_bytes(), Way::Whole).await;
    answer.map(|answer| String::from_utf8_lossy(&answer).into_owned()).unwrap_or_default()
}

/// The status of a request in the name of `client`, as the trusted proxy tells it.
async fn status_of(gate: &Gate, client: &str, path: &str) -> String {
    let answer = ask(gate, PROXY, &format!("GET {path}"), &format!("X-Forwarded-For: {client}\r\n")).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

async fn metric(gate: &Gate, series: &str) -> u64 {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_sees_a_request_as_it_would_be_forwarded_however_it_is_written() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream, FILTERS, "");
    for (line, headers, status) in [
        ("GET /admin", "", "403"),
        ("GET /admin/x", "", "403"),
        ("GET /ADMIN/x", "", "403"),
        ("GET /%61dmin/x", "", "403"),
        ("GET /admin;a=b/x", "", "403"),
        ("GET //admin/x", "", "403"),
        ("GET /admin//x", "", "403"),
        ("GET /admin%2Fx", "", "403"),
        ("GET https://h/admin/x", "", "403"),
        // Delimiters and their escapes: not the same by the standard, but to most applications.
        ("GET /v1/@admin", "", "403"),
        ("GET /v1/%40admin", "", "403"),
        ("GET /v1/%40%61dmin/x", "", "403"),
        ("GET //v1%2f%40admin;x", "", "403"),
        ("GET /v1/a;b", "", "403"),
        ("GET /v1/a%3Bb", "", "403"),
        ("GET /v1//a%3bb", "", "403"),
        ("GET /v1/c%3Ad//e", "", "403"),
        ("GET /v1/c%3ad;x//e", "", "403"),
        ("GET /v1/%2540admin", "", "200"),
        ("GET /v1/%40", "", "200"),
        ("GET /v1/c%3Ad/e", "", "200"),
        ("GET /administrator", "", "200"),
        ("GET /x/admin", "", "200"),
        ("GET /db.bak", "", "404"),
        ("GET /db.b%61k", "", "404"),
        ("GET /db.bak;x", "", "404"),
        // No character of a URL.
        ("GET /?q=<script>", "", "400"),
        ("GET /?q=%3CsCript%20x", "", "403"),
        ("GET /?q=%253Cscript", "", "200"),
        ("GET /script?q=1", "", "200"),
        ("GET /", "User-Agent: SQLmap/1.8\r\n", "403"),
        ("GET /", "User-Agent: a\r\nUser-Agent: xSQLMAPx\r\n", "403"),
        ("GET /", "User-Agent: curl\r\n", "200"),
        ("POST /", "Content-Type: Application/Soap+XML; charset=x\r\nContent-Length: 0\r\n", "403"),
        ("POST /", "Content-Type: text/xml\r\nX-Form: 1\r\nContent-Length: 0\r\n", "200"),
        ("POST /", "Content-Type: application/json\r\nContent-Length: 0\r\n", "200"),
        ("PUT /", "Content-Type: text/xml\r\nContent-Length: 0\r\n", "200"),
        ("GET /watched", "", "200"),
    ] {
        let answer = ask(&gate, STRANGER, line, headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers:?}: {answer}");
        assert_eq!(upstream.take().requests.is_empty(), status != "200", "{line}");
        assert_eq!(answer.contains("urn:keepgate:problem:filtered"), status == "403", "{line}");
    }
    for (name, count) in [
        ("admin", 9),
        ("scoped", 9),
        ("backups", 3),
        ("script", 1),
        ("tools", 2),
        ("watched", 1),
        ("trap", 0),
    ] {
        assert_eq!(
            metric(&gate, &format!("keepgate_filter_matches_total{{filter=\"{name}\"}}")).await,
            count
        );
    }
    gate.until_it_says("a filter matched");
    let events = gate.audit();
    let told = events.iter().any(|event| event["reason"] == "filtered" && event["target"] == "filter admin");
    assert!(told, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offender_climbs_the_ladder_and_nobody_is_banned_by_what_others_claim() {
    let upstream = Recorder::start().await;
    let gate = gate_before(
        &upstream,
        FILTERS,
        "offences = 2\nscanners = [\"secrets\"]\nnever = [\"203.0.113.200\"]",
    );
    let offender = "203.0.113.9";
    assert_eq!(status_of(&gate, offender, "/trap").await, "403");
    assert_eq!(status_of(&gate, offender, "/").await, "200", "one offence is none");
    let answer = ask(&gate, PROXY, "GET /x/.ENV", &format!("X-Forwarded-For: {offender}\r\n")).await;
    assert!(answer.contains("problem:blacklisted") && answer.contains("retry-after: 60"), "{answer}");
    let again = ask(&gate, PROXY, "GET /", &format!("X-Forwarded-For: {offender}\r\n")).await;
    assert!(again.starts_with("HTTP/1.1 403 ") && again.to_lowercase().contains("retry-after: "), "{again}");
    // Its neighbour, and the proxy that it came by.
    assert_eq!(status_of(&gate, "203.0.113.10", "/").await, "200");
    assert_eq!(status_of(&gate, PROXY, "/").await, "200");
    // Headers of somebody who is not believed have nobody banned.
    for _ in 0..5 {
        let forged =
            "X-Forwarded-For: 203.0.113.50\r\nForwarded: for=203.0.113.50\r\nX-Real-IP: 203.0.113.50\r\n";
        ask(&gate, STRANGER, "GET /trap", forged).await;
        // What a client writes before its proxy's own entry is its own invention.
        let chain = "X-Forwarded-For: 203.0.113.51, 203.0.113.52\r\n";
        ask(&gate, PROXY, "GET /trap", chain).await;
    }
    assert_eq!(status_of(&gate, "203.0.113.50", "/").await, "200");
    assert_eq!(status_of(&gate, "203.0.113.51", "/").await, "200");
    assert_eq!(status_of(&gate, "203.0.113.52", "/").await, "403");
    // Those who are never banned, proxies among them and who is in the same /64 as one, and whoever a foreign page makes ask.
    for (client, headers) in [
        ("203.0.113.200", ""),
        ("10.1.2.3", ""),
        ("2001:db8:7::9", ""),
        ("203.0.113.60", "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        for _ in 0..5 {
            let headers = format!("X-Forwarded-For: {client}\r\n{headers}");
            let answer = ask(&gate, PROXY, "GET /trap", &headers).await;
            assert!(answer.contains("problem:filtered"), "{client}: {answer}");
        }
        assert_eq!(status_of(&gate, client, "/").await, "200", "{client}");
    }
    assert_eq!(metric(&gate, "keepgate_ladder_bans_total").await, 2);
    assert_eq!(metric(&gate, "keepgate_ladder_banned").await, 2);
    gate.until_it_says("an address was banned for its offences");
    let events = gate.audit();
    let bans =
        events.iter().filter(|event| event["intent"] == "blacklist_add" && event["reason"] == "offences");
    let targets: Vec<_> = bans.map(|event| event["target"].clone()).collect();
    assert_eq!(targets, ["203.0.113.9/32", "203.0.113.52/32"], "{events:?}");
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_listed_and_pardoned_and_a_restart_forgives() {
    let upstream = Recorder::start().await;
    let mut gate = gate_before(&upstream, FILTERS, "offences = 1");
    for client in ["203.0.113.9", "2001:db8:1:2::9", "203.0.113.8"] {
        assert_eq!(status_of(&gate, client, "/trap").await, "403");
        assert_eq!(status_of(&gate, client, "/").await, "403");
    }
    assert_eq!(status_of(&gate, "2001:db8:1:2:ffff::1", "/").await, "403", "a client has a /64");
    assert_eq!(status_of(&gate, "2001:db8:1:3::1", "/").await, "200");
    let listed = gate.cli_json(&["blacklist", "list"]);
    let listed = listed.as_array().cloned().unwrap_or_else(|| panic!("{listed}"));
    let networks: Vec<_> = listed.iter().map(|ban| ban["network"].as_str().unwrap_or_default()).collect();
    assert_eq!(networks, ["203.0.113.8/32", "203.0.113.9/32", "2001:db8:1:2::/64"]);
    assert_eq!(
        (&listed[0]["source"], &listed[0]["reason"]),
        (&"offences".into(), &"filter trap, ban 1".into())
    );
    gate.cli(&["ban", "remove", "2001:db8:1:2::/64"]).expect(0);
    gate.cli(&["blacklist", "remove", "203.0.113.9"]).expect(0);
    assert_eq!(status_of(&gate, "203.0.113.9", "/").await, "200");
    assert_eq!(status_of(&gate, "2001:db8:1:2::9", "/").await, "200");
    assert_eq!(status_of(&gate, "203.0.113.8", "/").await, "403");
    assert_eq!(gate.cli_fails(&["blacklist", "remove", "203.0.113.9"], 4), "not_found");
    let pardons = gate.audit().into_iter().filter(|event| event["intent"] == "blacklist_remove").count();
    assert_eq!(pardons, 3, "two, and one in vain");
    // A reload keeps them; a restart does not.
    gate.rewrite(&text(&upstream, FILTERS, "offences = 2"));
    gate.cli(&["reload"]).expect(0);
    assert_eq!(status_of(&gate, "203.0.113.8", "/").await, "403");
    gate.restart();
    assert_eq!(status_of(&gate, "203.0.113.8", "/").await, "200");
}

async fn connect(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("loopback");
    socket.connect(to).await.expect("the gate listens")
}

/// Of a ban that is the connection's own, not one request's.
#[tokio::test(flavor = "multi_thread")]
async fn a_banned_client_is_closed_before_tls_and_its_proxy_serves_others() {
    let upstream = Recorder::start().await;
    let listen = format!("proxy_protocol = [\"127.0.0.1:0\"]\nproxy_protocol_from = [\"{PROXY}\"]\n");
    let text = text(&upstream, FILTERS, "offences = 1")
        .replace("trusted_proxies", &format!("{listen}trusted_proxies"));
    let gate = Gate::start_from_file(&text);
    let get = async |client: &str, path: &str| {
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n");
        let stream = connect(gate.port("https"), PROXY).await;
        gate.client().over(stream, header.as_bytes(), path).await.map(|answer| answer.status.as_u16()).ok()
    };
    assert_eq!(get("203.0.113.9", "/").await, Some(200));
    assert_eq!(get("203.0.113.9", "/trap").await, Some(403));
    assert_eq!(get("203.0.113.9", "/").await, None, "closed unread");
    assert_eq!(get("203.0.113.10", "/").await, Some(200));
    assert_eq!(metric(&gate, "keepgate_connections_turned_away_total{reason=\"blacklist\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_frees_those_who_must_not_be_banned_any_more() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream, FILTERS, "offences = 1");
    for client in ["203.0.113.9", "203.0.113.10"] {
        status_of(&gate, client, "/trap").await;
        assert_eq!(status_of(&gate, client, "/").await, "403");
    }
    gate.rewrite(&text(&upstream, FILTERS, "offences = 1\nnever = [\"203.0.113.9\"]"));
    gate.cli(&["reload"]).expect(0);
    assert_eq!(status_of(&gate, "203.0.113.9", "/").await, "200");
    assert_eq!(status_of(&gate, "203.0.113.10", "/").await, "403", "nobody else");
    gate.until_it_says("bans for offences ended");
    let freed = |gate: &Gate| {
        let events = gate.audit().into_iter().filter(|event| event["reason"] == "spared");
        events.map(|event| (event["target"].clone(), event["count"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(freed(&gate), [("203.0.113.9/32".into(), 1.into())]);
    // Many: the first by name, the others as a count.
    for last in 11..40 {
        status_of(&gate, &format!("203.0.113.{last}"), "/trap").await;
    }
    gate.rewrite(&text(&upstream, FILTERS, "offences = 1\nnever = [\"203.0.113.0/24\"]"));
    gate.cli(&["reload"]).expect(0);
    let all = freed(&gate);
    assert_eq!((all.len(), &all[1].0, &all[21]), (22, &"203.0.113.10/32".into(), &("".into(), 10.into())));
    assert_eq!(status_of(&gate, "203.0.113.39", "/trap").await, "403");
    assert_eq!(status_of(&gate, "203.0.113.39", "/").await, "200");
    gate.verify_audit();
}
