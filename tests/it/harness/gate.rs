//! A gate: the real binary on ports that the system chose, in a folder of its own, killed when
//! dropped. Started by `serve --dev` or with a configuration file; what is asked of a running gate
//! is in [`super::cli`] and [`super::client`].

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::log::Log;

/// Cheap hashing and small segments: for tests that are about something else.
pub const CHEAP: &[&str] = &[
    "KEEPGATE_PASSWORDS__MEMORY_KIB=64",
    "KEEPGATE_PASSWORDS__ITERATIONS=1",
    "KEEPGATE_STORE__SEGMENT_BYTES=1MiB",
];

/// The binary under test: the one cargo built, or `KEEPGATE_BIN` (how the release binary gets its
/// turn).
pub fn binary() -> PathBuf {
    std::env::var_os("KEEPGATE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_keepgate").into(), PathBuf::from)
}

/// The user and group that own nothing.
pub const NOBODY: u32 = 65534;

/// A command run as nobody. `setpriv` becomes it, so its process is the command's.
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
    command.arg(program);
    command
}

/// A gate and the folder it lives in. The folder outlives restarts.
pub struct Gate {
    folder: TempDir,
    environment: Vec<String>,
    config: Option<PathBuf>,
    way: Way,
    running: Option<Running>,
    log: String,
}

/// How the binary is started.
enum Way {
    Plain,
    /// Inside this empty root.
    Root(PathBuf),
    /// By this copy of it, as the user nobody.
    Nobody(PathBuf),
    /// By this copy of it.
    Copy(PathBuf),
}

struct Running {
    child: Child,
    ports: Value,
    log: Log,
}

/// How a gate that did not start ended.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Gate {
    /// Starts a gate in an empty folder, at production's cost of hashing, and waits until it says
    /// that it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with cheap hashing.
    pub fn start_cheap() -> Self {
        Self::start_with(CHEAP)
    }

    /// As [`Self::start`], with more environment (`KEEPGATE_SECTION__KEY=value`).
    pub fn start_with(environment: &[&str]) -> Self {
        let mut gate = Self::prepare(environment);
        gate.restart();
        gate
    }

    /// Starts a gate inside an empty root that holds the binary and nothing else. Needs root.
    pub fn start_in_empty_root() -> Self {
        let mut gate = Self::prepare(&[]);
        let root = gate.folder.path().join("root");
        std::fs::create_dir(&root).expect("writable");
        std::fs::copy(binary(), root.join("keepgate")).expect("the binary is copied");
        gate.way = Way::Root(root);
        gate.restart();
        gate
    }

    /// Starts a gate as the user nobody, who owns its data folder. Needs root.
    pub fn start_as_nobody() -> Self {
        let mut gate = Self::prepare(CHEAP);
        gate.make_data();
        std::os::unix::fs::chown(gate.data(), Some(NOBODY), Some(NOBODY)).expect("this is root");
        gate.way = Way::Nobody(gate.copy_for_nobody());
        gate.restart();
        gate
    }

    /// A copy of the binary where nobody can reach it.
    pub fn copy_for_nobody(&self) -> PathBuf {
        let copy = self.folder().join("keepgate");
        std::fs::copy(binary(), &copy).expect("the binary is copied");
        std::fs::set_permissions(self.folder(), Permissions::from_mode(0o755)).expect("it is ours");
        copy
    }

    /// Starts a gate with a configuration file: `text` after the environment "stage" and the data
    /// folder, so it begins with tables.
    pub fn start_from_file(text: &str) -> Self {
        let mut gate = Self::prepare(CHEAP);
        gate.config = Some(gate.folder.path().join("config.toml"));
        gate.rewrite(text);
        gate.restart();
        gate
    }

    /// As [`Self::start_from_file`], by a copy of the binary, which can be replaced by another.
    pub fn start_copy_from_file(text: &str) -> (Self, PathBuf) {
        let mut gate = Self::prepare(CHEAP);
        gate.config = Some(gate.folder.path().join("config.toml"));
        gate.rewrite(text);
        let copy = gate.copy_for_nobody();
        gate.way = Way::Copy(copy.clone());
        gate.restart();
        (gate, copy)
    }

    /// A gate with a configuration file that has not been started.
    pub fn prepare_with_file(text: &str) -> Self {
        let mut gate = Self::prepare(CHEAP);
        gate.config = Some(gate.folder.path().join("config.toml"));
        gate.rewrite(text);
        gate
    }

    /// Replaces the configuration file, with the same two lines before `text`. For the next start, or
    /// for a reload.
    pub fn rewrite(&self, text: &str) {
        let data = self.data().display().to_string();
        let text = format!("environment = \"stage\"\ndata_dir = {data:?}\n{text}");
        std::fs::write(self.config.as_ref().expect("started from a file"), text).expect("writable");
    }

    /// A gate that has not been started.
    pub fn prepare(environment: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        let environment = environment.iter().map(|&pair| pair.to_owned()).collect();
        Self { folder, environment, config: None, way: Way::Plain, running: None, log: String::new() }
    }

    /// The data folder, as seen from outside.
    pub fn data(&self) -> PathBuf {
        match &self.way {
            Way::Root(root) => root.join("data"),
            Way::Plain | Way::Nobody(_) | Way::Copy(_) => self.folder.path().join("data"),
        }
    }

    /// A file of the data folder.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data().join(name)
    }

    /// The folder around the data folder: the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the empty data folder, for tests that put something there first.
    pub fn make_data(&self) {
        std::fs::DirBuilder::new().mode(0o700).create(self.data()).expect("writable");
    }

    /// Replaces the value of one environment variable from the next start on.
    pub fn set(&mut self, pair: &str) {
        let name = pair.split_once('=').expect("NAME=value").0;
        self.environment.retain(|other| other.split_once('=').is_none_or(|(known, _)| known != name));
        self.environment.push(pair.to_owned());
    }

    /// Starts the gate again on the same folder.
    pub fn restart(&mut self) {
        if let Err(refusal) = self.try_restart() {
            panic!("the gate ended before it was ready: {refusal:?}");
        }
    }

    /// Starts the gate on a folder that it should not take, and says how it ended.
    pub fn refuse_start(&mut self) -> Refusal {
        match self.try_restart() {
            Ok(()) => panic!("the gate started"),
            Err(refusal) => refusal,
        }
    }

    /// Starts the gate by another command, which ends in becoming it.
    pub fn restart_by(&mut self, command: Command) {
        if let Err(refusal) = self.try_start(command) {
            panic!("the gate ended before it was ready: {refusal:?}");
        }
    }

    fn try_restart(&mut self) -> Result<(), Refusal> {
        self.try_start(self.command())
    }

    fn try_start(&mut self, mut command: Command) -> Result<(), Refusal> {
        self.kill();
        command.stderr(std::fs::File::create(self.stderr_file()).expect("writable"));
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut read = Vec::new();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| {
            read.push(line);
            read.last().is_some_and(|line| line.contains("Keepgate is ready"))
        });
        if !ready {
            let code = child.wait().expect("the gate is ours to reap").code();
            return Err(Refusal { code, stderr: self.stderr() });
        }
        let log = Log::follow(read, lines);
        let ports = std::fs::read(self.file("run/ports.json")).expect("ports.json is written first");
        let ports = serde_json::from_slice(&ports).expect("ports.json is JSON");
        self.running = Some(Running { child, ports, log });
        Ok(())
    }

    fn stderr_file(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }

    /// What the gate has written to standard error since its last start.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr_file()).expect("UTF-8")
    }

    /// The command that serves this gate's folder.
    pub fn command(&self) -> Command {
        let mut data = self.data();
        let mut command = match &self.way {
            Way::Plain => Command::new(binary()),
            Way::Root(root) => {
                data = PathBuf::from("/data");
                let mut command = Command::new("/usr/sbin/chroot");
                command.arg(root).arg("/keepgate");
                command
            }
            Way::Nobody(copy) => as_nobody(copy),
            Way::Copy(copy) => Command::new(copy),
        };
        match &self.config {
            Some(config) => command.arg("serve").arg("--config").arg(config),
            None => command.args(["serve", "--dev", "--data"]).arg(data),
        };
        for listener in ["--https", "--http", "--internal"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        self.surround(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// A subcommand of the binary on this gate's folder.
    pub fn subcommand(&self, arguments: &[&str]) -> Command {
        match &self.config {
            Some(config) => self.subcommand_of("--config", config, arguments),
            None => self.subcommand_of("--data", &self.data(), arguments),
        }
    }

    /// A subcommand for the node that this option names.
    pub fn subcommand_of(&self, option: &str, path: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg(option).arg(path).args(arguments);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command.env_clear().envs(self.environment.iter().filter_map(|pair| pair.split_once('=')));
    }

    /// Kills the gate as a power cut would: SIGKILL, no goodbye.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().expect("the gate is ours to kill");
            running.child.wait().expect("the gate is ours to reap");
        }
    }

    /// Asks the gate to stop (SIGTERM) and waits until it has; its exit must be clean.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "SIGTERM ended in {status}: {}", self.stderr());
        assert!(!self.log.contains("without a last checkpoint"), "{}", self.log);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("the gate is ours");
    }

    /// Waits until the gate has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the gate runs");
        let status = running.child.wait().expect("the gate is ours to reap");
        self.log = running.log.finish();
        status
    }

    /// Waits until the process that was started has ended by itself; others may have taken over from it.
    pub fn wait_for_the_first(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("the gate runs");
        running.child.wait().expect("the gate is ours to reap")
    }

    /// Waits until the gate has said `words` since its ready line.
    pub fn until_it_says(&self, words: &str) {
        self.running.as_ref().expect("the gate runs").log.until(words);
    }

    /// What the gate printed until it last ended by itself, after its ready line.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the gate runs").child.id()
    }

    /// A client that trusts this gate.
    pub fn client(&self) -> Client {
        Client::new(self.port("https"), &self.file("tls/ca.pem"))
    }

    /// The address of a listener: `https`, `http` or `internal`.
    pub fn port(&self, listener: &str) -> SocketAddr {
        let ports = &self.running.as_ref().expect("the gate runs").ports;
        let text = ports[listener].as_str().or_else(|| ports[listener][0].as_str());
        text.unwrap_or_else(|| panic!("no {listener} in {ports}")).parse().expect("an address")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.kill();
    }
}
