//! Why a token is refused. Exhaustive, so that whoever answers a client decides on each.

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not a JWS in compact form with the header and claims of an access token.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is not one that is accepted, or not the key's.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// `typ` is not `at+jwt` (RFC 9068 §4).
    #[error("the token is not an access token")]
    Type,
    /// No key of that `kid`, or no `kid`.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature is wrong")]
    Signature,
    /// `iss` is someone else.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` is someone else.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
}

impl Refusal {
    /// A stable word for logs, metrics and audit events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
        }
    }
}
