//! The life of a refresh-token family, as pure rules over its one record.
//!
//! A token is *active*, then *exchanged*, then *reused*; each transition consumes the state before
//! it, so that no path can exchange a token twice:
//!
//! ```text
//!            exchange()                 replay(): same client, within grace → the same successor
//! ActiveToken ────────→ ExchangedToken ─┤
//!                                       replay(): anyone else, or later    → StolenToken: the family ends
//! any older genuine token ─────────────────────────────────────────────────→ StolenToken
//! ```
//!
//! Time never decides which token is newer, generations do: two rotations in one millisecond are as
//! well ordered as two a year apart. Nothing here reads a store or a clock, and nothing here is
//! atomic: that the record is still the one decided on is the bundle's business.

use std::net::IpAddr;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::model::caller::Origin;
use crate::model::session::{Rotated, Session, TokenHash};
use crate::model::time::Timestamp;

/// How far a clock may be set back after an exchange without the grace window being over: what
/// keeping a clock right takes. After a larger step nobody knows how long ago the exchange was, and
/// the window would stay open until the clock has caught up.
const SET_BACK: Duration = Duration::from_secs(1);

/// Who presents a token: BLAKE3 of address and user agent, 16 bytes of it. Not a credential, only
/// what tells a client's own second try from somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPrint([u8; 16]);

impl ClientPrint {
    /// The print of a request's origin. An IPv4 address and its IPv6-mapped form are one.
    pub fn of(origin: &Origin) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("keepgate 2026 refresh client v1");
        match origin.address.map(|address| address.to_canonical()) {
            None => hasher.update(&[0]),
            Some(IpAddr::V4(address)) => hasher.update(&[4]).update(&address.octets()),
            Some(IpAddr::V6(address)) => hasher.update(&[6]).update(&address.octets()),
        };
        hasher.update(origin.user_agent.as_bytes());
        let mut print = [0; 16];
        print.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        Self(print)
    }
}

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a refresh token that is not used.
    pub refresh: Duration,
    /// Of a session, however often it is refreshed.
    pub session: Duration,
    /// In which the same client may present an exchanged token again, counted from the exchange. A
    /// clock that has gone back past the exchange by more than a second ends it.
    pub grace: Duration,
}

impl Lifetimes {
    /// When a session opened at `created` ends if it is not used after `now`.
    pub fn expiry(&self, created: Timestamp, now: Timestamp) -> Timestamp {
        now.plus(self.refresh).min(created.plus(self.session))
    }
}

/// A genuine token's presentation: what the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Presentation {
    /// The token's place in its family.
    pub generation: u64,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// Who presents it.
    pub client: ClientPrint,
    /// When.
    pub now: Timestamp,
}

/// What presenting a genuine token means for its family.
#[derive(Debug)]
pub enum Decision {
    /// It is the live one: exchange it.
    Rotate(ActiveToken),
    /// The same client asks again for what it may not have received: give it the same successor.
    Replay(ReplayedToken),
    /// It was exchanged before, and this is not its client's second try: end the family.
    Reuse(StolenToken),
    /// The record does not know it: refuse, change nothing.
    Unknown,
    /// The family has expired: refuse, change nothing.
    Expired,
}

/// A family's record, as it stands.
#[derive(Debug)]
pub struct Family(Session);

/// The one live token of its family.
#[derive(Debug)]
pub struct ActiveToken(Session);

/// A token that was exchanged for the live one.
#[derive(Debug)]
struct ExchangedToken {
    record: Session,
    exchange: Rotated,
}

/// An exchanged token whose successor may be given out again.
#[derive(Debug)]
pub struct ReplayedToken(Session);

/// An exchanged token in the wrong hands, or too late in the right ones.
#[derive(Debug)]
pub struct StolenToken {
    record: Session,
    word: &'static str,
}

impl Family {
    /// The family of that record.
    pub const fn of(record: Session) -> Self {
        Self(record)
    }

    /// Decides what a genuine token's presentation means.
    ///
    /// A token with a generation or hash that the record cannot have led to is `Unknown`: it can
    /// come from a history that a restore undid, and refusing it leaves at most one live token.
    pub fn present(self, token: &Presentation, grace: Duration) -> Decision {
        let record = self.0;
        if token.now >= record.expires_at {
            return Decision::Expired;
        }
        let is = |hash: &TokenHash| -> bool { hash.0.ct_eq(&token.hash.0).into() };
        if token.generation == record.generation {
            return if is(&record.current) {
                Decision::Rotate(ActiveToken(record))
            } else {
                Decision::Unknown
            };
        }
        let Some(behind) = record.generation.checked_sub(token.generation) else {
            return Decision::Unknown;
        };
        match record.previous {
            Some(exchange) if behind == 1 && is(&exchange.hash) => {
                ExchangedToken { record, exchange }.replay(token, grace)
            }
            Some(_) if behind == 1 => Decision::Unknown,
            _ => Decision::Reuse(StolenToken { record, word: "older_generation" }),
        }
    }
}

impl ActiveToken {
    /// The record as it stands.
    pub const fn record(&self) -> &Session {
        &self.0
    }

    /// Exchanges the token: the record after it, whose live token has the hash `successor`.
    pub fn exchange(
        self,
        successor: TokenHash,
        by: &Presentation,
        address: Option<IpAddr>,
        lives: &Lifetimes,
    ) -> Session {
        let record = self.0;
        Session {
            generation: record.generation.saturating_add(1),
            previous: Some(Rotated { hash: record.current, at: by.now, client: by.client.0 }),
            current: successor,
            address,
            used_at: by.now,
            expires_at: lives.expiry(record.created_at, by.now),
            ..record
        }
    }
}

impl ExchangedToken {
    fn replay(self, by: &Presentation, grace: Duration) -> Decision {
        let Self { record, exchange } = self;
        let stolen = |record, word| Decision::Reuse(StolenToken { record, word });
        if by.client.0 != exchange.client {
            stolen(record, "other_client")
        } else if by.now >= exchange.at.plus(grace) || by.now.plus(SET_BACK) < exchange.at {
            stolen(record, "outside_grace")
        } else {
            Decision::Replay(ReplayedToken(record))
        }
    }
}

impl ReplayedToken {
    /// The record as it stands.
    pub const fn record(&self) -> &Session {
        &self.0
    }

    /// The record if `successor` is its live token's hash: what was given out then and no other.
    pub fn confirm(self, successor: TokenHash) -> Option<Session> {
        let same: bool = successor.0.ct_eq(&self.0.current.0).into();
        same.then_some(self.0)
    }
}

impl StolenToken {
    /// The record of the family to end.
    pub const fn record(&self) -> &Session {
        &self.record
    }

    /// A stable word for how it showed.
    pub const fn word(&self) -> &'static str {
        self.word
    }
}

#[cfg(test)]
mod tests;
