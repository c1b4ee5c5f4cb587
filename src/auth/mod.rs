//! Accounts, passwords, sessions, keys and tokens: no HTTP.

pub mod keys;
pub mod tokens;
