//! The bytes of every kind of change, pinned; and that no bytes can make the decoder panic.
//!
//! A missing fixture is written by `KEEPGATE_WRITE_FIXTURES=1`; an existing one is never changed:
//! journals on disk hold those bytes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::ban::Ban;
use crate::model::caller::Actor;
use crate::model::document::Document;
use crate::model::event::{AuditEvent, ChainHash, Intent, Outcome, Pruned, Seal, SealedEvent, SignedHead};
use crate::model::id::{AccountId, EventId, InviteId, RequestId, Seq, SessionId};
use crate::model::invite::Invite;
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::model::profile::Profile;
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::role::Role;
use crate::model::session::{Rotated, Session, TokenHash};
use crate::model::time::Timestamp;

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_123);

fn uuid(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn roles() -> BTreeSet<Role> {
    [Role::admin(), "billing:read".parse().unwrap()].into()
}

fn session(previous: Option<Rotated>) -> Session {
    Session {
        id: SessionId(uuid(2)),
        account: AccountId(uuid(1)),
        generation: 300,
        current: TokenHash([7; 32]),
        previous,
        salt: [9; 16],
        device: "Firefox".into(),
        address: Some("2001:db8::1".parse().unwrap()),
        amr: vec!["pwd".into()],
        authenticated_at: AT,
        created_at: AT,
        used_at: AT,
        expires_at: Timestamp::MAX,
    }
}

fn auth_samples() -> Vec<(&'static str, Change)> {
    let account = AccountId(uuid(1));
    let password = PasswordHash("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into());
    vec![
        (
            "account-created",
            AuthChange::AccountCreated(Account {
                id: account,
                email: "ada@example.com".parse().unwrap(),
                name: "Ada".into(),
                roles: roles(),
                status: AccountStatus::Active,
                password: password.clone(),
                password_set_at: AT,
                created_at: AT,
            })
            .into(),
        ),
        ("password-set", AuthChange::PasswordSet { account, password, at: AT }.into()),
        ("roles-set", AuthChange::RolesSet { account, roles: roles() }.into()),
        ("status-set", AuthChange::StatusSet { account, status: AccountStatus::Disabled }.into()),
        ("account-deleted", AuthChange::AccountDeleted { account }.into()),
        (
            "invite-created",
            AuthChange::InviteCreated(Invite {
                id: InviteId(uuid(3)),
                hash: TokenHash([4; 32]),
                email: Some("b@example.com".parse().unwrap()),
                roles: roles(),
                author: "ada@example.com".into(),
                created_at: AT,
                expires_at: AT,
            })
            .into(),
        ),
        ("invite-removed", AuthChange::InviteRemoved { invite: InviteId(uuid(3)) }.into()),
        (
            "key-added",
            AuthChange::KeyAdded(SealedKey {
                id: KeyId("kid".into()),
                algorithm: KeyAlgorithm::ES256,
                state: KeyState::Next,
                public_jwk: "{}".into(),
                sealed: vec![1, 2, 3],
                created_at: AT,
                changed_at: AT,
            })
            .into(),
        ),
        (
            "key-state-set",
            AuthChange::KeyStateSet { key: KeyId("kid".into()), state: KeyState::Retired, at: AT }.into(),
        ),
        ("name-set", AuthChange::NameSet { account, name: "Ada L.".into() }.into()),
    ]
}

fn log_samples() -> Vec<(&'static str, Change)> {
    let account = AccountId(uuid(1));
    let event = AuditEvent {
        id: EventId(uuid(5)),
        at: AT,
        actor: Actor::Console(1000),
        address: Some("192.0.2.7".parse().unwrap()),
        intent: Intent::Stop,
        outcome: Outcome::Failed,
        target: "target".into(),
        reason: "wrong_password".into(),
        request: Some(RequestId(uuid(6))),
        count: 2,
    };
    let head = SignedHead { count: 9, hash: ChainHash([8; 32]), at: AT, signature: vec![5; 64] };
    let sealed = SealedEvent {
        event: AuditEvent { address: None, intent: Intent::AuditPrune, ..event.clone() },
        seal: Seal { subject: account, text: vec![3; 40] },
    };
    let pruned = Pruned { through: 7, seq: Seq(300), hash: ChainHash([8; 32]), at: AT };
    vec![
        ("event", LogChange::Event(event).into()),
        ("head-signed", LogChange::HeadSigned(head).into()),
        ("subject-key-added", LogChange::SubjectKeyAdded { account, sealed: vec![4; 60] }.into()),
        ("subject-key-erased", LogChange::SubjectKeyErased { account }.into()),
        ("sealed-event", LogChange::SealedEvent(sealed).into()),
        ("pruned", LogChange::Pruned(pruned).into()),
    ]
}

fn user_samples() -> Vec<(&'static str, Change)> {
    let account = AccountId(uuid(1));
    let document =
        Document { account, key: "settings".into(), body: "{\"a\":1}".into(), version: 3, updated_at: AT };
    let claims = [("locale", "de-CH"), ("zoneinfo", "Europe/Zurich")];
    let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let profile = Profile { account, claims, updated_at: AT };
    vec![
        ("document-put", UserChange::DocumentPut(document).into()),
        ("document-deleted", UserChange::DocumentDeleted { account, key: "settings".into() }.into()),
        ("user-erased", UserChange::UserErased { account }.into()),
        ("profile-set", UserChange::ProfileSet(profile).into()),
    ]
}

fn token_samples() -> Vec<(&'static str, Change)> {
    let rotated = Rotated { hash: TokenHash([6; 32]), at: AT, client: [5; 16] };
    let revocation = Revocation {
        subject: RevokedSubject::Key(KeyId("kid".into())),
        cause: RevocationCause::Restored,
        at: AT,
        expires_at: Timestamp::MAX,
    };
    let ban = Ban {
        network: "192.0.2.0/24".parse().unwrap(),
        reason: "scans".into(),
        author: "console".into(),
        created_at: AT,
        expires_at: None,
    };
    let ended = TokenChange::SessionEnded { session: SessionId(uuid(2)), account: AccountId(uuid(1)) };
    vec![
        ("session-opened", TokenChange::SessionOpened(session(None)).into()),
        ("session-rotated", TokenChange::SessionRotated(session(Some(rotated))).into()),
        ("session-ended", ended.into()),
        ("revoked", TokenChange::Revoked(revocation).into()),
        ("banned", TokenChange::Banned(ban).into()),
        ("unbanned", TokenChange::Unbanned { network: "2001:db8::/32".parse().unwrap() }.into()),
        ("revocations-forgotten", TokenChange::RevocationsForgotten { before: AT }.into()),
    ]
}

fn samples() -> Vec<(&'static str, Change)> {
    [auth_samples(), user_samples(), log_samples(), token_samples()].concat()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/changes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_kind_is_written_and_read_as_its_fixture_says() {
    for (name, change) in samples() {
        let path = folder().join(format!("{}-{name}.hex", kind(&change)));
        let mut bytes = Vec::new();
        encode(&change, &mut bytes);
        if std::env::var_os("KEEPGATE_WRITE_FIXTURES").is_some() && !path.exists() {
            std::fs::write(&path, hex(&bytes) + "\n").unwrap();
        }
        let pinned = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(decode(kind(&change), &unhex(&pinned)), Ok(change), "{name} can no longer be read");
        assert_eq!(hex(&bytes), pinned.trim(), "{name} is written otherwise: give it a new kind");
    }
}

#[test]
fn every_fixture_is_of_a_kind_that_is_still_readable() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = name.split('-').next().unwrap().parse().unwrap();
        let bytes = unhex(&std::fs::read_to_string(&path).unwrap());
        assert!(decode(kind, &bytes).is_ok(), "{name}");
        seen += 1;
    }
    assert!(seen >= samples().len(), "a fixture is missing");
}

#[test]
fn no_two_kinds_share_a_number() {
    let numbers: BTreeSet<u16> = samples().iter().map(|(_, change)| kind(change)).collect();
    assert_eq!(numbers.len(), samples().len());
}

#[test]
fn an_unknown_kind_is_named_and_left_over_bytes_are_refused() {
    assert_eq!(decode(999, b""), Err(CodecError::UnknownKind { kind: 999 }));
    let (_, change) = samples().pop().unwrap();
    let mut bytes = Vec::new();
    encode(&change, &mut bytes);
    bytes.push(0);
    assert!(matches!(decode(kind(&change), &bytes), Err(CodecError::Malformed { .. })));
}

#[test]
fn encoding_appends_to_what_is_there() {
    let (_, change) = samples().remove(0);
    let mut alone = Vec::new();
    encode(&change, &mut alone);
    let mut after = b"before".to_vec();
    encode(&change, &mut after);
    assert_eq!(after, [b"before".as_slice(), &alone].concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, change) in samples() {
            let _ = decode(kind(&change), &bytes);
        }
    }

    #[test]
    fn a_damaged_payload_ends_in_a_value_or_an_error(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        for (_, change) in samples() {
            let mut bytes = Vec::new();
            encode(&change, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let _ = decode(kind(&change), &bytes);
            let _ = decode(kind(&change), &bytes[..at]);
        }
    }
}
