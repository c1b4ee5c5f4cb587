//! PROXY protocol: whose connection it is, as a proxy that passes on bytes says it; by HAProxy itself, and by
//! bytes that no proxy sends.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::client::plain;
use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;

/// Who may say whose connection it is, and who may not.
const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn gate_before(upstream: &Recorder, listen: &str) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [listen]
        https = ["127.0.0.1:0"]
        {listen}
        [limits]
        handshake_timeout = "2s"
        [rates]
        failed_verifications = "off"
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        "#,
        upstream.address
    ))
}

fn behind_proxies(upstream: &Recorder) -> Gate {
    let listen = format!("proxy_protocol = [\"127.0.0.1:0\"]\nproxy_protocol_from = [\"{PROXY}\"]");
    gate_before(upstream, &listen)
}

/// Whom the application took the client for.
async fn client_of(upstream: &Recorder, gate: &Gate, header: &[u8], from: &str) -> Option<String> {
    let stream = connect(gate.port("https"), from).await;
    let answer = gate.client().over(stream, header, "/who").await.ok()?;
    assert_eq!(answer.status, 200);
    let record = upstream.take();
    let message = &record.requests.first()?.message;
    message.headers.iter().find(|(name, _)| name == "x-forwarded-for").map(|(_, value)| value.clone())
}

async fn connect(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("loopback");
    socket.connect(to).await.expect("the gate listens")
}

fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

async fn turned_away(gate: &Gate, reason: &str) -> u64 {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let series = format!("keepgate_connections_turned_away_total{{reason=\"{reason}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).expect("a line for each reason");
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_the_header_names() {
    let upstream = Recorder::start().await;
    let gate = behind_proxies(&upstream);
    let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 20]].concat();
    for (header, want) in [
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), PROXY),
        (block(0x21, 0x11, &IPV4), "203.0.113.9"),
        (block(0x21, 0x11, &[&IPV4[..], &[4, 0, 2, 0, 0]].concat()), "203.0.113.9"),
        (block(0x21, 0x21, &ipv6), "2001:db8::9"),
        (block(0x21, 0x31, &[b'/'; 216]), PROXY),
        (block(0x21, 0, &[]), PROXY),
        (block(0x20, 0, &[]), PROXY),
    ] {
        let told = client_of(&upstream, &gate, &header, PROXY).await;
        assert_eq!(told.as_deref(), Some(want), "{header:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_named_may_not_say_whose_connection_it_is() {
    let upstream = Recorder::start().await;
    let gate = behind_proxies(&upstream);
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
    assert_eq!(client_of(&upstream, &gate, header, STRANGER).await, None);
    assert_eq!(client_of(&upstream, &gate, b"", STRANGER).await, None);
    assert_eq!(turned_away(&gate, "no_proxy").await, 2);
    assert!(upstream.take().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_none_ends_the_connection_whatever_it_is() {
    let upstream = Recorder::start().await;
    let gate = behind_proxies(&upstream);
    let broken: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n\r\n\r\n",
        b"PROXY TCP4 203.0.113.9, 192.0.2.1 4711 443\r\n",
        b"PROXY UDP4 203.0.113.9 192.0.2.1 4711 443\r\n",
        &[b'P'; 200],
        &block(0x22, 0x11, &IPV4),
        &block(0x21, 0x12, &IPV4),
        &block(0x21, 0x21, &IPV4),
        &block(0x21, 0x11, &[&IPV4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
    ];
    for header in broken {
        let mut stream = connect(gate.port("https"), PROXY).await;
        stream.write_all(header).await.expect("taken");
        let mut answer = Vec::new();
        // Closed with bytes unread is a reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{header:?}");
    }
    assert_eq!(turned_away(&gate, "proxy_header").await, broken.len() as u64);
    // None at all, and one that does not go on, until the limit.
    for beginning in [&b""[..], b"PROXY TCP4 203."] {
        let mut stream = connect(gate.port("https"), PROXY).await;
        stream.write_all(beginning).await.expect("taken");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok() && answer.is_empty(), "{beginning:?}");
    }
    assert!(upstream.take().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_of_the_client_and_not_of_the_proxy() {
    let upstream = Recorder::start().await;
    let gate = behind_proxies(&upstream);
    gate.cli(&["blacklist", "add", "203.0.113.9"]).expect(0);
    let banned = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
    let other = b"PROXY TCP4 203.0.113.10 192.0.2.1 4711 443\r\n";
    assert_eq!(client_of(&upstream, &gate, banned, PROXY).await, None);
    assert_eq!(client_of(&upstream, &gate, other, PROXY).await.as_deref(), Some("203.0.113.10"));
    assert_eq!(turned_away(&gate, "blacklist").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_header_is_expected_one_is_no_tls() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream, "");
    assert_eq!(client_of(&upstream, &gate, b"PROXY UNKNOWN\r\n", PROXY).await, None);
    assert_eq!(client_of(&upstream, &gate, b"", PROXY).await.as_deref(), Some(PROXY));
}

/// HAProxy before the gate, ended when dropped.
struct HaProxy {
    child: Child,
    /// A listener for each way to send.
    ways: Vec<(&'static str, SocketAddr)>,
    _folder: TempDir,
}

impl HaProxy {
    async fn start(gate: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        let mut text = "global\n maxconn 50\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n".to_owned();
        let mut ways = Vec::new();
        for way in
            ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"]
        {
            // Held until HAProxy is about to bind it.
            let free =
                std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
            let _ = write!(
                text,
                "listen w{0}\n bind {free}\n server gate {gate} source {PROXY} {way}\n",
                ways.len()
            );
            ways.push((way, free));
        }
        std::fs::write(folder.path().join("cfg"), text).expect("writable");
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(folder.path().join("cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().expect("tests/setup.sh installs it");
        let mut started = Self { child, ways, _folder: folder };
        for (_, address) in started.ways.clone() {
            while TcpStream::connect(address).await.is_err() {
                assert!(started.child.try_wait().expect("ours").is_none(), "haproxy ended");
                tokio::task::yield_now().await;
            }
        }
        started
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_tells_of_its_clients_in_both_versions() {
    let upstream = Recorder::start().await;
    let gate = behind_proxies(&upstream);
    let haproxy = HaProxy::start(gate.port("https")).await;
    let client = gate.client();
    for (way, address) in &haproxy.ways {
        let stream = connect(*address, "127.0.0.77").await;
        let answer =
            client.over(stream, b"", "/who").await.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        assert_eq!(answer.status, 200);
        let record = upstream.take();
        let headers = &record.requests[0].message.headers;
        let told =
            headers.iter().find(|(name, _)| name == "x-forwarded-for").map(|(_, value)| value.as_str());
        assert_eq!(told, Some("127.0.0.77"), "{way}");
    }
}
