//! Random histories, sensible and odd, and everything a backend can be asked about them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::sample::{
    account, account_id, ban, document, email, event, invite, invite_id, key, key_id, network, profile,
    revocation, sealed_event, session, session_id, signed_head, time,
};
use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::ban::Ban;
use crate::model::change::{AuthChange, Change, LogChange, TokenChange, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::event::SignedHead;
use crate::model::id::Seq;
use crate::model::invite::Invite;
use crate::model::key::{KeyState, SealedKey};
use crate::model::profile::Profile;
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::store::engines::Engines;
use crate::store::namespace::{LogHead, LogRecord, SubjectKeys};

/// How many of each thing a history knows: few, so that changes meet.
const FEW: u8 = 4;
const DOCUMENTS: [&str; 4] = ["", "a", "b\0c", "ü"];
const CLAIMS: [&[(&str, &str)]; 3] = [&[], &[("locale", "")], &[("locale", "de"), ("b\0c", "ü")]];
const ROLES: [&[&str]; 4] = [&[], &["admin"], &["admin", "editor"], &["viewer"]];

/// A bundle's changes: mostly one or two, sometimes none, sometimes many.
pub(super) fn bundles(most: usize) -> impl Strategy<Value = Vec<Vec<Change>>> {
    vec(vec(change(), 0..6), 1..most)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => auth_change().prop_map(Change::from),
        2 => user_change().prop_map(Change::from),
        2 => log_change().prop_map(Change::from),
        4 => token_change().prop_map(Change::from),
    ]
}

fn auth_change() -> impl Strategy<Value = AuthChange> {
    let roles = || (0..4_usize).prop_map(|n| account(0, ROLES[n]).roles);
    let status = prop_oneof![Just(AccountStatus::Active), Just(AccountStatus::Disabled)];
    let state = prop_oneof![Just(KeyState::Next), Just(KeyState::Active), Just(KeyState::Retired)];
    prop_oneof![
        // The address is often another's.
        (0..FEW, 0..FEW, roles()).prop_map(|(n, address, roles)| {
            AuthChange::AccountCreated(Account { email: email(address), roles, ..account(n, &[]) })
        }),
        (0..FEW, any::<i64>()).prop_map(|(n, at)| AuthChange::PasswordSet {
            account: account_id(n),
            password: PasswordHash(format!("$argon2id${at}")),
            at: time(at),
        }),
        (0..FEW, roles()).prop_map(|(n, roles)| AuthChange::RolesSet { account: account_id(n), roles }),
        (0..FEW, status).prop_map(|(n, status)| AuthChange::StatusSet { account: account_id(n), status }),
        (0..FEW).prop_map(|n| AuthChange::AccountDeleted { account: account_id(n) }),
        (0..FEW).prop_map(|n| AuthChange::InviteCreated(invite(n))),
        (0..FEW).prop_map(|n| AuthChange::InviteRemoved { invite: invite_id(n) }),
        (0..FEW, 0..3_i64).prop_map(|(n, created)| AuthChange::KeyAdded(key(n, created))),
        (0..FEW, state, any::<i64>()).prop_map(|(n, state, at)| AuthChange::KeyStateSet {
            key: key_id(n),
            state,
            at: time(at)
        }),
        (0..FEW, "[a-zü]{0,3}").prop_map(|(n, name)| AuthChange::NameSet { account: account_id(n), name }),
    ]
}

fn user_change() -> impl Strategy<Value = UserChange> {
    prop_oneof![
        6 => (0..FEW, 0..4_usize, any::<u64>())
            .prop_map(|(of, name, version)| UserChange::DocumentPut(document(of, DOCUMENTS[name], version))),
        2 => (0..FEW, 0..4_usize).prop_map(|(of, name)| UserChange::DocumentDeleted {
            account: account_id(of),
            key: DOCUMENTS[name].to_owned(),
        }),
        1 => (0..FEW).prop_map(|of| UserChange::UserErased { account: account_id(of) }),
        2 => (0..FEW, 0..3_usize, any::<i64>())
            .prop_map(|(of, claims, at)| UserChange::ProfileSet(profile(of, CLAIMS[claims], at))),
    ]
}

fn log_change() -> impl Strategy<Value = LogChange> {
    prop_oneof![
        4 => any::<u8>().prop_map(|n| LogChange::Event(event(n))),
        2 => (any::<u8>(), 0..FEW).prop_map(|(n, of)| LogChange::SealedEvent(sealed_event(n, of))),
        1 => (0..9_u64).prop_map(|count| LogChange::HeadSigned(signed_head(count))),
        1 => (0..FEW, any::<u8>()).prop_map(|(of, key)| LogChange::SubjectKeyAdded {
            account: account_id(of),
            sealed: vec![key; 60],
        }),
        1 => (0..FEW).prop_map(|of| LogChange::SubjectKeyErased { account: account_id(of) }),
    ]
}

fn token_change() -> impl Strategy<Value = TokenChange> {
    let any_session =
        || (0..FEW, 0..FEW, 0..200_u64).prop_map(|(n, of, generation)| session(n, of, generation));
    prop_oneof![
        2 => any_session().prop_map(TokenChange::SessionOpened),
        // Of a session that ended or is another account's, too.
        4 => any_session().prop_map(TokenChange::SessionRotated),
        3 => (0..FEW, 0..FEW).prop_map(|(n, of)| TokenChange::SessionEnded {
            session: session_id(n),
            account: account_id(of)
        }),
        2 => (any::<u8>(), 0..FEW).prop_map(|(of, end)| {
            TokenChange::Revoked(Revocation { expires_at: time(end.into()), ..revocation(of) })
        }),
        1 => (0..=FEW).prop_map(|end| TokenChange::RevocationsForgotten { before: time(end.into()) }),
        1 => (0..FEW, "[a-z]{0,3}").prop_map(|(n, reason)| TokenChange::Banned(ban(n, &reason))),
        1 => (0..FEW).prop_map(|n| TokenChange::Unbanned { network: network(n) }),
    ]
}

/// All of them, a page of them, and each by itself.
type Things<T> = (Vec<T>, Vec<T>, [Option<T>; 4]);

/// All of an account's, a page of them, and each by itself.
type DocumentThings = (Vec<DocumentEntry>, Vec<DocumentEntry>, [Option<Document>; 4]);

/// Everything the four views answer, each question that a handle can ask.
#[derive(Debug, PartialEq)]
pub(super) struct Answers {
    accounts: Things<Account>,
    accounts_by_email: [Option<Account>; 4],
    counts: (u64, u64),
    invites: (Vec<Invite>, [Option<Invite>; 4]),
    keys: Vec<SealedKey>,
    documents: [DocumentThings; 4],
    usage: [Usage; 4],
    profiles: [Option<Profile>; 4],
    logs: (Vec<LogRecord>, Vec<LogRecord>, LogHead, Vec<SignedHead>, [SubjectKeys; 4]),
    sessions: Things<Session>,
    sessions_of: [Vec<Session>; 4],
    revocations: Vec<(Seq, Revocation)>,
    bans: (Vec<Ban>, [Option<Ban>; 4]),
}

impl Answers {
    /// Asks everything.
    pub fn of(engines: &Engines) -> Self {
        let Engines { auth, user, logs, tokens, .. } = engines;
        let (auth, user, logs, tokens) = (&auth.view, &user.view, &logs.view, &tokens.view);
        let all = usize::MAX;
        let each = [0, 1, 2, 3];
        Self {
            accounts: (
                auth.accounts(None, all).unwrap(),
                auth.accounts(Some(account_id(0)), 2).unwrap(),
                each.map(|n| auth.account(account_id(n)).unwrap()),
            ),
            accounts_by_email: each.map(|n| auth.account_by_email(&email(n)).unwrap()),
            counts: (auth.account_count().unwrap(), auth.active_administrators().unwrap()),
            invites: (auth.invites().unwrap(), each.map(|n| auth.invite(invite_id(n)).unwrap())),
            keys: auth.keys().unwrap(),
            documents: each.map(|n| {
                let id = account_id(n);
                (
                    user.documents(id, None, all).unwrap(),
                    user.documents(id, Some("a"), 1).unwrap(),
                    DOCUMENTS.map(|name| user.document(id, name).unwrap()),
                )
            }),
            usage: each.map(|n| user.usage(account_id(n)).unwrap()),
            profiles: each.map(|n| user.profile(account_id(n)).unwrap()),
            logs: (
                logs.records(0, all).unwrap(),
                logs.records(2, 3).unwrap(),
                logs.head().unwrap(),
                logs.signed_heads(1, all).unwrap(),
                each.map(|n| logs.subject_keys(account_id(n)).unwrap()),
            ),
            sessions: (
                tokens.sessions(None, all).unwrap(),
                tokens.sessions(Some(session_id(0)), 2).unwrap(),
                each.map(|n| tokens.session(session_id(n)).unwrap()),
            ),
            sessions_of: each.map(|n| tokens.sessions_of(account_id(n)).unwrap()),
            revocations: tokens.revocations(&|_| true, all).unwrap(),
            bans: (tokens.bans().unwrap(), each.map(|n| tokens.ban(network(n)).unwrap())),
        }
    }
}
