//! How this process was started: what the next one is started with.

use std::ffi::OsString;
use std::path::PathBuf;

/// The binary and its arguments.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Where the binary lies; another that was put there since is the next one.
    pub path: Option<PathBuf>,
    /// Arguments, without the program's name.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// Of this process. Ask early: where the binary was replaced, the system says no more where it was.
    pub fn own() -> Self {
        Self { path: std::env::current_exe().ok(), arguments: std::env::args_os().skip(1).collect() }
    }
}
