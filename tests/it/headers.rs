//! What an application hears about who asks and from where: whatever a client or a proxy claims, over both
//! HTTPs, the upstream gets exactly the headers of the table.

use std::collections::BTreeMap;

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::Person;
use crate::smuggling::http2::{self, Ask, Outcome};
use crate::smuggling::recorder::Recorder;
use crate::smuggling::runner::{self, Way};
use crate::smuggling::strict::Message;

/// A peer that is nobody, and one that is a trusted proxy.
const CLIENT: &str = "127.0.0.1";
const PROXY: &str = "127.0.0.2";

/// A request and what must arrive.
struct Case {
    name: &'static str,
    /// Whose address it comes from.
    from: &'static str,
    sent: &'static [(&'static str, &'static str)],
    /// What differs from [`ours`]: with an empty value, what is missing. Nothing else arrives.
    arrives: &'static [(&'static str, &'static str)],
    /// Not in HTTP/2, which knows no `Connection`.
    http1_only: bool,
}

const fn from(peer: &'static str, name: &'static str, sent: &'static [(&'static str, &'static str)]) -> Case {
    Case { name, from: peer, sent, arrives: &[], http1_only: false }
}

const fn client(name: &'static str, sent: &'static [(&'static str, &'static str)]) -> Case {
    from(CLIENT, name, sent)
}

const fn proxy(name: &'static str, sent: &'static [(&'static str, &'static str)]) -> Case {
    from(PROXY, name, sent)
}

impl Case {
    const fn arrives(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.arrives = headers;
        self
    }

    const fn http1(mut self) -> Self {
        self.http1_only = true;
        self
    }
}

/// RFC 9110 §7.6.1 (hop-by-hop), RFC 7239 (forwarding); EDGE.md rules 1 to 3.
const CASES: &[Case] = &[
    client("nothing", &[]),
    client("what is the application's own", &[("accept", "*/*"), ("x-app", "1"), ("x-authors", "2")])
        .arrives(&[("accept", "*/*"), ("x-app", "1"), ("x-authors", "2")]),
    // Who asks.
    client("a forged caller", &[("x-auth-subject", "root")]),
    client("a forged caller, twice", &[("x-auth-subject", "root"), ("x-auth-subject", "admin")]),
    client("every header of a caller", &[
        ("x-auth-subject", "root"),
        ("x-auth-session", "1"),
        ("x-auth-roles", "admin"),
        ("x-auth-scope", "all"),
        ("x-auth-anything", "1"),
        ("x-keepgate-assertion", "1"),
    ]),
    client("odd case", &[("X-AUTH-SUBJECT", "root"), ("x-Auth-Roles", "admin")]).http1(),
    client("underscores (WSGI, CGI: GHSA-7r4p-vjf4-gxv4)", &[
        ("x_auth_subject", "root"),
        ("x-auth_subject", "root"),
        ("x_auth-roles", "admin"),
        ("x__auth_subject", "root"),
    ]),
    client("other marks that FastCGI folds", &[
        ("x.auth.subject", "root"),
        ("x-auth.subject", "root"),
        ("x-auth~roles", "admin"),
        ("x!auth-subject", "root"),
        ("x+auth+subject", "root"),
        ("x|auth|subject", "root"),
    ]),
    client("any name with an underscore", &[("some_thing", "1"), ("_", "2"), ("content_length", "3")]),
    client("an empty caller", &[("x-auth-subject", "")]),
    // From where.
    client("a forged address", &[("x-forwarded-for", "6.6.6.6")]),
    client("forged addresses in several lines", &[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6, 127.0.0.2"),
        ("x-real-ip", "6.6.6.6"),
    ]),
    client("the trusted proxy's address", &[("x-forwarded-for", "6.6.6.6, 127.0.0.2"), ("x-real-ip", PROXY)]),
    client("odd case of an address", &[("X-FORWARDED-FOR", "6.6.6.6"), ("X-rEaL-iP", "6.6.6.6")]).http1(),
    client("underscores in an address", &[("x_forwarded_for", "6.6.6.6"), ("x-real_ip", "6.6.6.6")]),
    client("Forwarded", &[("forwarded", "for=6.6.6.6;proto=http;host=evil"), ("forwarded", "for=6.6.6.6")]),
    client("a forged scheme and host", &[("x-forwarded-proto", "http"), ("x-forwarded-host", "evil")]),
    client("the rest of the family", &[
        ("x-forwarded-port", "80"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-server", "evil"),
        ("x-forwarded-ssl", "off"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-uri", "/private"),
        ("x-forwarded-method", "DELETE"),
    ]),
    client("the path by another name (CVE-2018-14773)", &[
        ("x-original-url", "/private"),
        ("x-original-uri", "/private"),
        ("x-rewrite-url", "/private"),
    ]),
    client("a request's id", &[("x-request-id", "01890a5d-ac96-774b-bcce-b302099a8057")]),
    // What ends here.
    client("hop-by-hop headers", &[
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers, deflate"),
        ("trailer", "x-sum"),
        ("upgrade", "foo"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authenticate", "Basic"),
        ("http2-settings", "AAMAAABk"),
    ])
    .arrives(&[("te", "trailers"), ("connection", "te")])
    .http1(),
    client("te: trailers", &[("te", "trailers")]).arrives(&[("te", "trailers"), ("connection", "te")]),
    client("te without trailers", &[("te", "deflate;q=0.5")]).http1(),
    client("what Connection names", &[
        ("connection", "x-one, X-Two ,,\tx-three"),
        ("connection", "x-four"),
        ("x-one", "1"),
        ("X-TWO", "2"),
        ("x-three", "3"),
        ("x-four", "4"),
        ("x-five", "5"),
    ])
    .arrives(&[("x-five", "5")])
    .http1(),
    client("what Proxy-Connection names is named by nobody", &[("proxy-connection", "x-one"), ("x-one", "1")])
        .arrives(&[("x-one", "1")])
        .http1(),
    client("naming our headers (CVE-2022-31813)", &[(
        "connection",
        "x-auth-subject, x-forwarded-for, x-real-ip, x-forwarded-proto, x-forwarded-host, x-request-id, host",
    )])
    .http1(),
    client("naming our headers with marks", &[("connection", "x_forwarded_for, \"host\", x-real-ip;q=1, *")]).http1(),
    client("cookies: ours stay, split ones are joined", &[
        ("cookie", "a=1"),
        ("cookie", "__Host-keepgate-device=x; b=2"),
    ])
    .arrives(&[("cookie", "a=1; b=2")]),
    // A proxy that is believed.
    proxy("itself", &[]).arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("a client", &[("x-forwarded-for", "203.0.113.9")])
        .arrives(&[("x-forwarded-for", "203.0.113.9, 127.0.0.2"), ("x-real-ip", "203.0.113.9")]),
    proxy("a client that forges", &[("x-forwarded-for", "6.6.6.6, 203.0.113.9")])
        .arrives(&[("x-forwarded-for", "203.0.113.9, 127.0.0.2"), ("x-real-ip", "203.0.113.9")]),
    proxy("a client that forges in a line of its own", &[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "203.0.113.9"),
    ])
    .arrives(&[("x-forwarded-for", "203.0.113.9, 127.0.0.2"), ("x-real-ip", "203.0.113.9")]),
    proxy("a chain of trusted ones", &[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.7, 10.0.0.3")]).arrives(&[
        ("x-forwarded-for", "203.0.113.9, 10.0.0.7, 10.0.0.3, 127.0.0.2"),
        ("x-real-ip", "203.0.113.9"),
    ]),
    proxy("trusted ones behind an untrusted one", &[("x-forwarded-for", "10.0.0.7, 203.0.113.9, 10.0.0.3")]).arrives(&[
        ("x-forwarded-for", "203.0.113.9, 10.0.0.3, 127.0.0.2"),
        ("x-real-ip", "203.0.113.9"),
    ]),
    proxy("trusted ones alone", &[("x-forwarded-for", "10.0.0.7, 10.0.0.3")])
        .arrives(&[("x-forwarded-for", "10.0.0.7, 10.0.0.3, 127.0.0.2"), ("x-real-ip", "10.0.0.7")]),
    proxy("no address ends the walk", &[("x-forwarded-for", "203.0.113.9, unknown")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("an empty one ends the walk", &[("x-forwarded-for", "203.0.113.9, , 10.0.0.7")])
        .arrives(&[("x-forwarded-for", "10.0.0.7, 127.0.0.2"), ("x-real-ip", "10.0.0.7")]),
    proxy("ports, brackets and mapped addresses", &[("x-forwarded-for", "[2001:db8::1]:4711, ::ffff:10.0.0.7")])
        .arrives(&[("x-forwarded-for", "2001:db8::1, 10.0.0.7, 127.0.0.2"), ("x-real-ip", "2001:db8::1")]),
    proxy("its X-Real-IP and Forwarded are not the chain", &[("x-real-ip", "6.6.6.6"), ("forwarded", "for=6.6.6.6")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("its scheme and host", &[("x-forwarded-proto", "http"), ("x-forwarded-host", "app.example:8080")]).arrives(&[
        ("x-forwarded-for", PROXY),
        ("x-real-ip", PROXY),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.example:8080"),
    ]),
    proxy("two schemes and hosts are none", &[
        ("x-forwarded-proto", "http"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-host", "app.example"),
    ])
    .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("lists of them are none", &[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil, app.example")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("what is no scheme or host", &[("x-forwarded-proto", "javascript:"), ("x-forwarded-host", "h/evil@x")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("its port is dropped", &[("x-forwarded-port", "80")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("its request's id", &[("x-request-id", "01890a5d-ac96-774b-bcce-b302099a8057")]).arrives(&[
        ("x-forwarded-for", PROXY),
        ("x-real-ip", PROXY),
        ("x-request-id", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ]),
    proxy("an id that is none", &[("x-request-id", "1\tx")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("it is not believed about who asks", &[("x-auth-subject", "root"), ("x_auth_roles", "admin")])
        .arrives(&[("x-forwarded-for", PROXY), ("x-real-ip", PROXY)]),
    proxy("naming the chain", &[("connection", "x-forwarded-for, x-forwarded-proto"), ("x-forwarded-for", "203.0.113.9")])
        .arrives(&[("x-forwarded-for", "203.0.113.9, 127.0.0.2"), ("x-real-ip", "203.0.113.9")])
        .http1(),
];

/// What every request arrives with. The id is anew each time.
fn ours(case: &Case, http2: bool) -> BTreeMap<String, String> {
    let base = [
        ("host", "h"),
        ("x-forwarded-for", CLIENT),
        ("x-real-ip", CLIENT),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "h"),
        ("x-request-id", "(new)"),
        ("via", if http2 { "2.0 keepgate" } else { "1.1 keepgate" }),
    ];
    base.iter().chain(case.arrives).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What arrived, an id that was not sent as `(new)`.
fn arrived(message: &Message, case: &Case) -> Result<BTreeMap<String, String>, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in &message.headers {
        let sent = case.arrives.iter().any(|(sent, _)| sent == name);
        let id = name == "x-request-id"
            && !sent
            && uuid::Uuid::parse_str(value).is_ok_and(|id| id.get_version_num() == 7);
        let value = if id { "(new)" } else { value };
        if headers.insert(name.clone(), value.to_owned()).is_some() {
            return Err(format!("{name} arrives twice"));
        }
    }
    Ok(headers)
}

fn gate_before(upstream: &Recorder) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [listen]
        trusted_proxies = ["{PROXY}", "10.0.0.0/8"]
        [accounts]
        registration = "open"
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/auth"
        api = true
        auth = "optional"
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        [[routes]]
        path = "/private"
        upstream = "app"
        "#,
        upstream.address
    ))
}

async fn ask_http1(client: &Client, case: &Case) -> bool {
    let lines: String = case.sent.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let close = if lines.to_ascii_lowercase().contains("connection:") { "" } else { "Connection: close\r\n" };
    // A second request ends the connection where the first speaks of it otherwise.
    let end = if close.is_empty() { "GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" } else { "" };
    let text = format!("GET /a HTTP/1.1\r\nHost: h\r\n{lines}{close}\r\n{end}");
    let answer = runner::say(client, text.as_bytes(), Way::Whole).await;
    answer.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

async fn ask_http2(client: &Client, case: &Case) -> bool {
    let head = [(":method", "GET"), (":scheme", "https"), (":path", "/a"), (":authority", "h")];
    let fields: Vec<_> =
        head.iter().chain(case.sent).map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let stream = client.stream_http2().await.expect("the gate speaks HTTP/2");
    let outcomes = http2::converse(stream, &[Ask { fields: &fields, body: &[], trailers: &[] }]).await;
    matches!(outcomes.as_slice(), [Outcome::Answered(200, _)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_what_the_gate_says_and_nothing_that_others_claim() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    let mut wrong = Vec::new();
    for case in CASES {
        let client = gate.client().from(case.from);
        for http2 in [false, true] {
            if http2 && case.http1_only {
                continue;
            }
            let answered =
                if http2 { ask_http2(&client, case).await } else { ask_http1(&client, case).await };
            let record = upstream.take();
            let got = match record.requests.first() {
                Some(first) if answered && record.faults.is_empty() => arrived(&first.message, case),
                _ => Err(format!("not answered: {record:?}")),
            };
            if got.as_ref() != Ok(&ours(case, http2)) {
                let version = if http2 { "HTTP/2" } else { "HTTP/1" };
                wrong.push(format!("{} ({}, {version}): {got:?}", case.name, case.from));
            }
        }
    }
    runner::report(&wrong, CASES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_said_once_whatever_is_forged_or_nominated_away() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let forged = [
        "",
        "X-Auth-Subject: root\r\nX-Auth-Subject: admin\r\n",
        "x_auth_subject: root\r\nX.Auth.Subject: root\r\nX-Auth-Roles: admin\r\n",
        "Connection: x-auth-subject, x-auth-session, authorization\r\nX-Auth-Subject: root\r\n",
        "Connection: X-Auth-Subject\r\nConnection: x-auth-session, x-auth-roles\r\n",
    ];
    for lines in forged {
        let text = format!(
            "GET /private HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n{lines}\r\n\
             GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            ada.access
        );
        let answer = runner::say(&client, text.as_bytes(), Way::Whole).await.expect("answered");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{lines:?}: {}", String::from_utf8_lossy(&answer));
        let record = upstream.take();
        let message = &record.requests[0].message;
        assert_eq!(message.all("x-auth-subject"), [ada.id.as_str()], "{lines:?}");
        assert_eq!(message.all("x-auth-session"), [ada.session.as_str()], "{lines:?}");
        let names = message.headers.iter().map(|(name, _)| name.as_str());
        let claims: Vec<_> = names.filter(|name| name.contains("auth")).collect();
        assert_eq!(
            claims,
            ["x-auth-subject", "x-auth-session"],
            "neither the token nor anything else: {lines:?}"
        );
        // The next request on the connection is nobody's.
        assert!(record.requests[1].message.all("x-auth-subject").is_empty());
    }
}
