//! HTTP/1.1 as the edge serves it, and as it asks applications ([`proxy`](super::proxy)): one parse of our own,
//! from the bytes to the request that is forwarded.
//!
//! A library's parser repairs what a gateway must refuse (RFC 9112 §6.3 and §11.2): hyper drops a
//! `Content-Length` beside `Transfer-Encoding`, merges equal `Content-Length`s, takes bare line feeds for line
//! ends. Whoever stands before or behind may repair differently, and that is how requests are smuggled
//! (hyper#4123; CVE-2026-2833 in Pingora). Here a line is read once, by the strictest rules, and what the rules
//! saw is what the request holds; the first breach is a request of its own that the guard refuses.
//!
//! [`head`], [`response`], [`chunked`], [`decode`] and [`encode`] know nothing of connections: bytes in, values out.
//! [`connection`] drives them over a stream, one request at a time; [`body`] carries a request's body to
//! whoever reads it; [`outbox`] holds what is not written yet, and [`scratch`] what all connections of a
//! thread share, so that a connection at rest holds next to nothing.

pub mod body;
pub mod chunked;
pub mod connection;
mod date;
pub mod decode;
pub mod encode;
pub mod exchange;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod head;
mod lines;
pub mod outbox;
pub mod pump;
pub mod refused;
pub mod response;
pub mod scratch;

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod tests;
