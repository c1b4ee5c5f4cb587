//! `Forwarded` and `Via` beside the `X-Forwarded` family: what arrives of them by configuration, whatever is
//! claimed; and a request that goes round in circles through a real nginx.

use std::process::{Command, Stdio};

use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;
use crate::smuggling::runner::{self, Way};

const CLIENT: &str = "127.0.0.1";
const PROXY: &str = "127.0.0.2";

fn gate_before(address: &str, forwarding: &str) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [listen]
        trusted_proxies = ["{PROXY}", "10.0.0.0/8", "2001:db8:1::/48"]
        [forwarding]
        {forwarding}
        [upstreams.app]
        servers = ["{address}"]
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        "#
    ))
}

/// What arrives under these names, line by line, of a request from this peer.
async fn arrives(
    gate: &Gate,
    upstream: &Recorder,
    (from, sent): (&str, &str),
    names: &[&str],
) -> Vec<String> {
    let text = format!("GET /a HTTP/1.1\r\nHost: h:8443\r\n{sent}Connection: close\r\n\r\n");
    let answer = runner::say(&gate.client().from(from), text.as_bytes(), Way::Whole).await.expect("answered");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{sent:?}: {}", String::from_utf8_lossy(&answer));
    let record = upstream.take();
    let headers = record.requests[0].message.headers.iter();
    let of = headers.filter(|(name, _)| names.iter().any(|prefix| name.starts_with(prefix)));
    let mut lines: Vec<String> = of.map(|(name, value)| format!("{name}: {value}")).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_says_what_is_believed_and_nothing_that_is_claimed() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream.address.to_string(), "headers = [\"forwarded\"]");
    let itself = r#"for=127.0.0.1;host="h:8443";proto=https"#;
    for (from, sent, want) in [
        (CLIENT, "", itself),
        (CLIENT, "Forwarded: for=6.6.6.6;proto=http;by=_me\r\n", itself),
        (CLIENT, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil\r\n", itself),
        (CLIENT, "Connection: forwarded\r\nForwarded: for=6.6.6.6\r\n", itself),
        (PROXY, "", r#"for=127.0.0.2;host="h:8443";proto=https"#),
        // Of a proxy too: its X-Forwarded-For is the chain.
        (PROXY, "Forwarded: for=6.6.6.6\r\n", r#"for=127.0.0.2;host="h:8443";proto=https"#),
        (
            PROXY,
            "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.example\r\n",
            "for=203.0.113.9;host=app.example;proto=http, for=127.0.0.2",
        ),
        (
            PROXY,
            "X-Forwarded-For: 6.6.6.6, [2001:db8::9]:4711, 2001:db8:1::7\r\n",
            r#"for="[2001:db8::9]";host="h:8443";proto=https, for="[2001:db8:1::7]", for=127.0.0.2"#,
        ),
        (
            PROXY,
            "X-Forwarded-For: 203.0.113.9, unknown, 10.0.0.7\r\n",
            r#"for=10.0.0.7;host="h:8443";proto=https, for=127.0.0.2"#,
        ),
        (PROXY, "X-Forwarded-For: _hidden\r\n", r#"for=127.0.0.2;host="h:8443";proto=https"#),
    ] {
        let got =
            arrives(&gate, &upstream, (from, sent), &["forwarded", "x-forwarded", "x-real", "via"]).await;
        assert_eq!(got, [format!("forwarded: {want}")], "{from} {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn via_has_our_name_after_those_of_others_if_it_is_written() {
    let upstream = Recorder::start().await;
    let named = gate_before(&upstream.address.to_string(), "headers = [\"via\"]\nvia_name = \"gate-1\"");
    let silent = gate_before(&upstream.address.to_string(), "headers = []");
    for (sent, with, without) in [
        ("", vec!["via: 1.1 gate-1"], vec![]),
        (
            "Via: 1.0 fred, 1.1 p.example (x)\r\n",
            vec!["via: 1.0 fred, 1.1 p.example (x)", "via: 1.1 gate-1"],
            vec!["via: 1.0 fred, 1.1 p.example (x)"],
        ),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
            vec!["via: 1.1 gate-1"],
            vec![],
        ),
    ] {
        let names = ["forwarded", "x-forwarded", "x-real", "via"];
        assert_eq!(arrives(&named, &upstream, (CLIENT, sent), &names).await, with, "{sent:?}");
        assert_eq!(arrives(&silent, &upstream, (CLIENT, sent), &names).await, without, "{sent:?}");
    }
    let hosts = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: app.example\r\n";
    assert_eq!(arrives(&silent, &upstream, (PROXY, hosts), &["x-forwarded"]).await, [""; 0]);
}

/// nginx sends every request back to the gate it came from.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_an_upstream_sends_back_goes_round_a_few_times_and_no_more() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let at = folder.path().display().to_string();
    let gate = gate_before(&format!("unix:{at}/socket"), "headers = [\"via\"]");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).collect();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/errors warn; events {{}}\n\
         http {{ {temporary} access_log {at}/told;\n\
         server {{ listen unix:{at}/socket; location / {{ proxy_pass https://{}; proxy_set_header Host h; }} }} }}",
        gate.port("https")
    );
    std::fs::write(folder.path().join("nginx.conf"), text).expect("writable");
    let mut nginx = Command::new("nginx");
    nginx.args(["-p", &at, "-e", &format!("{at}/errors"), "-c", &format!("{at}/nginx.conf")]);
    let mut nginx =
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("installed");
    while tokio::net::UnixStream::connect(folder.path().join("socket")).await.is_err() {
        assert!(nginx.try_wait().expect("ours").is_none(), "nginx ended");
        tokio::task::yield_now().await;
    }
    let answer = gate.client().get("/round").send().await;
    nginx.kill().expect("ours");
    nginx.wait().expect("ours");
    assert_eq!(answer.status, 508, "{:?}", answer.body);
    let told = std::fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    assert_eq!(told.lines().filter(|line| line.contains("/round")).count(), 5, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_names_the_client_behind_a_proxy_also_where_the_gate_refuses() {
    let mut gate = Gate::start_from_file(&format!(
        "[listen]\ntrusted_proxies = [\"{PROXY}\"]\n[blacklist]\nnetworks = [\"203.0.113.66\"]\n\
         [[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n"
    ));
    let asked = [
        ("GET /auth/v1/x HTTP/1.1", "", "203.0.113.66", "403"),
        ("GET /a/../../b HTTP/1.1", "", "203.0.113.1", "400"),
        ("TRACE /a HTTP/1.1", "", "203.0.113.2", "405"),
        ("GET /a HTTP/1.1", "Expect: miracles\r\n", "203.0.113.3", "417"),
    ];
    for (line, more, client, status) in asked {
        let text =
            format!("{line}\r\nHost: h:8443\r\n{more}X-Forwarded-For: {client}\r\nConnection: close\r\n\r\n");
        let answer =
            runner::say(&gate.client().from(PROXY), text.as_bytes(), Way::Whole).await.expect("answered");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
    gate.stop();
    for (line, _, client, status) in asked {
        let logged =
            |it: &str| it.contains(&format!("client={client} ")) && it.contains(&format!("status={status} "));
        assert!(gate.log().lines().any(logged), "{line}: {}", gate.log());
    }
}
