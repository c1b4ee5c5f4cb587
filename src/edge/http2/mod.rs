//! What hyper's HTTP/2 leaves to others: a watch over the frames of each connection, beneath hyper.
//!
//! hyper and h2 read the frames and keep the protocol's states. [`watched`] sees the same bytes on their way: it
//! counts what a client may send for nothing, ends a connection that sends too much of it, refuses frames whose
//! sizes no protocol state is needed to judge, and counts why connections ended. No frame is changed on the way.

pub mod budget;
pub mod frames;
pub mod watched;
