//! `[forwarding]`: what applications are told of where a request came from, and by which names.

/// The headers that tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Which of them are written. None is passed through from anybody who is not believed.
    pub headers: Vec<Told>,
    /// The gate's name in `Via`.
    pub via_name: String,
}

/// A family of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// `X-Forwarded-For`, `-Proto` and `-Host`, and `X-Real-IP`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `Via` (RFC 9110 §7.6.3).
    Via,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { headers: vec![Told::XForwarded, Told::Via], via_name: "keepgate".to_owned() }
    }
}
