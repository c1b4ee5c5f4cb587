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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::{AccountId, RequestId, SessionId};
    use uuid::Uuid;

    const GRACE: Duration = Duration::from_secs(10);
    const LIVES: Lifetimes =
        Lifetimes { refresh: Duration::from_secs(1000), session: Duration::from_secs(3000), grace: GRACE };

    fn hash(n: u64) -> TokenHash {
        TokenHash(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn opened() -> Session {
        Session {
            id: SessionId(Uuid::nil()),
            account: AccountId(Uuid::nil()),
            generation: 0,
            current: hash(0),
            previous: None,
            salt: [0; 16],
            device: String::new(),
            address: None,
            amr: vec![],
            authenticated_at: at(0),
            created_at: at(0),
            used_at: at(0),
            expires_at: LIVES.expiry(at(0), at(0)),
        }
    }

    fn client(n: u8) -> ClientPrint {
        ClientPrint([n; 16])
    }

    fn show(generation: u64, by: u8, seconds: i64) -> Presentation {
        Presentation { generation, hash: hash(generation), client: client(by), now: at(seconds) }
    }

    /// The record after the live token was exchanged at `seconds`.
    fn exchanged(record: Session, by: u8, seconds: i64) -> Session {
        let token = show(record.generation, by, seconds);
        let next = hash(record.generation + 1);
        match Family::of(record).present(&token, GRACE) {
            Decision::Rotate(active) => active.exchange(next, &token, None, &LIVES),
            other => panic!("the live token was not accepted: {other:?}"),
        }
    }

    #[test]
    fn within_the_grace_window_only_the_same_client_gets_the_same_successor() {
        let record = exchanged(opened(), 1, 100);
        for (by, seconds, expected) in [
            (1, 100, "replay"),
            (1, 109, "replay"),
            (1, 110, "outside_grace"),
            (2, 100, "other_client"),
            (1, 99, "replay"),
            (1, 98, "outside_grace"),
        ] {
            match Family::of(record.clone()).present(&show(0, by, seconds), GRACE) {
                Decision::Replay(token) => {
                    assert_eq!(expected, "replay");
                    assert_eq!(token.confirm(hash(1)), Some(record.clone()));
                }
                Decision::Reuse(stolen) => assert_eq!(stolen.word(), expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_replay_hands_out_nothing_but_the_live_token() {
        let record = exchanged(opened(), 1, 100);
        let Decision::Replay(token) = Family::of(record).present(&show(0, 1, 100), GRACE) else { panic!() };
        assert_eq!(token.confirm(hash(2)), None);
    }

    #[test]
    fn a_grace_of_zero_allows_no_replay() {
        let record = exchanged(opened(), 1, 100);
        let decision = Family::of(record).present(&show(0, 1, 100), Duration::ZERO);
        assert!(matches!(decision, Decision::Reuse(_)));
    }

    #[test]
    fn an_older_token_is_reuse_even_in_the_same_millisecond() {
        let record = exchanged(exchanged(opened(), 1, 100), 1, 100);
        match Family::of(record).present(&show(0, 1, 100), GRACE) {
            Decision::Reuse(stolen) => assert_eq!(stolen.word(), "older_generation"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_from_an_undone_history_changes_nothing() {
        let record = exchanged(opened(), 1, 100);
        let ahead = show(2, 1, 101);
        assert!(matches!(Family::of(record.clone()).present(&ahead, GRACE), Decision::Unknown));
        for generation in [0, 1] {
            let fork = Presentation { hash: hash(77), ..show(generation, 1, 101) };
            assert!(matches!(Family::of(record.clone()).present(&fork, GRACE), Decision::Unknown));
        }
    }

    #[test]
    fn use_prolongs_a_session_up_to_its_cap_and_not_past_it() {
        let record = exchanged(opened(), 1, 900);
        assert_eq!(record.expires_at, at(1900));
        let record = exchanged(exchanged(record, 1, 1800), 1, 2700);
        assert_eq!(record.expires_at, at(3000));
        assert!(matches!(Family::of(record).present(&show(3, 1, 3000), GRACE), Decision::Expired));
    }

    #[test]
    fn one_client_is_one_print_whichever_way_its_address_is_written() {
        let origin = |address: &str, agent: &str| Origin {
            request: RequestId(Uuid::nil()),
            address: Some(address.parse().unwrap()),
            user_agent: agent.to_owned(),
        };
        let print = ClientPrint::of(&origin("192.0.2.1", "curl"));
        assert_eq!(print, ClientPrint::of(&origin("::ffff:192.0.2.1", "curl")));
        assert_ne!(print, ClientPrint::of(&origin("192.0.2.2", "curl")));
        assert_ne!(print, ClientPrint::of(&origin("192.0.2.1", "wget")));
        let none = Origin { address: None, ..origin("::", "curl") };
        assert_ne!(ClientPrint::of(&none), ClientPrint::of(&origin("::", "curl")));
    }

    proptest! {
        /// Wherever the clock is set: replays are given only near the exchange's time.
        #[test]
        fn no_clock_step_keeps_the_grace_window_open(exchange in 0_i64..900, now in -2000_i64..900) {
            let record = exchanged(opened(), 1, exchange);
            let replayed =
                matches!(Family::of(record).present(&show(0, 1, now), GRACE), Decision::Replay(_));
            prop_assert_eq!(replayed, (exchange - 1..exchange + 10).contains(&now));
        }

        /// Whatever is presented in whatever order: exactly one generation is ever accepted as live,
        /// it only moves forward, and an ended family stays ended.
        #[test]
        fn at_most_one_token_of_a_family_is_live(
            script in prop::collection::vec((0_u64..6, 0_u8..2, 0_i64..15), 1..40)
        ) {
            let (mut record, mut now) = (Some(opened()), 0);
            for (back, by, pause) in script {
                now += pause;
                let Some(before) = record.clone() else { break };
                let generation = before.generation.saturating_sub(back);
                let token = show(generation, by, now);
                let same = before.previous.is_some_and(|p| p.client == client(by).0 && token.now < p.at.plus(GRACE));
                match Family::of(before.clone()).present(&token, GRACE) {
                    Decision::Rotate(active) => {
                        prop_assert_eq!(generation, before.generation);
                        let after = active.exchange(hash(generation + 1), &token, None, &LIVES);
                        prop_assert_eq!(after.generation, before.generation + 1);
                        record = Some(after);
                    }
                    Decision::Replay(replayed) => {
                        prop_assert!(same && generation + 1 == before.generation);
                        prop_assert_eq!(replayed.confirm(hash(before.generation)), Some(before));
                    }
                    Decision::Reuse(_) => {
                        prop_assert!(generation < before.generation);
                        prop_assert!(!same || generation + 1 < before.generation);
                        record = None;
                    }
                    Decision::Expired => prop_assert!(token.now >= before.expires_at),
                    Decision::Unknown => prop_assert!(false, "every token here is genuine"),
                }
            }
        }
    }
}
