//! A session as a login makes one, for benches that fill the stores.

use std::time::Duration;

use keepgate::model::id::{AccountId, SessionId};
use keepgate::model::random::{Rng, bytes};
use keepgate::model::session::{Session, TokenHash};
use keepgate::model::time::Timestamp;

/// Begun now, for `lifetime`.
pub fn fresh(
    id: SessionId,
    account: AccountId,
    (now, lifetime): (Timestamp, Duration),
    rng: &dyn Rng,
) -> Session {
    Session {
        id,
        account,
        generation: 0,
        current: TokenHash(bytes(rng)),
        previous: None,
        salt: bytes(rng),
        device: "a browser of some kind".into(),
        address: Some(std::net::IpAddr::from([192, 0, 2, 1])),
        amr: vec!["pwd".into()],
        authenticated_at: now,
        created_at: now,
        used_at: now,
        expires_at: now.plus(lifetime),
    }
}
