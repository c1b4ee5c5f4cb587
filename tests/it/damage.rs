//! A data folder that is not as it was left: the gate refuses to start, says which file and why, and
//! changes nothing, so that what can be saved still can be.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::cli::run;
use crate::harness::gate::Gate;
use crate::harness::person::{Person, login};

const ADA: &str = "ada@example.com";

/// A stopped gate with a person in it, and a copy of its data folder.
struct Kept {
    gate: Gate,
    copy: PathBuf,
}

impl Kept {
    async fn stopped() -> Self {
        let mut gate = Gate::start_cheap();
        Person::join(&gate.client(), ADA).await;
        gate.stop();
        let copy = gate.folder().join("copy");
        copy_folder(&gate.data(), &copy);
        Self { gate, copy }
    }

    /// Damages the folder, sees the gate refuse it with these words, and puts it back.
    fn expect_refusal(&mut self, damage: impl FnOnce(&Gate), code: i32, says: &[&str]) {
        damage(&self.gate);
        let redb = says.iter().any(|words| words.ends_with("view.redb"));
        let before = content(&self.gate.data(), redb);
        let refusal = self.gate.refuse_start();
        assert_eq!(refusal.code, Some(code), "{refusal:?}");
        for words in says {
            assert!(refusal.stderr.contains(words), "{words} not in {refusal:?}");
        }
        assert_eq!(refusal.stderr.matches("keepgate: ").count(), 1, "{refusal:?}");
        assert_eq!(
            differences(&before, &content(&self.gate.data(), redb)),
            Vec::<&PathBuf>::new(),
            "{refusal:?}"
        );
        let said = self.gate.cli(&["user", "list"]).expect(code);
        assert_eq!(said.stderr, refusal.stderr, "the command line says the same");
        self.put_back();
    }

    fn put_back(&self) {
        fs::remove_dir_all(self.gate.data()).expect("it is ours");
        copy_folder(&self.copy, &self.gate.data());
    }

    async fn expect_all_there(&mut self) {
        self.gate.restart();
        login(&self.gate.client(), ADA).await.expect(200);
        self.gate.verify_audit();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    run(copy, "").expect(0);
}

/// Every file and what is in it; not the lock, which names whoever looked last, and not what the
/// engines note on opening: SQLite beside its database, redb in its own file (unless that is the one
/// in question, and refused).
fn content(folder: &Path, redb: bool) -> BTreeMap<PathBuf, blake3::Hash> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let passing = ["lock", "view.sqlite-shm", "view.sqlite-wal"];
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file()
                && !passing.iter().any(|name| path.ends_with(name))
                && (redb || !path.ends_with("view.redb"))
            {
                all.insert(path.clone(), blake3::hash(&fs::read(&path).expect("readable")));
            }
        }
    }
    all
}

fn differences<'a>(
    one: &'a BTreeMap<PathBuf, blake3::Hash>,
    other: &'a BTreeMap<PathBuf, blake3::Hash>,
) -> Vec<&'a PathBuf> {
    let keys = one.keys().chain(other.keys());
    keys.filter(|path| one.get(*path) != other.get(*path)).collect()
}

const SEGMENT: &str = "store/journal/00000000000000000001.segment";

fn flip(gate: &Gate, name: &str, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(gate.file(name)).expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("long enough");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("writable");
}

fn overwrite(gate: &Gate, name: &str, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(gate.file(name)).expect("it is there");
    file.write_all_at(bytes, 0).expect("writable");
}

fn cut(gate: &Gate, name: &str, divisor: u64) {
    let file = fs::OpenOptions::new().write(true).open(gate.file(name)).expect("it is there");
    let length = file.metadata().expect("readable").len();
    file.set_len(length / divisor).expect("writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused_and_named() {
    let mut kept = Kept::stopped().await;
    for offset in [3, 100, 600, 2_000] {
        let says = [SEGMENT, "is damaged at byte", "Nothing was changed"];
        kept.expect_refusal(|gate| flip(gate, SEGMENT, offset), 1, &says);
    }
    let says = [SEGMENT, "is damaged at byte"];
    kept.expect_refusal(|gate| cut(gate, SEGMENT, 1_000), 1, &says);
    let gone = |gate: &Gate| fs::remove_file(gate.file(SEGMENT)).expect("it is there");
    kept.expect_refusal(gone, 1, &["store/journal", "segments are gone"]);
    kept.expect_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_damaged_before_a_crash_is_refused_too() {
    let mut gate = Gate::start_cheap();
    Person::join(&gate.client(), ADA).await;
    gate.kill();
    flip(&gate, SEGMENT, 700);
    let refusal = gate.refuse_start();
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.stderr.contains("is damaged at byte"), "{refusal:?}");
    flip(&gate, SEGMENT, 700);
    gate.restart();
    login(&gate.client(), ADA).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_views_are_refused_and_named() {
    let mut kept = Kept::stopped().await;
    for view in ["store/auth/view.sqlite", "store/logs/view.sqlite", "store/user/view.sqlite"] {
        kept.expect_refusal(|gate| overwrite(gate, view, &[0x5a; 4096]), 1, &[view]);
        kept.expect_refusal(|gate| cut(gate, view, 2), 1, &[view]);
    }
    let view = "store/tokens/view.redb";
    kept.expect_refusal(|gate| overwrite(gate, view, &[0x5a; 4096]), 1, &[view]);
    kept.expect_refusal(|gate| cut(gate, view, 2), 1, &[view]);
    kept.expect_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_gone_is_made_again_from_a_whole_journal() {
    let mut gate = Gate::start_cheap();
    let ada = Person::join(&gate.client(), ADA).await;
    gate.cli(&["blacklist", "add", "192.0.2.7"]).expect(0);
    gate.stop();
    let questions: [&[&str]; 3] = [&["user", "list"], &["session", "list", ADA], &["blacklist", "list"]];
    let ask = |gate: &Gate| questions.map(|question| gate.cli_json(question));
    let before = ask(&gate);
    for namespace in ["auth", "tokens", "logs"] {
        let folder = gate.file("store").join(namespace);
        fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("{namespace}: {error}"));
        gate.restart();
        assert_eq!(ask(&gate), before, "{namespace}");
        gate.client().get("/echo").bearer(&ada.access).send().await.expect(200);
        gate.verify_audit();
        gate.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_newer_binary_is_refused_with_both_versions() {
    let mut kept = Kept::stopped().await;
    let newer = |gate: &Gate| {
        let script =
            "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]); db.execute('pragma user_version=999')";
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", script]).arg(gate.file("store/auth/view.sqlite"));
        run(python, "").expect(0);
    };
    kept.expect_refusal(newer, 1, &["auth store", "schema version 999", "use the newer binary"]);
    kept.expect_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_is_gone_exposed_or_another_is_refused() {
    let mut kept = Kept::stopped().await;
    let gone = |gate: &Gate| fs::remove_file(gate.file("master.key")).expect("it is there");
    kept.expect_refusal(gone, 1, &["master.key is missing", "bring the file back"]);
    let another_mode = |gate: &Gate, name: &str, mode| {
        fs::set_permissions(gate.file(name), fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    // What others can reach is a fault of the place, which `check` and `serve` name alike.
    for (name, mode, says) in
        [("master.key", 0o644, "can be read by others"), ("", 0o755, "listed by others")]
    {
        another_mode(&kept.gate, name, mode);
        let refusal = kept.gate.refuse_start();
        assert_eq!(refusal.code, Some(3), "{refusal:?}");
        assert!(refusal.stderr.contains(says) && refusal.stderr.contains("chmod"), "{refusal:?}");
        assert_eq!(kept.gate.cli(&["check"]).expect(3).stderr, refusal.stderr);
        kept.put_back();
    }
    let another = |gate: &Gate| {
        fs::write(gate.file("master.key"), format!("{}=\n", "A".repeat(43))).expect("writable");
    };
    kept.expect_refusal(another, 1, &["signing key", "the master key is not the one"]);
    let nonsense = |gate: &Gate| fs::write(gate.file("master.key"), "nonsense\n").expect("writable");
    kept.expect_refusal(nonsense, 1, &["master.key"]);
    kept.expect_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_something_in_it_that_others_can_write_is_refused() {
    let mut gate = Gate::prepare(crate::harness::gate::CHEAP);
    gate.make_data();
    // An empty one would be made private.
    fs::write(gate.data().join("theirs"), "").expect("it is ours");
    fs::set_permissions(gate.data(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let refusal = gate.refuse_start();
    assert_eq!(refusal.code, Some(3));
    assert!(refusal.stderr.contains("can be written by others (mode 777)"), "{refusal:?}");
    assert_eq!(fs::read_dir(gate.data()).expect("readable").count(), 1, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let said = run(gate.command(), "").expect(1);
    let store = gate.file("store").display().to_string();
    assert!(
        said.stderr.contains(&format!("{store} is in use by another process (process {})", gate.pid())),
        "{said:?}"
    );
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    login(&client, ADA).await.expect(200);
    assert_eq!(gate.cli_json(&["status"])["health"]["status"], json!("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let gate = Gate::start_cheap();
    let mut other = Gate::prepare(crate::harness::gate::CHEAP).command();
    let taken = gate.port("https").to_string();
    other.args(["--https", &taken]);
    let said = run(other, "").expect(2);
    assert!(said.stderr.contains("--https"), "given twice: {said:?}");
    let mut other = Gate::prepare(crate::harness::gate::CHEAP);
    other.set(&format!("KEEPGATE_LISTEN__INTERNAL={}", gate.port("internal")));
    let mut command =
        other.subcommand(&["serve", "--dev", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.env("KEEPGATE_LISTEN__INTERNAL", gate.port("internal").to_string());
    let said = run(command, "").expect(1);
    assert!(said.stderr.contains(&gate.port("internal").to_string()), "{said:?}");
}
