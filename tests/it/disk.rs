//! A disk that is full or broken under a running gate: it takes no changes and says so, goes on
//! reading and verifying, and has lost nothing that it acknowledged. Needs root, for the mount and
//! for strace.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::cli::run;
use crate::harness::client::{Client, plain};
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{Person, login, refresh};

const ADA: &str = "ada@example.com";

/// A small file system mounted on a folder, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf, size: &str) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(&folder);
        run(mount, "").expect(0);
        Self(folder)
    }

    /// Takes the room there is but for `left` bytes, in a file that is no store's.
    fn fill(&self, left: u64) {
        let chunk = vec![0; 4096];
        let mut file = fs::File::create(self.0.join("filler")).expect("writable");
        let room = || rustix::fs::statvfs(&self.0).map(|it| it.f_bavail * it.f_frsize).expect("mounted");
        while room() > left && std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(&self.0);
        run(unmount, "").expect(0);
    }
}

/// Lets every fdatasync and fsync of a process fail from now on, by strace.
struct BrokenDisk(Child);

impl BrokenDisk {
    fn under(pid: u32) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"]);
        strace.args(["-o", "/dev/null", "-p", &pid.to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = strace.spawn().expect("strace is there: tests/setup.sh");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("attached")), "strace did not attach");
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        self.0.kill().expect("strace is ours");
        self.0.wait().expect("strace is ours");
    }
}

/// Logs in until the gate takes no more; gives the last session that it acknowledged.
async fn until_read_only(client: &Client, ada: &mut Person) {
    loop {
        let answer = login(client, ADA).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{:?}", answer.body);
            assert_eq!(answer.problem(), "read-only");
            assert!(answer.header("retry-after").is_some());
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("journal") && !text.contains('/'), "inner words went out: {text}");
            return;
        }
        ada.take(&answer.json());
    }
}

/// What a read-only gate still does, what it refuses, and how it shows.
async fn expect_read_only(gate: &Gate, ada: &Person) {
    let client = gate.client();
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    client.get("/auth/v1/sessions").bearer(&ada.access).send().await.expect(200);
    client.get("/.well-known/jwks.json").send().await.expect(200);
    for path in ["/auth/v1/logout", "/auth/v1/logout-all"] {
        let answer = client.request("POST", path).bearer(&ada.access).send().await.expect(503);
        assert_eq!(answer.problem(), "read-only");
    }
    assert_eq!(refresh(&client, &ada.refresh).await.expect(503).problem(), "read-only");
    client.get("/echo").bearer(&ada.access).send().await.expect(200);

    let ready = plain(gate.port("internal"), "/ready").await.expect("answered").expect(503).json();
    let journal =
        ready["checks"].as_array().and_then(|checks| checks.iter().find(|c| c["name"] == "journal"));
    let journal = journal.unwrap_or_else(|| panic!("no journal in {ready}"));
    assert_eq!((&ready["status"], &journal["status"]), (&json!("failing"), &json!("failing")));
    plain(gate.port("internal"), "/health").await.expect("answered").expect(200);
    let status = gate.cli(&["status", "--json"]).expect(1).json();
    assert_eq!((&status["running"], &status["health"]["status"]), (&json!(true), &json!("failing")));
    assert_eq!(gate.cli_fails(&["user", "disable", ADA], 1), "unavailable");
    assert_eq!(gate.cli_json(&["user", "show", ADA])["status"], "active");
}

/// After a start on a good disk everything that was acknowledged is there.
async fn expect_all_there(gate: &mut Gate, ada: &Person) {
    gate.restart();
    let client = gate.client();
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    refresh(&client, &ada.refresh).await.expect(200);
    login(&client, ADA).await.expect(200);
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_the_gate_read_only_and_loses_nothing() {
    let mut gate = Gate::prepare(CHEAP);
    // Without the marks that would stop it before.
    gate.set("KEEPGATE_STORE__WARN_FREE=0");
    gate.set("KEEPGATE_STORE__STOP_FREE=0");
    gate.make_data();
    let disk = SmallDisk::mount(gate.data(), "24M");
    gate.restart();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    disk.fill(0);
    until_read_only(&client, &mut ada).await;
    expect_read_only(&gate, &ada).await;
    disk.free();
    assert_eq!(login(&client, ADA).await.expect(503).problem(), "read-only", "until it is started again");
    gate.terminate();
    // A view could not be brought to the end: the exit code says so, and the words say which.
    assert_eq!(gate.wait().code(), Some(1));
    assert!(gate.stderr().contains("view.sqlite: database or disk is full"), "{}", gate.stderr());
    expect_all_there(&mut gate, &ada).await;
    gate.kill();
}

/// Whether the node finds its disk good.
async fn disk(gate: &Gate) -> Value {
    let ready = plain(gate.port("internal"), "/ready").await.expect("answered").json();
    let checks = ready["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == "disk").expect("a check of the disk")["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn short_of_room_the_gate_grants_nothing_revokes_all_the_same_and_comes_back_by_itself() {
    let mut gate = Gate::prepare(CHEAP);
    gate.set("KEEPGATE_STORE__WARN_FREE=24MiB");
    gate.set("KEEPGATE_STORE__STOP_FREE=16MiB");
    gate.make_data();
    let small = SmallDisk::mount(gate.data(), "64M");
    gate.restart();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let first = ada.access.clone();
    ada.take(&login(&client, ADA).await.expect(200).json());

    small.fill(12 << 20);
    gate.until_it_says("of store.stop_free");
    assert_eq!(disk(&gate).await, "failing");
    let refused = login(&client, ADA).await.expect(503);
    assert_eq!(refused.problem(), "read-only");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refresh(&client, &ada.refresh).await.expect(503).problem(), "read-only");
    client.get("/echo").bearer(&first).send().await.expect(200);
    client.request("POST", "/auth/v1/logout").bearer(&first).send().await.expect(204);
    client.get("/echo").bearer(&first).send().await.expect(401);
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    let status = gate.cli(&["status", "--json"]).expect(1).json().to_string();
    assert!(status.contains("store.stop_free"), "{status}");

    small.free();
    gate.until_it_says("the disk has room again");
    assert_eq!(disk(&gate).await, "ok");
    refresh(&client, &ada.refresh).await.expect(200);
    login(&client, ADA).await.expect(200);
    gate.stop();
    gate.restart();
    gate.client().get("/echo").bearer(&first).send().await.expect(401);
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_makes_the_gate_read_only_and_loses_nothing() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let broken = BrokenDisk::under(gate.pid());
    let answer = login(&client, ADA).await.expect(503);
    assert_eq!(answer.problem(), "read-only");
    expect_read_only(&gate, &ada).await;
    drop(broken);
    until_read_only(&client, &mut ada).await;
    gate.stop();
    expect_all_there(&mut gate, &ada).await;
}
