//! The command line of a gate: runs subcommands on its folder, whether it runs or not.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::gate::Gate;

/// What a command printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Fails the test unless the command ended with this code.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last line of standard error as JSON: how a command with `--json` failed. Before it may stand that it waited.
    pub fn failure(&self) -> Value {
        serde_json::from_str(self.stderr.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("it was not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Gate {
    /// Runs a subcommand on this gate's folder.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        self.cli_with_input(arguments, "")
    }

    /// As [`Self::cli`], with something on standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Said {
        run(self.subcommand(arguments), input)
    }

    /// As [`Self::cli`], with the node named by its data folder alone.
    pub fn cli_by_data(&self, arguments: &[&str]) -> Said {
        run(self.subcommand_of("--data", &self.data(), arguments), "")
    }

    /// As [`Self::cli`], with another configuration.
    pub fn cli_with_config(&self, file: &Path, arguments: &[&str]) -> Said {
        run(self.subcommand_of("--config", file, arguments), "")
    }

    /// Runs a subcommand that must succeed and reads its JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<_> = ["--json"].iter().chain(arguments).copied().collect();
        self.cli(&arguments).expect(0).json()
    }

    /// Runs a subcommand that must fail with this code and gives the `code` word of its JSON.
    pub fn cli_fails(&self, arguments: &[&str], code: i32) -> String {
        let arguments: Vec<_> = ["--json"].iter().chain(arguments).copied().collect();
        let failure = self.cli(&arguments).expect(code).failure();
        assert!(failure["message"].as_str().is_some_and(|message| !message.is_empty()), "{failure}");
        failure["code"].as_str().unwrap_or_else(|| panic!("no code in {failure}")).to_owned()
    }

    /// The newest audit events, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let said = self.cli(&["audit", "tail", "-n", "500", "--json"]).expect(0);
        said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Fails the test unless the audit log proves itself.
    pub fn verify_audit(&self) {
        let verdict = self.cli_json(&["audit", "verify"]);
        assert_eq!((&verdict["intact"], &verdict["findings"]), (&true.into(), &Value::Array(vec![])));
    }
}

/// Runs a command to its end with this on standard input.
pub fn run(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    // A command that does not read its input closes the pipe; that is its right.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends").into()
}
