//! Another process takes over: under load, with what is open and what is revoked meanwhile; and one that cannot.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use http_body_util::BodyExt as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::harness::client::{Client, Link, Streams, plain};
use crate::harness::gate::Gate;
use crate::harness::line::{Line, file};
use crate::harness::person::Person;
use crate::harness::upstream::Upstream;

/// A connection that is kept until it is told to close, and opened anew then: as every client of HTTP/1.1 does.
struct Kept {
    client: Client,
    link: Option<Link>,
}

impl Kept {
    async fn get(&mut self, path: &str, token: &str) {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.client.open().await.expect("the gate accepts"),
        };
        let ask = self.client.get(path).bearer(token);
        let answer = link.send(ask).await.expect("answered").expect(200);
        if answer.header("connection") != Some("close") {
            self.link = Some(link);
        }
    }
}

/// One of HTTP/2, opened anew once the other side has said that it takes no more.
async fn over_http2(client: &Client, streams: &mut Streams, path: &str, token: &str) {
    loop {
        match streams.get_unless_closing(path, token).await {
            Some(answer) => {
                answer.expect("answered").expect(200);
                return;
            }
            None => *streams = client.open_http2().await.expect("the gate accepts"),
        }
    }
}

/// Asks in every way, until it is over.
async fn ask(client: Client, token: String, over: Arc<AtomicBool>, served: Arc<AtomicU32>) {
    let mut kept = Kept { client: client.clone(), link: None };
    let mut for_api = Kept { client: client.clone(), link: None };
    let mut streams = client.open_http2().await.expect("the gate speaks HTTP/2");
    while !over.load(Ordering::Relaxed) {
        kept.get("/private/kept", &token).await;
        for_api.get("/users/v1/me", &token).await;
        over_http2(&client, &mut streams, "/private/stream", &token).await;
        over_http2(&client, &mut streams, "/users/v1/me", &token).await;
        client.get("/new").send().await.expect(200);
        served.fetch_add(5, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_cost_no_request_no_download_and_no_connection() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (over, served) = (Arc::clone(&over), Arc::clone(&served));
        load.spawn(ask(client.clone(), ada.access.clone(), over, served));
    }
    // What is open when it begins is finished by the process that it was opened at.
    let mut download = client.open().await.expect("the gate accepts");
    let mut body =
        download.begin(client.get("/stream").bearer(&ada.access)).await.expect("a head").into_body();
    for round in 0..4 {
        let before = served.load(Ordering::Relaxed);
        line = tokio::task::spawn_blocking(move || {
            line.restart();
            line
        })
        .await
        .expect("no panic");
        while served.load(Ordering::Relaxed) < before + 60 {
            tokio::task::yield_now().await;
            if let Some(ended) = load.try_join_next() {
                ended.expect("every request is answered");
            }
        }
        if round == 0 {
            let refused = line.gate.cli(&["restart"]).expect(1);
            assert!(refused.stderr.contains("still has something open"), "{refused:?}");
            upstream.chunk("piece");
            let frame = body.frame().await.expect("a frame").expect("unbroken");
            assert_eq!(frame.into_data().expect("data"), "piece");
            upstream.end_stream();
            assert!(body.frame().await.is_none());
            // It may ask once more there, and is told to come again.
            let last = download.send(client.get("/last")).await.expect("answered").expect(200);
            assert_eq!(last.header("connection"), Some("close"));
        }
        line = tokio::task::spawn_blocking(move || {
            line.until_ended();
            line
        })
        .await
        .expect("no panic");
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("every request is answered");
    }
    assert!(line.gate.wait_for_the_first().success(), "the first process has ended by itself, and well");
    line.gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_serve_leaves_the_one_before_serving() {
    let upstream = Upstream::start().await;
    let (mut gate, copy) = Gate::start_copy_from_file(&file("", &upstream));
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let mut kept = client.open().await.expect("the gate accepts");
    let mut download = client.open().await.expect("the gate accepts");
    let mut body =
        download.begin(client.get("/stream").bearer(&ada.access)).await.expect("a head").into_body();
    let pid = gate.pid();
    // A wrong configuration: found before anything was closed.
    gate.rewrite(&file("[limits]\nbody_bytes = \"much\"", &upstream));
    let said = gate.cli_by_data(&["restart"]).expect(1);
    assert!(said.stderr.contains("limits.body_bytes") && said.stderr.contains("serves on"), "{said:?}");
    // Another data folder: found once the stores are closed, which are opened again.
    let good = file("", &upstream);
    gate.rewrite(&good);
    let config = gate.folder().join("config.toml");
    let text = std::fs::read_to_string(&config).expect("readable");
    let elsewhere = gate.folder().join("elsewhere");
    let moved = text.replace(&gate.data().display().to_string(), &elsewhere.display().to_string());
    assert_ne!(moved, text);
    std::fs::write(&config, moved).expect("writable");
    let said = gate.cli_by_data(&["restart"]).expect(1);
    assert!(said.stderr.contains("cannot take over") && said.stderr.contains("serves on"), "{said:?}");
    gate.rewrite(&good);
    // Another binary, which ends at once.
    std::fs::remove_file(&copy).expect("writable");
    std::fs::write(&copy, "#!/bin/sh\nexit 7\n").expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&copy, mode).expect("ours");
    let said = gate.cli(&["restart"]).expect(1);
    assert!(said.stderr.contains("ended before it was ready (exit status: 7)"), "{said:?}");
    // None at all.
    std::fs::remove_file(&copy).expect("writable");
    let said = gate.cli(&["restart"]).expect(1);
    assert!(said.stderr.contains("cannot start"), "{said:?}");
    let status = gate.cli_json(&["status"]);
    assert_eq!(status["pid"], pid);
    assert!(status["restart"]["failed_because"].as_str().expect("told").contains("cannot start"), "{status}");
    // Whoever was there has not noticed, and everything works as before.
    kept.send(client.get("/users/v1/me").bearer(&ada.access)).await.expect("kept").expect(200);
    upstream.chunk("piece");
    assert_eq!(body.frame().await.expect("a frame").expect("unbroken").into_data().expect("data"), "piece");
    Person::join(&client, "grace@example.com").await;
    gate.cli(&["session", "revoke", &ada.session]).expect(0);
    client.get("/private").bearer(&ada.access).send().await.expect(401);
    assert!(
        plain(gate.port("internal"), "/metrics").await.expect("answered").text().contains("journal_position")
    );
    assert_eq!(gate.cli_json(&["reload"])["restart"], json!([]));
    drop((body, download));
    gate.verify_audit();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_process_that_does_not_come() {
    let upstream = Upstream::start().await;
    let (mut gate, copy) = Gate::start_copy_from_file(&file("", &upstream));
    let sign = gate.folder().join("sign");
    std::fs::remove_file(&copy).expect("writable");
    std::fs::write(&copy, format!("#!/bin/sh\n: > {}\nexec sleep 600\n", sign.display())).expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&copy, mode).expect("ours");
    let pid = i32::try_from(gate.pid()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::USR2).expect("the gate is ours");
    while !sign.exists() {
        tokio::task::yield_now().await;
    }
    gate.client().get("/while").send().await.expect(200);
    gate.stop();
    assert!(gate.log().contains("this process is to stop"), "{}", gate.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_refused_by_both_processes_and_holds_nothing_open_in_either() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    let mut people = Vec::new();
    for name in ["before", "after", "still"] {
        people.push(Person::join(&client, &format!("{name}@example.com")).await);
    }
    let [before, after, still] = &people[..] else { panic!("three") };
    let mut kept = Vec::new();
    for person in [before, after, still] {
        let mut link = client.open().await.expect("the gate accepts");
        link.send(client.get("/private").bearer(&person.access)).await.expect("answered").expect(200);
        kept.push(link);
    }
    // Open on the strength of a token that is revoked once another process serves.
    let mut download = client.open().await.expect("the gate accepts");
    let ask = client.get("/stream").bearer(&after.access);
    let mut body = download.begin(ask).await.expect("a head").into_body();
    upstream.chunk("piece");
    body.frame().await.expect("a frame").expect("unbroken");
    line.gate.cli(&["session", "revoke", &before.session]).expect(0);
    line.restart();
    line.gate.cli(&["session", "revoke", &after.session]).expect(0);
    let status = line.gate.cli_json(&["status"]);
    assert_eq!(status["restart"]["before"], line.processes[0], "it has something open");
    // At the process that was replaced, by a connection that was kept there.
    for (link, (person, status)) in kept.iter_mut().zip([(before, 401), (after, 401), (still, 200)]) {
        let answer = link.send(client.get("/private").bearer(&person.access)).await;
        let answer = answer.expect("answered").expect(status);
        assert_eq!(answer.header("connection"), Some("close"), "it was answered there");
        client.get("/private").bearer(&person.access).send().await.expect(status);
    }
    let cut = body.frame().await.expect("it has not ended");
    assert!(cut.is_err(), "what was open is cut");
    line.until_ended();
    assert!(line.gate.wait_for_the_first().success());
    let denied = line.gate.audit().into_iter().filter(|event| event["intent"] == "access").count();
    assert!(denied >= 2, "what was refused there stands in the log that is written here");
    line.gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_holds_the_socket_while_nobody_serves_and_is_told_who_does() {
    let upstream = Upstream::start().await;
    let mut gate = Gate::prepare_with_file(&file("", &upstream));
    let notified = gate.folder().join("notify");
    let manager = UnixDatagram::bind(&notified).expect("a socket");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let mut early = std::net::TcpStream::connect(address).expect("the kernel accepts");
    let served = gate.command();
    let mut command = Command::new("/bin/sh");
    // As `sd_listen_fds(3)` has it: descriptor 3, for this very process.
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, "sh"]).arg(served.get_program()).args(served.get_args());
    command.env_clear().env("NOTIFY_SOCKET", &notified);
    command.envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().expect("a descriptor"))));
    command.stdout(Stdio::piped());
    gate.restart_by(command);
    assert_eq!(gate.port("https"), address);
    let heard = || {
        let mut words = [0; 512];
        let size = manager.recv(&mut words).expect("a datagram");
        String::from_utf8(words[..size].to_vec()).expect("text")
    };
    assert!(heard().starts_with("READY=1\n"));
    // Whoever came while nobody served was not turned away: no HTTP, and told so.
    std::io::Write::write_all(&mut early, b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    assert!(early.read(&mut [0; 64]).expect("answered") > 0, "an alert");
    gate.client().get("/").send().await.expect(200);
    let now = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
    };
    // What `Type=notify-reload` goes by: a reload that began after its signal, and its end, however it ended.
    for text in ["nonsense", &file("", &upstream)] {
        gate.rewrite(text);
        let asked = now();
        gate.hang_up();
        let words = heard();
        let began = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.lines().next());
        let began: i64 = began.expect("a time").parse().expect("microseconds");
        assert!((asked..=now()).contains(&began), "{words}");
        assert!(heard().starts_with("READY=1\n"));
    }
    let mut line = Line::of(gate);
    line.restart();
    let main = format!("MAINPID={}\n", line.processes[1]);
    // By the one whom the manager listens to, and then by the one that it names.
    for _ in 0..2 {
        let words = heard();
        assert!(words.starts_with(&main) && words.contains("\nREADY=1"), "{words}");
    }
    line.until_ended();
    line.gate.client().get("/").send().await.expect(200);
    let next = Pid::from_raw(line.processes[1]).expect("a pid");
    kill_process(next, Signal::TERM).expect("ours");
    while !heard().starts_with("STOPPING=1\n") {}
    while test_kill_process(next).is_ok() && Path::new(&format!("/proc/{}/fd/0", line.processes[1])).exists()
    {
        tokio::task::yield_now().await;
    }
}
