//! Certificates ordered from a CA by ACME (RFC 8555), and renewed: `docs/certificates.md`.
//!
//! [`work`] does what is due, one order at a time, [`keeper`] remembers what came of it, and takes an operator's [`commands`];
//! [`order`] speaks with the CA for an [`account`], through [`client`]; [`challenges`] is what the listeners show; [`store`] keeps what was issued, and
//! [`when`] says when. Nothing here is on a request's path, and nothing here keeps a node from serving:
//! a CA that is away costs a certificate's renewal, not the gate.

pub mod account;
pub mod challenges;
pub mod client;
pub mod commands;
pub mod failure;
pub mod keeper;
pub mod measures;
pub mod order;
pub mod store;
pub mod when;
pub mod work;

#[cfg(test)]
mod tests;
