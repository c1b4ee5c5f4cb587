//! Accounts, passwords, sessions.

pub mod error;
pub mod password;
