//! HTTP/2 to application servers (RFC 9113): over TLS, or in the clear with prior knowledge (h2c).
//!
//! Each edge thread has connections of its own to each server, and as few as will do: [`muxes`] hands out places on
//! them, [`mux`] drives one. A request says itself and takes its answer from within its own future, as over HTTP/1.1:
//! [`send`] up to the answer's head, [`upload`] with the body, [`flow`] after the head. The framing, the header
//! compression and the windows are the h2 crate's, which hyper serves clients with too; hyper's client on top of it
//! would cost two tasks and a channel for each request, and keep to itself why one failed: what the server has not
//! processed may be sent again (RFC 9113 §8.7), anything else perhaps not.

pub mod flow;
pub mod head;
pub mod mux;
pub mod muxes;
mod send;
pub mod upload;
