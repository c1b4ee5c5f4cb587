//! The facts Keepgate deals in: ids, accounts, sessions, revocations, keys, audit events and the
//! `Change` that is the unit of every write. Plain data and pure rules; no I/O, no clock of its
//! own, no knowledge of who stores or serves it.

pub mod account;
pub mod ban;
pub mod caller;
pub mod certificate;
pub mod change;
pub mod document;
pub mod email;
pub mod event;
pub mod id;
pub mod invite;
pub mod key;
pub mod master_key;
pub mod problem;
pub mod profile;
pub mod random;
pub mod revocation;
pub mod role;
pub mod session;
pub mod text;
pub mod time;
pub mod unavailable;
