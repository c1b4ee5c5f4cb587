//! A gate and the processes that took over from it, one after the other.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::gate::Gate;
use super::upstream::Upstream;

const ROUTES: &str = "[[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n[[routes]]\n\
                      path = \"/users\"\napi = true\nauth = \"required\"\n[[routes]]\n\
                      path = \"/private\"\nupstream = \"app\"\nauth = \"required\"\n[[routes]]\n\
                      path = \"/stream\"\nupstream = \"app\"\nauth = \"required\"\n[[routes]]\npath = \"/\"\n\
                      upstream = \"app\"\nauth = \"none\"\n";

/// A configuration with an open registration and an application behind some routes, with `sections` before.
pub fn file(sections: &str, upstream: &Upstream) -> String {
    let address = upstream.address;
    format!(
        "{sections}\n[accounts]\nregistration = \"open\"\n[upstreams.app]\nservers = [\"{address}\"]\n{ROUTES}"
    )
}

/// A gate, and the processes that took over from it, which nobody else would end.
pub struct Line {
    pub gate: Gate,
    pub processes: Vec<i32>,
}

impl Line {
    pub fn start(upstream: &Upstream) -> Self {
        Self::of(Gate::start_from_file(&file("", upstream)))
    }

    /// Begins with this one.
    pub fn of(gate: Gate) -> Self {
        let first = i32::try_from(gate.pid()).expect("a pid");
        Self { gate, processes: vec![first] }
    }

    /// Another process takes over.
    pub fn restart(&mut self) {
        self.restart_with(&["restart"]);
    }

    /// Likewise, by this command.
    pub fn restart_with(&mut self, command: &[&str]) {
        let told = self.gate.cli_json(command);
        let pid = told["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        assert!(!self.processes.contains(&pid), "{told}");
        self.processes.push(pid);
    }

    /// Waits until the process that was replaced last has ended.
    pub fn until_ended(&self) {
        while self.gate.cli_json(&["status"])["restart"]["before"] != json!(null) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for process in self.processes.drain(..).skip(1) {
            let pid = Pid::from_raw(process).expect("a pid");
            // It may have ended long ago; no other process of ours has its number by now.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A process's state as `proc_pid_stat(5)` has it: `S`, `T`, `Z` …; `None` if there is none.
pub fn state(pid: i32) -> Option<char> {
    fields(pid)?.first()?.chars().next()
}

/// The process that it belongs to.
pub fn parent(pid: i32) -> Option<i32> {
    fields(pid)?.get(1)?.parse().ok()
}

fn fields(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but what follows holds no bracket.
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(ToOwned::to_owned).collect())
}

/// Sends a signal to a process of ours.
pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("the process is ours");
}
