//! What goes wrong while a process takes over, and after: one that fails late, one that does not answer, a binary
//! that was replaced, a supervisor that would take the change for an end; and who is on record for it.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use http_body_util::BodyExt as _;
use rustix::process::Signal;
use rustls::HandshakeKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::client::Client;
use crate::harness::gate::{Gate, binary};
use crate::harness::line::{Line, file, parent, signal, state};
use crate::harness::person::{Person, refresh};
use crate::harness::upstream::Upstream;

/// The command that serves this gate, by another program, whose internal listener is the configuration's.
fn by(gate: &Gate, program: &Path) -> Command {
    let plain = gate.command();
    let mut command = Command::new(program);
    let mut arguments = plain.get_args();
    while let Some(argument) = arguments.next() {
        if argument == "--internal" {
            arguments.next();
        } else {
            command.arg(argument);
        }
    }
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn with_internal(address: &str, upstream: &Upstream) -> String {
    file(&format!("[listen]\nhttps = [\"127.0.0.1:0\"]\ninternal = \"{address}\""), upstream)
}

/// What the audit log says of restarts: who, how it ended and why.
fn restarts(gate: &Gate) -> Vec<(Value, Value, Value)> {
    let events = gate.audit().into_iter().filter(|event| event["intent"] == "restart");
    events.map(|event| (event["actor"].clone(), event["outcome"].clone(), event["reason"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_late_leaves_the_control_socket_and_the_ports_as_they_were_and_is_on_record() {
    let upstream = Upstream::start().await;
    let mut gate = Gate::prepare_with_file(&with_internal("127.0.0.1:0", &upstream));
    let command = by(&gate, &binary());
    gate.restart_by(command);
    let pid = gate.pid();
    let ports = || std::fs::read_to_string(gate.file("run/ports.json")).expect("readable");
    let before = ports();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    gate.rewrite(&with_internal(&taken.local_addr().expect("an address").to_string(), &upstream));
    let said = gate.cli(&["restart"]).expect(1);
    assert!(said.stderr.contains("listen.internal") && said.stderr.contains("serves on"), "{said:?}");
    assert_eq!(gate.cli_json(&["status"])["pid"], pid);
    assert_eq!(ports(), before);
    gate.client().get("/").send().await.expect(200);
    // Before anything is closed: another file, which cannot be read.
    gate.rewrite("nonsense");
    gate.cli_by_data(&["restart"]).expect(1);
    gate.rewrite(&with_internal("127.0.0.1:0", &upstream));
    let mut line = Line::of(gate);
    line.restart();
    let own = json!(format!("console:{}", rustix::process::geteuid().as_raw()));
    let want = [("granted", ""), ("failed", "fell_back"), ("failed", "not_started"), ("granted", "")];
    let found = restarts(&line.gate);
    let want: Vec<_> = want.iter().map(|(how, why)| (own.clone(), json!(how), json!(why))).collect();
    assert_eq!(found, want);
    line.until_ended();
    let next = line.processes[1];
    signal(next, Signal::USR2);
    let by_signal = || restarts(&line.gate).into_iter().filter(|(who, ..)| *who == json!("system")).count();
    while by_signal() == 0 {
        tokio::task::yield_now().await;
    }
    while line.gate.cli_json(&["status"])["pid"] == next {
        tokio::task::yield_now().await;
    }
    let last = line.gate.cli_json(&["status"])["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    line.processes.extend(last);
    line.gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_acknowledged_only_when_a_process_that_does_not_answer_is_no_more() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let mut kept = client.open().await.expect("the gate accepts");
    kept.send(client.get("/private").bearer(&ada.access)).await.expect("answered").expect(200);
    line.restart();
    let before = line.processes[0];
    assert_ne!(parent(line.processes[1]), Some(before), "a service manager takes it for one of its own");
    signal(before, Signal::STOP);
    while state(before) != Some('T') {
        tokio::task::yield_now().await;
    }
    line.gate.cli(&["session", "revoke", &ada.session]).expect(0);
    // It cannot serve what it was not told, whoever lets it go on now.
    assert!(matches!(state(before), None | Some('Z')), "{:?}", state(before));
    signal(before, Signal::CONT);
    kept.send(client.get("/private").bearer(&ada.access)).await.expect_err("nobody is there");
    client.get("/private").bearer(&ada.access).send().await.expect(401);
    line.until_ended();
    assert!(!line.gate.wait_for_the_first().success());
    line.gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_force_the_process_before_is_cut_with_its_counts_recorded_even_if_it_does_not_answer() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    let mut download = client.open().await.expect("the gate accepts");
    let ada = Person::join(&client, "ada@example.com").await;
    let ask = client.get("/stream").bearer(&ada.access);
    let mut body = download.begin(ask).await.expect("a head").into_body();
    upstream.chunk("piece");
    body.frame().await.expect("a frame").expect("unbroken");
    let grace = Person::join(&client, "grace@example.com").await;
    line.gate.cli(&["session", "revoke", &grace.session]).expect(0);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut link = client.open().await.expect("the gate accepts");
        link.send(client.get("/")).await.expect("answered").expect(200);
        kept.push(link);
    }
    line.restart();
    // Refused there: the first is recorded at once, the others are counted.
    for link in &mut kept {
        link.send(client.get("/private").bearer(&grace.access)).await.expect("answered").expect(401);
    }
    let said = line.gate.cli(&["restart"]).expect(1);
    assert!(said.stderr.contains("still has something open") && said.stderr.contains("--force"), "{said:?}");
    line.restart_with(&["restart", "--force"]);
    assert!(body.frame().await.expect("it has not ended").is_err(), "cut");
    assert!(matches!(state(line.processes[0]), None | Some('Z')));
    let events = line.gate.audit().into_iter().filter(|event| event["intent"] == "access");
    assert_eq!(
        events.filter_map(|event| event["count"].as_u64()).sum::<u64>(),
        3,
        "what was counted is told"
    );
    client.get("/").send().await.expect(200);
    // The next is open still, and stopped.
    let mut kept = client.open().await.expect("the gate accepts");
    kept.send(client.get("/")).await.expect("answered").expect(200);
    line.until_ended();
    line.restart();
    signal(line.processes[2], Signal::STOP);
    line.restart_with(&["restart", "--force"]);
    assert!(matches!(state(line.processes[2]), None | Some('Z')));
    client.get("/").send().await.expect(200);
    line.gate.verify_audit();
}

async fn handshake(client: &Client) -> HandshakeKind {
    let mut stream = client.stream().await.expect("the gate accepts");
    let host = "localhost";
    let ask = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // Tickets come with it.
    stream.read_to_end(&mut answer).await.expect("answered");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    stream.get_ref().1.handshake_kind().expect("it is over")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_process_before_is_a_full_handshake_once_and_resumed_from_then_on() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    assert_ne!(handshake(&client).await, HandshakeKind::Resumed);
    assert_eq!(handshake(&client).await, HandshakeKind::Resumed);
    line.restart();
    line.until_ended();
    assert_ne!(handshake(&client).await, HandshakeKind::Resumed);
    assert_eq!(handshake(&client).await, HandshakeKind::Resumed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_what_the_path_of_the_start_leads_to_now_and_nothing_that_others_can_write() {
    let upstream = Upstream::start().await;
    let mut gate = Gate::prepare_with_file(&with_internal("127.0.0.1:0", &upstream));
    let (current, next) = (gate.folder().join("current"), gate.folder().join("next"));
    let sign = gate.folder().join("sign");
    symlink(binary(), &current).expect("writable");
    let command = by(&gate, &current);
    gate.restart_by(command);
    let script = format!("#!/bin/sh\n: > {}\nexec {} \"$@\"\n", sign.display(), binary().display());
    std::fs::write(&next, script).expect("writable");
    std::fs::set_permissions(&next, Permissions::from_mode(0o777)).expect("ours");
    std::fs::remove_file(&current).expect("writable");
    symlink(&next, &current).expect("writable");
    let said = gate.cli(&["restart"]).expect(1);
    assert!(said.stderr.contains("can be written by others") && said.stderr.contains("chmod"), "{said:?}");
    assert!(!sign.exists());
    std::fs::set_permissions(&next, Permissions::from_mode(0o755)).expect("ours");
    let mut line = Line::of(gate);
    line.restart();
    assert!(sign.exists(), "the one that the link leads to now");
    line.gate.client().get("/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_would_end_with_its_first_process_is_not_restarted() {
    let upstream = Upstream::start().await;
    let mut gate = Gate::prepare_with_file(&with_internal("127.0.0.1:0", &upstream));
    let served = by(&gate, &binary());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "export SYSTEMD_EXEC_PID=$$; exec \"$@\"", "sh"]).arg(served.get_program());
    command.args(served.get_args()).env_clear();
    command.envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    gate.restart_by(command);
    let said = gate.cli(&["restart"]).expect(4);
    assert!(said.stderr.contains("Type=notify"), "{said:?}");
    gate.client().get("/").send().await.expect(200);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_counted_while_the_stores_are_closed_is_not_lost() {
    let upstream = Upstream::start().await;
    let mut line = Line::start(&upstream);
    let client = line.gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    client.post("/auth/v1/logout", json!({})).bearer(&ada.access).send().await.expect(204);
    refresh(&client, &ada.refresh).await.expect(401);
    let body = json!({"refresh_token": ada.refresh}).to_string();
    // Its like is only counted; and it is still being asked while what was counted is written.
    let mut slow = client.stream().await.expect("the gate accepts");
    let head = format!(
        "POST /auth/v1/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.expect("sent");
    slow.write_all(&body.as_bytes()[..10]).await.expect("sent");
    // Until the API has it, another would wait for nothing.
    client.get("/auth/v1/keys").send().await;
    let mut restarting = line.gate.subcommand(&["restart"]);
    let restarting = restarting.stdout(Stdio::null()).spawn().expect("it starts");
    // Once nobody is let begin anything, what was counted has been written before.
    while let Ok(answer) = timeout(Duration::from_millis(500), client.get("/auth/v1/keys").send()).await {
        drop(answer);
    }
    slow.write_all(&body.as_bytes()[10..]).await.expect("sent");
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.expect("answered");
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
    assert!(restarting.wait_with_output().expect("it ends").status.success());
    let pid = line.gate.cli_json(&["status"])["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    line.processes.extend(pid);
    let events = line.gate.audit().into_iter().filter(|event| event["intent"] == "refresh");
    let refused: u64 = events.filter_map(|event| event["count"].as_u64()).sum();
    assert_eq!(refused, 2);
    line.gate.verify_audit();
}
