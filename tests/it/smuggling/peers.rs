//! Three real servers behind the gate, for what the recorder cannot show: that those whom people run read
//! what arrives as it was meant. nginx (the most used; its own parser), Apache httpd (another lineage, laxer
//! by history), and gunicorn (WSGI, where `X_Auth` and `X-Auth` are one name; its parser has read two requests
//! where others read one: CVE-2024-1135, CVE-2024-6827).

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use super::runner::{self, Way};
use super::strict::latin1;
use super::{gate_before, is_known_gap, table};

/// How long a server may keep silent before the test gives up.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// What happens in a folder, as it happens: servers write a pid, a socket, a log.
struct Watch(Arc<OwnedFd>);

impl Watch {
    fn over(folder: &Path) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        inotify::add_watch(&watch, folder, WatchFlags::CREATE | WatchFlags::MODIFY).expect("a folder");
        Self(Arc::new(watch))
    }

    /// Waits until something has happened since it was last asked; `false` if nothing does.
    async fn news(&self) -> bool {
        let watch = Arc::clone(&self.0);
        let waiting = tokio::task::spawn_blocking(move || {
            poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&PATIENCE)).is_ok_and(|count| count > 0)
        });
        let some = waiting.await.expect("it does not panic");
        while rustix::io::read(&self.0, &mut [0_u8; 4096]).is_ok() {}
        some
    }
}

/// A server of this machine, ended when dropped.
pub struct Peer {
    folder: TempDir,
    watch: Watch,
    child: Child,
    /// As the gate's configuration names it.
    pub address: String,
}

impl Peer {
    /// Starts one and waits until it can be connected to.
    pub async fn start(folder: TempDir, mut command: Command, address: String) -> Self {
        let errors = fs::File::create(folder.path().join("stderr")).expect("writable");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let watch = Watch::over(folder.path());
        let child = command.spawn().expect("tests/setup.sh installs it");
        let mut peer = Self { folder, watch, child, address };
        loop {
            let there = match peer.address.strip_prefix("unix:") {
                Some(path) => UnixStream::connect(path).await.is_ok(),
                None => TcpStream::connect(&peer.address).await.is_ok(),
            };
            if there {
                return peer;
            }
            assert!(peer.child.try_wait().expect("ours").is_none(), "it ended: {}", peer.read("stderr"));
            // Each writes something once it listens: its pid, or a line.
            assert!(peer.watch.news().await, "it does not listen: {}", peer.read("stderr"));
        }
    }

    fn read(&self, name: &str) -> String {
        latin1(&fs::read(self.folder.path().join(name)).unwrap_or_default())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Not SIGKILL: it has processes of its own.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("writable");
}

async fn nginx() -> Peer {
    let folder = tempfile::tempdir().expect("a temp dir");
    let at = folder.path().display().to_string();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).collect();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/errors warn; events {{}}\n\
         http {{ {temporary} log_format told escape=none '$request'; access_log {at}/told told;\n\
         server {{ listen unix:{at}/socket; location / {{ return 200 'nginx'; }} }} }}"
    );
    write(folder.path(), "nginx.conf", &text);
    let mut command = Command::new("nginx");
    command.args(["-p", &at, "-e", &format!("{at}/errors"), "-c", &format!("{at}/nginx.conf")]);
    Peer::start(folder, command, format!("unix:{at}/socket")).await
}

async fn apache() -> Peer {
    let folder = tempfile::tempdir().expect("a temp dir");
    let at = folder.path().display().to_string();
    // It can neither choose a port nor listen on a path. Whoever takes this one meanwhile fails the test.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let text = format!(
        "ServerRoot {at}\nServerName h\nPidFile {at}/pid\nErrorLog {at}/errors\nListen {address}\n\
         LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
         LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
         User nobody\nGroup nogroup\nDefaultRuntimeDir {at}\nDocumentRoot {at}\n\
         LogFormat \"%r\" told\nCustomLog {at}/told told\nKeepAlive On\nMaxKeepAliveRequests 0\n"
    );
    write(folder.path(), "apache.conf", &text);
    let mut command = Command::new("apache2");
    command.args(["-X", "-f", &format!("{at}/apache.conf")]);
    Peer::start(folder, command, address.to_string()).await
}

async fn gunicorn() -> Peer {
    let folder = tempfile::tempdir().expect("a temp dir");
    let at = folder.path().display().to_string();
    let application = "def application(environ, start_response):\n\
        \x20   body = environ['wsgi.input'].read()\n\
        \x20   told = ' '.join([environ['REQUEST_METHOD'], environ['RAW_URI'], body.decode('latin-1')])\n\
        \x20   with open('told', 'a') as log:\n\
        \x20       log.write(told.rstrip().encode('unicode_escape').decode() + '\\n')\n\
        \x20   bad = [k for k in environ if k.startswith('HTTP_X_AUTH')]\n\
        \x20   start_response('500 Forged' if bad else '200 OK', [('Content-Length', '0')])\n\
        \x20   return [b'']\n";
    write(folder.path(), "told.py", application);
    let mut command = Command::new("gunicorn");
    command.args([
        "--worker-class",
        "gthread",
        "--threads",
        "4",
        "--keep-alive",
        "60",
        "--graceful-timeout",
        "1",
    ]);
    command.args(["--chdir", &at, "--bind", &format!("unix:{at}/socket"), "told"]);
    Peer::start(folder, command, format!("unix:{at}/socket")).await
}

/// Sends every case of the tables through a gate before `peer`, and compares the requests that it read with
/// those that were meant: all of them, and none besides.
async fn read_as_meant(peer: &Peer, shorten: fn(&str) -> String) {
    let gate = gate_before(&peer.address);
    let client = gate.client();
    let (mut wrong, mut meant, mut tried) = (Vec::new(), Vec::new(), 0);
    let groups = table::requests();
    for (group, case) in runner::all(&groups).filter(|(group, case)| !is_known_gap(group, case)) {
        tried += 1;
        let answer = runner::say(&client, &runner::bytes(case), Way::Whole).await;
        match answer.and_then(|answer| runner::answered(&case.want(), &answer)) {
            Ok(forwarded) => meant.extend(forwarded.iter().map(|told| shorten(told))),
            Err(why) => wrong.push(format!("{group} / {} ({}): {why}", case.name, case.source)),
        }
    }
    // It may write its log after it has answered.
    let mut told = peer.read("told");
    while told.lines().count() < meant.len() && peer.watch.news().await {
        told = peer.read("told");
    }
    for line in told.lines() {
        match meant.iter().position(|meant| meant == line) {
            Some(at) => drop(meant.swap_remove(at)),
            // Chunks that break off are read as far as they come.
            None if line.starts_with("POST /chunked") => {}
            None => wrong.push(format!("it read {line:?}, which nobody asked")),
        }
    }
    wrong.extend(meant.iter().map(|told| format!("it never read {told:?}")));
    runner::report(&wrong, tried);
}

/// `METHOD target`, as servers log it.
fn line(told: &str) -> String {
    let words: Vec<&str> = told.splitn(3, ' ').take(2).collect();
    format!("{} HTTP/1.1", words.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_reads_what_was_meant() {
    read_as_meant(&nginx().await, line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_reads_what_was_meant() {
    read_as_meant(&apache().await, |told| line(told).replace('"', "\\\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gunicorn_reads_what_was_meant() {
    // It takes every method for the one in capitals. No route of ours lets through less than that.
    let escaped = |told: &str| {
        // Its applications do not hear of trailers.
        let told = told.split(" [x-").next().unwrap_or_default();
        let (method, rest) = told.split_at(told.find(' ').unwrap_or_default());
        format!("{}{rest}", method.to_ascii_uppercase()).replace('\r', "\\r").replace('\n', "\\n")
    };
    read_as_meant(&gunicorn().await, escaped).await;
}
