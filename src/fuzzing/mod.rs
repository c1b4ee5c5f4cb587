//! Fuzz targets: what must hold of every parser that reads bytes from outside, whatever the bytes.
//!
//! A target is a function from bytes to nothing that panics when a property is broken. Two things call
//! it: libFuzzer through `fuzz/`, for as long as one likes, and `short.rs` in every `cargo test`, over
//! the committed corpus and some mutations of it. Compiled for those two only; no other room may
//! import it. Targets of parsers that their room keeps to itself live there, in a file `fuzz.rs`.

pub mod config;
pub mod forwarded;
pub mod headers;
pub mod host;
pub mod input;
pub mod jwks;
pub mod names;
pub mod networks;
pub mod password_hash;
pub mod path;
pub mod refresh_token;
#[cfg(test)]
mod short;
pub mod token;

/// A target's name, which is also that of its corpus, its dictionary and its binary, and itself.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("change", crate::model::change::fuzz::target),
    ("config", config::target),
    ("control", crate::app::control::fuzz::target),
    ("cookie", crate::api::fuzz::cookie),
    ("forwarded", forwarded::target),
    ("headers", headers::target),
    ("host", host::target),
    ("import", crate::cli::fuzz::target),
    ("journal", crate::store::fuzz_journal),
    ("json_body", crate::api::fuzz::target),
    ("jwks", jwks::target),
    ("names", names::target),
    ("networks", networks::target),
    ("password_hash", password_hash::target),
    ("path", path::target),
    ("proxy_header", crate::edge::proxy_protocol::fuzz::target),
    ("refresh_token", refresh_token::target),
    ("request_head", crate::edge::http1::fuzz::target),
    ("response_head", crate::edge::http1::response::fuzz::target),
    ("token", token::target),
];

/// Runs the target of that name; libFuzzer's binaries are its callers.
///
/// # Panics
/// If there is none, or if a property is broken.
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => target(bytes),
        None => panic!("there is no fuzz target '{name}'"),
    }
}
