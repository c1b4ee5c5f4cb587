//! Values to store, told apart by small numbers.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use uuid::Uuid;

use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::ban::Ban;
use crate::model::caller::Actor;
use crate::model::document::Document;
use crate::model::email::Email;
use crate::model::event::{AuditEvent, ChainHash, Intent, Outcome, Seal, SealedEvent, SignedHead};
use crate::model::id::{AccountId, EventId, InviteId, RequestId, SessionId};
use crate::model::invite::Invite;
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::model::profile::Profile;
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::session::{Rotated, Session, TokenHash};
use crate::model::time::Timestamp;

fn uuid(kind: u8, n: u8) -> Uuid {
    Uuid::from_bytes([0x01, 0x90, 0, 0, 0, kind, 0x70, 0, 0x80, 0, 0, 0, 0, 0, n, n])
}

pub(super) fn account_id(n: u8) -> AccountId {
    AccountId(uuid(1, n))
}

pub(super) fn session_id(n: u8) -> SessionId {
    SessionId(uuid(2, n))
}

pub(super) fn invite_id(n: u8) -> InviteId {
    InviteId(uuid(3, n))
}

pub(super) fn key_id(n: u8) -> KeyId {
    KeyId(format!("key-{n}"))
}

pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn email(n: u8) -> Email {
    format!("person{n}@example.com").parse().unwrap()
}

pub(super) fn network(n: u8) -> IpNet {
    match n % 3 {
        0 => format!("10.{n}.0.0/16").parse().unwrap(),
        1 => format!("192.0.2.{n}/32").parse().unwrap(),
        _ => format!("2001:db8:{n:x}::/48").parse().unwrap(),
    }
}

/// Account `n` with address `n`, active, with these roles.
pub(crate) fn account(n: u8, roles: &[&str]) -> Account {
    Account {
        id: account_id(n),
        email: email(n),
        name: format!("Person {n}"),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        status: AccountStatus::Active,
        password: PasswordHash(format!("$argon2id$v=19$m=8,t=1,p=1${n}")),
        password_set_at: time(1_000 + i64::from(n)),
        created_at: time(1_000 + i64::from(n)),
    }
}

pub(super) fn invite(n: u8) -> Invite {
    Invite {
        id: invite_id(n),
        hash: TokenHash([n; 32]),
        email: n.is_multiple_of(2).then(|| email(n)),
        roles: ["editor", "viewer"].iter().map(|role| role.parse().unwrap()).take(n.into()).collect(),
        author: format!("author {n}"),
        created_at: time(i64::from(n)),
        expires_at: time(9_000),
    }
}

pub(super) fn key(n: u8, created: i64) -> SealedKey {
    let algorithms = [KeyAlgorithm::EdDSA, KeyAlgorithm::ES256, KeyAlgorithm::RS256, KeyAlgorithm::HS256];
    SealedKey {
        id: key_id(n),
        algorithm: algorithms[usize::from(n) % 4],
        state: KeyState::Next,
        public_jwk: format!("{{\"kid\":\"{n}\"}}"),
        sealed: vec![n; 60],
        created_at: time(created),
        changed_at: time(created),
    }
}

/// Session `n` of account `of` at a generation.
pub(in crate::store) fn session(n: u8, of: u8, generation: u64) -> Session {
    let mark = u8::try_from(generation % 251).unwrap();
    Session {
        id: session_id(n),
        account: account_id(of),
        generation,
        current: TokenHash([mark; 32]),
        previous: (generation > 0).then(|| Rotated {
            hash: TokenHash([mark.wrapping_sub(1); 32]),
            at: time(i64::from(mark)),
            client: [n; 16],
        }),
        salt: [mark; 16],
        device: format!("device {n}"),
        address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))),
        amr: vec!["pwd".to_owned()],
        authenticated_at: time(10),
        created_at: time(10),
        used_at: time(10 + i64::from(mark)),
        expires_at: time(100_000),
    }
}

pub(super) fn revocation(of: u8) -> Revocation {
    Revocation {
        subject: RevokedSubject::Account(account_id(of)),
        cause: RevocationCause::LogoutAll,
        at: time(i64::from(of)),
        expires_at: time(700_000),
    }
}

pub(super) fn ban(n: u8, reason: &str) -> Ban {
    Ban {
        network: network(n),
        reason: reason.to_owned(),
        author: "console".to_owned(),
        created_at: time(5),
        expires_at: (n % 2 == 1).then(|| time(500)),
    }
}

pub(super) fn document(of: u8, key: &str, version: u64) -> Document {
    Document {
        account: account_id(of),
        key: key.to_owned(),
        body: format!("{{\"version\":{version}}}"),
        version,
        updated_at: time(version.cast_signed()),
    }
}

pub(super) fn profile(of: u8, claims: &[(&str, &str)], at: i64) -> Profile {
    let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Profile { account: account_id(of), claims, updated_at: time(at) }
}

pub(super) fn event(n: u8) -> AuditEvent {
    let actors = [Actor::Anonymous, Actor::Account(account_id(n)), Actor::Console(1000), Actor::System];
    AuditEvent {
        id: EventId(uuid(4, n)),
        at: time(i64::from(n)),
        actor: actors[usize::from(n) % 4].clone(),
        address: n.is_multiple_of(2).then(|| IpAddr::V4(Ipv4Addr::new(203, 0, 113, n))),
        intent: if n.is_multiple_of(2) { Intent::Login } else { Intent::RefreshReuse },
        outcome: if n.is_multiple_of(3) { Outcome::Denied } else { Outcome::Granted },
        target: format!("target {n}"),
        reason: String::new(),
        request: Some(RequestId(uuid(5, n))),
        count: 1,
    }
}

/// Event `n` without its address, about account `of`.
pub(super) fn sealed_event(n: u8, of: u8) -> SealedEvent {
    let event = AuditEvent { address: None, ..event(n) };
    SealedEvent { event, seal: Seal { subject: account_id(of), text: vec![n; 40] } }
}

pub(super) fn signed_head(count: u64) -> SignedHead {
    SignedHead { count, hash: ChainHash([7; 32]), at: time(3), signature: vec![1; 64] }
}
