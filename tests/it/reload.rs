//! Another configuration for a running gate: by command and by signal, under load, refused, and what
//! it reaches (routes, limits, certificates, log, blacklist) without anybody being cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::cli::Said;
use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::upstream::Upstream;

/// Routes to `upstream`, after sections that differ.
fn file(sections: &str, upstream: &Upstream) -> String {
    let address = upstream.address;
    format!(
        "{sections}\n[upstreams.app]\nservers = [\"{address}\"]\n[[routes]]\npath = \"/auth\"\napi = true\n\
         auth = \"optional\"\n[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n"
    )
}

/// A gate before `upstream` with these sections.
fn gate(sections: &str, upstream: &Upstream) -> Gate {
    Gate::start_from_file(&file(sections, upstream))
}

fn reload(gate: &Gate) -> Value {
    gate.cli_json(&["reload"])
}

/// The reloads in the audit log: who, how it ended, why.
fn audited(gate: &Gate) -> Vec<(String, String, String)> {
    let text = |event: &Value, key: &str| event[key].as_str().expect("text").to_owned();
    let events = gate.audit();
    let reloads = events.iter().filter(|event| event["intent"] == "reload");
    reloads.map(|e| (text(e, "actor"), text(e, "outcome"), text(e, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_cost_no_request_no_download_and_no_connection() {
    let upstream = Upstream::start().await;
    let gate = gate("", &upstream);
    let client = gate.client();
    let mut download = client.open().await.expect("the gate accepts");
    let mut body = download.begin(client.get("/stream")).await.expect("a head").into_body();
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, over, served) = (client.clone(), Arc::clone(&over), Arc::clone(&served));
        load.spawn(async move {
            let mut kept = client.open().await.expect("the gate accepts");
            let mut streams = client.open_http2().await.expect("the gate speaks HTTP/2");
            while !over.load(Ordering::Relaxed) {
                kept.send(client.get("/kept")).await.expect("answered").expect(200);
                let upload = client.request("POST", "/upload").body("text/plain", vec![b'x'; 50_000]);
                kept.send(upload).await.expect("answered").expect(200);
                streams.get("/stream-of-many", "").await.expect("answered").expect(200);
                client.get("/new").send().await.expect(200);
                served.fetch_add(4, Ordering::Relaxed);
            }
        });
    }
    for round in 0..20_u32 {
        let before = served.load(Ordering::Relaxed);
        let sections = format!("[limits]\nbody_bytes = {}\n[tls]\nhsts = \"{round}s\"", 100_000 + round);
        let more = format!("[[routes]]\npath = \"/round{round}\"\napi = true\nauth = \"optional\"\n");
        gate.rewrite(&(file(&sections, &upstream) + &more));
        let told = reload(&gate);
        let changed = told["changed"].as_array().expect("a list");
        assert!(
            changed.contains(&json!("routes")) && changed.contains(&json!("limits.body_bytes")),
            "{told}"
        );
        assert_eq!(told["restart"], json!([]));
        // The load goes on between any two.
        while served.load(Ordering::Relaxed) < before + 16 {
            tokio::task::yield_now().await;
        }
        upstream.chunk("piece");
        let frame = body.frame().await.expect("a frame").expect("unbroken");
        assert_eq!(frame.into_data().expect("data"), "piece");
    }
    over.store(true, Ordering::Relaxed);
    load.join_all().await;
    assert_eq!(audited(&gate).len(), 20);
    let answer = client.get("/x").send().await.expect(200);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=19"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_is_reported_as_check_does() {
    let upstream = Upstream::start().await;
    let mut gate = gate("[limits]\nbody_bytes = 1000", &upstream);
    let client = gate.client();
    let good = file("[limits]\nbody_bytes = 2000", &upstream);
    let broken: [(String, &str); 4] = [
        (good.replace("\"app\"", "\"nowhere\"") + "[limts]\n", "(CONFIG:"),
        (good.clone() + "[[routes\n", "not valid TOML"),
        (good.clone() + "[[routes]]\npath = \"/s\"\nroot = \"/nowhere/site\"\n", "].root (CONFIG:"),
        (format!("[blacklist]\nfile = \"/nowhere/b.txt\"\n{good}"), "/nowhere/b.txt"),
    ];
    for (text, says) in broken {
        gate.rewrite(&text);
        let said = gate.cli(&["reload"]).expect(3);
        assert!(said.stderr.contains(&says.replace("CONFIG", &config(&gate))), "{said:?}");
        assert_eq!(Said { stdout: String::new(), ..gate.cli(&["check"]) }, said);
        let failure = gate.cli(&["--json", "reload"]).expect(3).failure();
        assert_eq!(failure["code"], "configuration");
        let put = client.request("PUT", "/x").body("text/plain", vec![b'x'; 1001]);
        put.send().await.expect(413);
        client.get("/x").send().await.expect(200);
    }
    let status = gate.cli_json(&["status"])["configuration"].clone();
    assert!(status["refused_at"].is_string() && status["loaded_at"].is_string(), "{status}");
    assert_eq!(status["refused_because"], "1 problem in it");
    let denied = audited(&gate);
    assert_eq!(denied.len(), 8);
    assert!(
        denied
            .iter()
            .all(|(_, outcome, why)| (outcome.as_str(), why.as_str()) == ("denied", "wrong_configuration"))
    );
    gate.rewrite(&good);
    assert_eq!(reload(&gate)["changed"], json!(["limits.body_bytes"]));
    let put = client.request("PUT", "/x").body("text/plain", vec![b'x'; 1001]);
    put.send().await.expect(200);
    assert_eq!(gate.cli_json(&["status"])["configuration"]["refused_at"], json!(null));
    gate.stop();
    assert!(
        gate.log().contains("the configuration was not reloaded: the one before runs on"),
        "{}",
        gate.log()
    );
    gate.verify_audit();
}

fn config(gate: &Gate) -> String {
    gate.folder().join("config.toml").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_stays_as_it_was() {
    let upstream = Upstream::start().await;
    let gate = gate("", &upstream);
    let sections = "[listen]\nworkers = 3\n[tokens]\nissuer = \"https://new.example.com\"\n[store]\n\
                    checkpoint_every = \"9s\"\n[limits]\nhead_bytes = \"9KiB\"";
    gate.rewrite(&file(sections, &upstream));
    for changed in [json!(["limits.head_bytes"]), json!([])] {
        let told = reload(&gate);
        assert_eq!(told["restart"], json!(["listen.workers", "tokens.issuer", "store.checkpoint_every"]));
        assert_eq!(told["changed"], changed, "what was taken is not taken again");
    }
    let said = gate.cli(&["reload"]).expect(0).stdout;
    assert!(said.contains("Unchanged until a restart: listen.workers, tokens.issuer"), "{said}");
    let answer = gate.client().get("/x").header("x-large", &"x".repeat(10_000)).send().await.expect(431);
    assert_eq!(answer.problem(), "head-too-large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reloads_too() {
    let upstream = Upstream::start().await;
    let mut gate = gate("", &upstream);
    let client = gate.client();
    gate.rewrite(&(file("", &upstream) + "methods = [\"GET\"]\n"));
    gate.hang_up();
    while client.post("/x", json!({})).send().await.status != 405 {}
    // Wrong for the daemon alone: `audit` below has to read it.
    gate.rewrite(&file("[blacklist]\nfile = \"/nowhere\"", &upstream));
    gate.hang_up();
    while audited(&gate).len() < 2 {}
    client.get("/x").send().await.expect(200);
    let told: Vec<_> = audited(&gate).into_iter().map(|(actor, outcome, _)| (actor, outcome)).collect();
    let system = |outcome: &str| ("system".to_owned(), outcome.to_owned());
    assert_eq!(told, [system("granted"), system("denied")]);
    gate.stop();
}

/// A certificate for localhost, signed by itself, and its key.
fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).expect("writable");
    let key = folder.join(format!("{name}.key"));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_certificates_are_served_to_new_handshakes_and_open_connections_stay() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().expect("a temp dir");
    let folder = folder.path();
    for name in ["one", "two", "three"] {
        certificate(folder, name);
    }
    let served = |name: &str| {
        let path = folder.join(name).display().to_string();
        let tls = format!(
            "[tls]\nsource = \"files\"\n[[tls.certificates]]\ncertificate = \"{path}.pem\"\nkey = \"{path}.key\""
        );
        file(&tls, &upstream)
    };
    let gate = Gate::start_from_file(&served("one"));
    let trusting = |name: &str| Client::new(gate.port("https"), &folder.join(format!("{name}.pem")));
    let mut old = trusting("one").open().await.expect("trusted");
    gate.rewrite(&served("two"));
    assert_eq!(reload(&gate)["changed"], json!(["tls.certificates"]));
    assert!(trusting("one").open().await.is_err(), "the old one is served no more");
    trusting("two").get("/x").send().await.expect(200);
    old.send(trusting("one").get("/x")).await.expect("still open").expect(200);
    // The same path with another content.
    std::fs::copy(folder.join("three.key"), folder.join("two.key")).expect("writable");
    let refused = gate.cli(&["reload"]).expect(3);
    assert!(refused.stderr.contains("do not go together"), "{refused:?}");
    let mut kept = Client::new(gate.port("https"), &folder.join("two.pem")).open().await.expect("unchanged");
    std::fs::copy(folder.join("three.pem"), folder.join("two.pem")).expect("writable");
    assert_eq!(reload(&gate)["changed"], json!(["tls.certificates"]));
    trusting("three").get("/x").send().await.expect(200);
    for link in [&mut old, &mut kept] {
        link.send(trusting("one").get("/x")).await.expect("still open").expect(200);
    }
    assert_eq!(reload(&gate)["changed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_changes_its_level_and_its_form() {
    let upstream = Upstream::start().await;
    let mut gate = gate("", &upstream);
    let client = gate.client();
    client.get("/first").send().await.expect(200);
    gate.rewrite(&file("[log]\njson = true\nlevel = \"debug\"", &upstream));
    assert_eq!(reload(&gate)["changed"], json!(["log.level", "log.json"]));
    client.get("/second").send().await.expect(200);
    gate.rewrite(&file("[log]\naccess = false\nlevel = \"error\"", &upstream));
    reload(&gate);
    client.get("/third").send().await.expect(200);
    gate.stop();
    let line = |path: &str| gate.log().lines().find(|line| line.contains(path));
    assert!(line("/first").is_some_and(|line| !line.starts_with('{')), "{}", gate.log());
    let second: Value = serde_json::from_str(line("/second").expect("logged")).expect("JSON");
    assert_eq!(second["level"], "INFO");
    assert_eq!(line("/third"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_networks_are_kept_out_beside_those_that_were_banned() {
    let upstream = Upstream::start().await;
    let gate = gate("", &upstream);
    let path = gate.folder().join("banned.txt");
    let [local, two, three] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|from| gate.client().from(from));
    let mut open = two.open().await.expect("let in");
    gate.cli(&["blacklist", "add", "127.0.0.3", "--force"]).expect(0);
    std::fs::write(&path, "127.0.0.2 # a pest\n127.0.0.3\n").expect("writable");
    gate.rewrite(&file(&format!("[blacklist]\nfile = {path:?}"), &upstream));
    assert_eq!(reload(&gate)["changed"], json!(["blacklist.file"]));
    assert!(two.open().await.is_err());
    assert_eq!(open.send(two.get("/x")).await.expect("answered").expect(403).problem(), "blacklisted");
    local.get("/x").send().await.expect(200);
    std::fs::write(&path, "# nobody\n").expect("writable");
    assert_eq!(reload(&gate)["changed"], json!(["blacklist.file"]));
    two.get("/x").send().await.expect(200);
    assert!(three.open().await.is_err(), "the command's ban stays");
    std::fs::write(&path, "0.0.0.0/0\n").expect("writable");
    let refused = gate.cli(&["reload"]).expect(3);
    assert!(refused.stderr.contains("line 1: \"0.0.0.0/0\" is everybody"), "{refused:?}");
    local.get("/x").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_there_are_only_certificates_to_reload_and_without_a_daemon_nothing() {
    let mut gate = Gate::start_cheap();
    let said = gate.cli(&["reload"]).expect(0).stdout;
    assert!(said.starts_with("It runs without a file (serve --dev)"), "{said}");
    assert_eq!(reload(&gate), json!({"file": null, "changed": [], "restart": []}));
    gate.stop();
    let said = gate.cli(&["reload"]).expect(1);
    assert!(said.stderr.contains("there is nothing to reload"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signals_refusal_is_told_in_the_log_as_a_person_would_say_it() {
    let upstream = Upstream::start().await;
    let mut gate = gate("", &upstream);
    gate.rewrite(&file("[tls]\nhsts = \"long\"\n[blacklist]\nfile = \"/nowhere\"", &upstream));
    gate.hang_up();
    // `audit` would have to read the file: `status` asks the daemon that the data folder leads to.
    let refused = |gate: &Gate| {
        let said = gate.cli_by_data(&["status", "--json"]).json();
        said["configuration"]["refused_at"].is_string()
    };
    while !refused(&gate) {}
    gate.stop();
    let log = gate.log();
    let told = format!("tls.hsts ({}:4): \"long\" is not a duration", config(&gate));
    assert!(log.contains(&told), "{log}");
    let file = "blacklist.file (on this machine): \"/nowhere\" cannot be read";
    assert!(log.contains(file) && log.contains("remedy="), "{log}");
    assert!(!log.contains("Line(") && !log.contains("Machine"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_another_file_than_the_daemons_own_is_refused() {
    let upstream = Upstream::start().await;
    let gate = gate("[limits]\nbody_bytes = 1000", &upstream);
    let other = gate.folder().join("other.toml");
    let good = std::fs::read_to_string(config(&gate)).expect("readable");
    std::fs::write(&other, good.replace("1000", "2000")).expect("writable");
    let said = gate.cli_with_config(&other, &["reload"]).expect(4);
    assert!(said.stderr.contains(&config(&gate)) && said.stderr.contains("other.toml"), "{said:?}");
    assert!(audited(&gate).is_empty(), "nothing was asked of the daemon");
    // The same file by another name is the same.
    let link = gate.folder().join("link.toml");
    std::os::unix::fs::symlink(config(&gate), &link).expect("writable");
    gate.cli_with_config(&link, &["reload"]).expect(0);
    gate.cli_by_data(&["reload"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_whose_mount_is_missing_keeps_neither_a_start_nor_a_reload() {
    let upstream = Upstream::start().await;
    let witness = |folder: &str| format!("[audit]\nwitness_file = \"/nowhere/{folder}/heads.jsonl\"");
    let mut gate = gate(&witness("one"), &upstream);
    gate.client().get("/").send().await.expect(200);
    // Looked at beside everything else, and what delivers heads may speak of it first.
    gate.until_it_says("the node runs without it");
    gate.rewrite(&file(&format!("{}\n[tls]\nhsts = \"7s\"", witness("two")), &upstream));
    let told = reload(&gate);
    assert_eq!((&told["changed"], &told["restart"]), (&json!(["tls.hsts"]), &json!(["audit.witness_file"])));
    let config = config(&gate);
    let said = gate.cli(&["check", "--config", &config]).expect(3);
    assert!(said.stderr.contains("audit.witness_file"), "{}", said.stderr);
    gate.until_it_says("a node that is restarted now runs");
    gate.stop();
    for (folder, says) in [("one", "the node runs without it"), ("two", "a node that is restarted now runs")]
    {
        let folder = format!("/nowhere/{folder}/");
        let told = |line: &str| line.contains(&folder) && line.contains(says);
        assert!(gate.log().lines().any(told), "{}", gate.log());
    }
}
