//! The binary: what must be set for the whole process before anything else, then the command line.

use std::process::ExitCode;

/// A static glibc's own allocator has one lock that every thread waits at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whatever is created belongs to its owner alone, whoever forgets to say so.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // With two providers in the tree rustls cannot choose; if one was installed, it is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    keepgate::cli::run(std::env::args_os())
}
