//! A gate: the real binary, started by `serve --dev` on ports that the system chose, in a folder of
//! its own, killed when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;

/// The binary under test: the one cargo built, or `KEEPGATE_BIN` (how the release binary gets its
/// turn).
pub fn binary() -> PathBuf {
    std::env::var_os("KEEPGATE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_keepgate").into(), PathBuf::from)
}

/// A gate and the folder it lives in. The folder outlives restarts.
pub struct Gate {
    folder: TempDir,
    extra: Vec<String>,
    root: Option<PathBuf>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    ports: Value,
}

impl Gate {
    /// Starts a gate in an empty folder and waits until it says that it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with more environment (`KEEPGATE_SECTION__KEY=value`).
    pub fn start_with(environment: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        let extra = environment.iter().map(|&pair| pair.to_owned()).collect();
        let mut gate = Self { folder, extra, root: None, running: None };
        gate.restart();
        gate
    }

    /// Starts a gate inside an empty root that holds the binary and nothing else. Needs root.
    pub fn start_in_empty_root() -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("writable");
        std::fs::copy(binary(), root.join("keepgate")).expect("the binary is copied");
        let mut gate = Self { folder, extra: Vec::new(), root: Some(root), running: None };
        gate.restart();
        gate
    }

    /// The data folder, as seen from outside.
    pub fn data(&self) -> PathBuf {
        self.root.as_deref().unwrap_or_else(|| self.folder.path()).join("data")
    }

    /// Starts the gate again on the same folder.
    pub fn restart(&mut self) {
        self.kill();
        let mut child = self.command().spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = String::new();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| {
            seen.push_str(&line);
            seen.push('\n');
            line.contains("Keepgate is ready")
        });
        assert!(ready, "the gate ended before it was ready: {:?}\n{seen}", child.wait());
        // Whatever else it prints must not block it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let ports = std::fs::read(self.data().join("run/ports.json")).expect("ports.json is written first");
        let ports = serde_json::from_slice(&ports).expect("ports.json is JSON");
        self.running = Some(Running { child, ports });
    }

    fn command(&self) -> Command {
        let mut command = match &self.root {
            None => Command::new(binary()),
            Some(root) => {
                let mut command = Command::new("/usr/sbin/chroot");
                command.arg(root).arg("/keepgate");
                command
            }
        };
        let data = if self.root.is_some() { PathBuf::from("/data") } else { self.data() };
        command.args(["serve", "--dev", "--data"]).arg(data);
        for listener in ["--https", "--http", "--internal"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.env_clear().envs(self.extra.iter().filter_map(|pair| pair.split_once('=')));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command
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
        let mut running = self.running.take().expect("the gate runs");
        let pid = i32::try_from(running.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the gate is ours");
        let status = running.child.wait().expect("the gate is ours to reap");
        assert!(status.success(), "SIGTERM ended in {status}");
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the gate runs").child.id()
    }

    /// A client that trusts this gate.
    pub fn client(&self) -> Client {
        Client::new(self.port("https"), &self.data().join("tls/ca.pem"))
    }

    /// The address of a listener: `https`, `http` or `internal`.
    pub fn port(&self, listener: &str) -> SocketAddr {
        let ports = &self.running.as_ref().expect("the gate runs").ports;
        let text = ports[listener].as_str().or_else(|| ports[listener][0].as_str());
        text.unwrap_or_else(|| panic!("no {listener} in {ports}")).parse().expect("an address")
    }

    /// Runs a subcommand of the binary on this gate's folder.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with_input(arguments, "")
    }

    /// As [`Self::cli`], with something on standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data").arg(self.data()).env_clear();
        run_with_input(command, input)
    }

    /// Runs a subcommand that must succeed and reads its `--json`.
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Runs a subcommand that must succeed and reads its `--json`, one object a line.
    pub fn cli_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// A file of the data folder.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data().join(name)
    }
}

fn run_with_input(mut command: Command, input: &str) -> Output {
    use std::io::Write as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A command that does not read its input closes the pipe; that is its right.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.kill();
    }
}
