//! What lets a scenario read in six lines: a running gate, its command line, a client that trusts
//! its CA, a person, and an application behind it.

pub mod cli;
pub mod client;
pub mod gate;
pub mod line;
pub mod log;
pub mod node;
pub mod pebble;
pub mod person;
pub mod upstream;
