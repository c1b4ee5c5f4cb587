//! Groups of application servers: which one is asked, which are left out, how often a request is tried
//! again, and who waits.
//!
//! What all edge threads must agree on is in atomics and outlives plans ([`state`], [`shared`]); what
//! one thread needs for itself is its own ([`local`]): its pools, whose turn it is. The hot path takes
//! no lock. What happens rarely does (a failure, a check, a request that waits).
//!
//! It speaks to no application, but for the checks ([`checker`]): sending is `edge::proxy`'s business.

pub mod balance;
pub mod budget;
pub mod canary;
pub mod checker;
pub mod key;
pub mod local;
pub mod measures;
pub mod names;
mod probe;
pub mod queue;
pub mod shared;
pub mod standing;
pub mod state;
mod terms;
pub mod way;
pub mod zones;

#[cfg(test)]
mod tests;
