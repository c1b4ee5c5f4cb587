//! What lets a scenario read in six lines: a running gate, a client that trusts its CA, a person.

pub mod client;
pub mod gate;
pub mod person;
