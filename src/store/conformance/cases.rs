//! The rules, one by one. Each starts from an empty backend.

use super::bed::Bed;
use super::log_cases::{
    a_pruned_chain_goes_on_from_its_base, an_erased_subject_has_no_keys_and_gets_none,
    audit_records_form_a_chain, records_are_searched_by_what_they_say, signed_heads_are_kept_by_count,
};
use super::sample::{
    account, account_id, ban, document, email, event, invite, invite_id, key, key_id, network, profile,
    revocation, session, session_id, time,
};
use crate::model::account::{AccountStatus, PasswordHash};
use crate::model::change::{AuthChange, Change, LogChange, TokenChange, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::id::Seq;
use crate::model::key::KeyState;
use crate::model::revocation::Revocation;
use crate::store::namespace::LogHead;

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        /// Every case by its name.
        pub(super) const CASES: &[(&str, fn(&mut Bed))] = &[$((stringify!($name), $name)),+];
    };
}

cases! {
    an_empty_store_answers_with_nothing,
    an_account_is_found_by_id_and_by_address,
    an_account_changes_in_place,
    accounts_come_in_pages_in_order_of_id,
    a_deleted_account_leaves_its_address_free,
    an_address_stays_with_its_first_holder,
    only_active_administrators_count,
    changes_of_an_unknown_account_change_nothing,
    an_invitation_lives_until_it_is_removed,
    keys_come_in_order_of_creation_with_their_states,
    documents_are_kept_by_account_and_key,
    usage_is_counted_and_versions_outlive_their_documents,
    a_profile_is_replaced_as_a_whole,
    an_erased_user_has_nothing,
    audit_records_form_a_chain,
    signed_heads_are_kept_by_count,
    records_are_searched_by_what_they_say,
    an_erased_subject_has_no_keys_and_gets_none,
    a_pruned_chain_goes_on_from_its_base,
    a_session_lives_from_opening_to_its_end,
    a_rotation_replaces_the_whole_record,
    sessions_are_listed_by_account_and_in_pages,
    revocations_are_kept_with_their_position,
    revocations_that_expired_are_forgotten,
    bans_are_replaced_and_lifted,
    one_bundle_reaches_every_namespace,
    later_changes_of_a_bundle_win,
}

fn create(n: u8, roles: &[&str]) -> AuthChange {
    AuthChange::AccountCreated(account(n, roles))
}

fn open(n: u8, of: u8) -> TokenChange {
    TokenChange::SessionOpened(session(n, of, 0))
}

fn end(n: u8, of: u8) -> TokenChange {
    TokenChange::SessionEnded { session: session_id(n), account: account_id(of) }
}

fn an_empty_store_answers_with_nothing(bed: &mut Bed) {
    assert_eq!(bed.auth.account(account_id(1)).unwrap(), None);
    assert_eq!(bed.auth.account_by_email(&email(1)).unwrap(), None);
    assert_eq!(bed.auth.account_count().unwrap(), 0);
    assert_eq!(bed.auth.keys().unwrap(), []);
    assert_eq!(bed.user.documents(account_id(1), None, 10).unwrap(), []);
    assert_eq!(bed.logs.head().unwrap(), LogHead::default());
    assert_eq!(bed.logs.records(0, 10).unwrap(), []);
    assert_eq!(bed.tokens.session(session_id(1)).unwrap(), None);
    assert_eq!(bed.tokens.revocations().unwrap(), []);
    assert_eq!(bed.tokens.bans().unwrap(), []);
}

fn an_account_is_found_by_id_and_by_address(bed: &mut Bed) {
    let ada = account(1, &["admin", "editor"]);
    bed.commit([create(1, &["admin", "editor"])]);
    bed.commit([create(2, &[])]);
    assert_eq!(bed.auth.account(ada.id).unwrap(), Some(ada.clone()));
    assert_eq!(bed.auth.account_by_email(&ada.email).unwrap(), Some(ada));
    assert_eq!(bed.auth.account(account_id(2)).unwrap(), Some(account(2, &[])));
    assert_eq!(bed.auth.account_count().unwrap(), 2);
}

fn an_account_changes_in_place(bed: &mut Bed) {
    let mut ada = account(1, &["editor"]);
    bed.commit([create(1, &["editor"])]);
    // Whoever asks between the changes must not be answered with what it was.
    assert_eq!(bed.auth.account_by_email(&ada.email).unwrap(), Some(ada.clone()));
    ada.password = PasswordHash("$argon2id$new".to_owned());
    ada.password_set_at = time(77);
    ada.status = AccountStatus::Disabled;
    ada.roles = account(1, &["viewer"]).roles;
    let (id, password) = (ada.id, ada.password.clone());
    bed.commit([AuthChange::PasswordSet { account: id, password, at: time(77) }]);
    bed.commit([AuthChange::StatusSet { account: id, status: AccountStatus::Disabled }]);
    bed.commit([AuthChange::RolesSet { account: id, roles: ada.roles.clone() }]);
    ada.name = "Ada L.".to_owned();
    bed.commit([AuthChange::NameSet { account: id, name: ada.name.clone() }]);
    assert_eq!(bed.auth.account(id).unwrap(), Some(ada.clone()));
    assert_eq!(bed.auth.account_by_email(&ada.email).unwrap(), Some(ada));
}

fn accounts_come_in_pages_in_order_of_id(bed: &mut Bed) {
    for n in [3, 1, 4, 2] {
        bed.commit([create(n, &["viewer"])]);
    }
    let page = |after, limit| {
        let accounts = bed.auth.accounts(after, limit).unwrap();
        accounts.into_iter().map(|account| account.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), [account_id(1), account_id(2)]);
    assert_eq!(page(Some(account_id(2)), 2), [account_id(3), account_id(4)]);
    assert_eq!(page(Some(account_id(4)), 2), []);
    assert_eq!(page(None, usize::MAX).len(), 4);
}

fn a_deleted_account_leaves_its_address_free(bed: &mut Bed) {
    bed.commit([create(1, &["admin"])]);
    assert!(bed.auth.account_by_email(&email(1)).unwrap().is_some());
    bed.commit([AuthChange::AccountDeleted { account: account_id(1) }]);
    assert_eq!(bed.auth.account(account_id(1)).unwrap(), None);
    assert_eq!(bed.auth.account_by_email(&email(1)).unwrap(), None);
    assert_eq!(bed.auth.account_count().unwrap(), 0);
    let mut successor = account(2, &[]);
    successor.email = email(1);
    bed.commit([AuthChange::AccountCreated(successor.clone())]);
    assert_eq!(bed.auth.account_by_email(&email(1)).unwrap(), Some(successor));
}

fn an_address_stays_with_its_first_holder(bed: &mut Bed) {
    bed.commit([create(1, &[])]);
    let mut other = account(2, &["admin"]);
    other.email = email(1);
    bed.commit([AuthChange::AccountCreated(other)]);
    assert_eq!(bed.auth.account_by_email(&email(1)).unwrap(), Some(account(1, &[])));
    assert_eq!(bed.auth.account(account_id(2)).unwrap(), None);
}

fn only_active_administrators_count(bed: &mut Bed) {
    let count = |bed: &Bed| {
        let mut bundle = crate::store::bundle::Bundle::new();
        bed.auth.read_active_administrators(&mut bundle).unwrap()
    };
    bed.commit([create(1, &["admin"]), create(2, &["admin", "editor"]), create(3, &["administrator"])]);
    assert_eq!(count(bed), 2);
    bed.commit([AuthChange::StatusSet { account: account_id(1), status: AccountStatus::Disabled }]);
    assert_eq!(count(bed), 1);
    bed.commit([AuthChange::RolesSet { account: account_id(2), roles: account(2, &["editor"]).roles }]);
    assert_eq!(count(bed), 0);
    bed.commit([AuthChange::StatusSet { account: account_id(1), status: AccountStatus::Active }]);
    assert_eq!(count(bed), 1);
    bed.commit([AuthChange::AccountDeleted { account: account_id(1) }]);
    assert_eq!(count(bed), 0);
}

fn changes_of_an_unknown_account_change_nothing(bed: &mut Bed) {
    let id = account_id(9);
    bed.commit([
        AuthChange::PasswordSet { account: id, password: PasswordHash("$x".to_owned()), at: time(1) },
        AuthChange::RolesSet { account: id, roles: account(9, &["admin"]).roles },
        AuthChange::StatusSet { account: id, status: AccountStatus::Active },
        AuthChange::NameSet { account: id, name: "x".to_owned() },
        AuthChange::AccountDeleted { account: id },
        AuthChange::InviteRemoved { invite: invite_id(9) },
        AuthChange::KeyStateSet { key: key_id(9), state: KeyState::Active, at: time(1) },
    ]);
    assert_eq!(bed.auth.account(id).unwrap(), None);
    assert_eq!(bed.auth.account_count().unwrap(), 0);
    assert_eq!(bed.auth.keys().unwrap(), []);
    // Nor do the roles wait for an account to come.
    bed.commit([create(9, &[])]);
    assert_eq!(bed.auth.account(id).unwrap(), Some(account(9, &[])));
}

fn an_invitation_lives_until_it_is_removed(bed: &mut Bed) {
    for n in [2, 1, 0] {
        bed.commit([AuthChange::InviteCreated(invite(n))]);
    }
    assert_eq!(bed.auth.invites().unwrap(), [invite(0), invite(1), invite(2)]);
    bed.commit([AuthChange::InviteRemoved { invite: invite_id(1) }]);
    let mut bundle = crate::store::bundle::Bundle::new();
    assert_eq!(bed.auth.read_invite(&mut bundle, invite_id(1)).unwrap(), None);
    assert_eq!(bed.auth.read_invite(&mut bundle, invite_id(2)).unwrap(), Some(invite(2)));
    assert_eq!(bed.auth.invites().unwrap(), [invite(0), invite(2)]);
}

fn keys_come_in_order_of_creation_with_their_states(bed: &mut Bed) {
    bed.commit([AuthChange::KeyAdded(key(1, 30)), AuthChange::KeyAdded(key(2, 10))]);
    bed.commit([AuthChange::KeyAdded(key(3, 20)), AuthChange::KeyAdded(key(0, 20))]);
    bed.commit([AuthChange::KeyStateSet { key: key_id(3), state: KeyState::Retiring, at: time(99) }]);
    let mut third = key(3, 20);
    (third.state, third.changed_at) = (KeyState::Retiring, time(99));
    assert_eq!(bed.auth.keys().unwrap(), [key(2, 10), key(0, 20), third, key(1, 30)]);
}

fn documents_are_kept_by_account_and_key(bed: &mut Bed) {
    for name in ["b", "a", "", "ü", "c"] {
        bed.commit([UserChange::DocumentPut(document(1, name, 1))]);
    }
    bed.commit([UserChange::DocumentPut(document(2, "a", 9))]);
    bed.commit([UserChange::DocumentPut(document(1, "a", 2))]);
    bed.commit([UserChange::DocumentDeleted { account: account_id(1), key: "c".to_owned() }]);
    assert_eq!(bed.user.document(account_id(1), "a").unwrap(), Some(document(1, "a", 2)));
    assert_eq!(bed.user.document(account_id(2), "a").unwrap(), Some(document(2, "a", 9)));
    assert_eq!(bed.user.document(account_id(1), "c").unwrap(), None);
    let page = |after, limit| {
        let documents = bed.user.documents(account_id(1), after, limit).unwrap();
        documents.into_iter().map(|document| document.key).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), ["", "a"]);
    assert_eq!(page(Some("a"), 10), ["b", "ü"]);
    let entries = bed.user.documents(account_id(1), None, 10).unwrap();
    assert_eq!(entries[1], DocumentEntry::from(&document(1, "a", 2)));
}

fn usage_is_counted_and_versions_outlive_their_documents(bed: &mut Bed) {
    let usage = |bed: &Bed, of| bed.user.usage(account_id(of)).unwrap();
    let put = |name: &str, body: &str, version| {
        UserChange::DocumentPut(Document { body: body.to_owned(), ..document(1, name, version) })
    };
    assert_eq!(usage(bed, 1), Usage::default());
    bed.commit([put("a", "\"ü\"", 1), put("b", "[]", 7)]);
    assert_eq!(usage(bed, 1), Usage { documents: 2, bytes: 6, last_version: 7 });
    bed.commit([put("a", "true", 2)]);
    // The same once more, as a replay may have it.
    bed.commit([put("a", "true", 2)]);
    assert_eq!(usage(bed, 1), Usage { documents: 2, bytes: 6, last_version: 7 });
    let gone = |name: &str| UserChange::DocumentDeleted { account: account_id(1), key: name.to_owned() };
    bed.commit([gone("b"), gone("b"), gone("never")]);
    assert_eq!(usage(bed, 1), Usage { documents: 1, bytes: 4, last_version: 7 });
    bed.commit([gone("a")]);
    assert_eq!(usage(bed, 1), Usage { documents: 0, bytes: 0, last_version: 7 });
    assert_eq!(usage(bed, 2), Usage::default());
}

fn a_profile_is_replaced_as_a_whole(bed: &mut Bed) {
    let first = profile(1, &[("locale", "de"), ("zoneinfo", "Europe/Zurich")], 5);
    assert_eq!(bed.user.profile(account_id(1)).unwrap(), None);
    bed.commit([UserChange::ProfileSet(first.clone())]);
    bed.commit([UserChange::ProfileSet(profile(2, &[("locale", "fr")], 6))]);
    assert_eq!(bed.user.profile(account_id(1)).unwrap(), Some(first));
    for claims in [[("locale", "en")].as_slice(), &[]] {
        bed.commit([UserChange::ProfileSet(profile(1, claims, 7))]);
        assert_eq!(bed.user.profile(account_id(1)).unwrap(), Some(profile(1, claims, 7)));
    }
    assert_eq!(bed.user.profile(account_id(2)).unwrap(), Some(profile(2, &[("locale", "fr")], 6)));
}

fn an_erased_user_has_nothing(bed: &mut Bed) {
    for of in [1, 2] {
        bed.commit([
            UserChange::DocumentPut(document(of, "a", 1)),
            UserChange::DocumentPut(document(of, "b", 1)),
            UserChange::ProfileSet(profile(of, &[("locale", "de")], 1)),
        ]);
    }
    bed.commit([UserChange::UserErased { account: account_id(1) }]);
    assert_eq!(bed.user.documents(account_id(1), None, 10).unwrap(), []);
    assert_eq!(bed.user.usage(account_id(1)).unwrap(), Usage::default());
    assert_eq!(bed.user.profile(account_id(1)).unwrap(), None);
    assert_eq!(bed.user.documents(account_id(2), None, 10).unwrap().len(), 2);
    assert!(bed.user.profile(account_id(2)).unwrap().is_some());
}

fn a_session_lives_from_opening_to_its_end(bed: &mut Bed) {
    bed.commit([open(1, 1)]);
    assert_eq!(bed.tokens.session(session_id(1)).unwrap(), Some(session(1, 1, 0)));
    bed.commit([end(1, 1)]);
    assert_eq!(bed.tokens.session(session_id(1)).unwrap(), None);
    assert_eq!(bed.tokens.sessions_of(account_id(1)).unwrap(), []);
    assert_eq!(bed.tokens.sessions(None, 10).unwrap(), []);
}

fn a_rotation_replaces_the_whole_record(bed: &mut Bed) {
    bed.commit([open(1, 1)]);
    for generation in 1..4 {
        bed.commit([TokenChange::SessionRotated(session(1, 1, generation))]);
        let expected = session(1, 1, generation);
        // Twice: the second answer may come from a cache.
        assert_eq!(bed.tokens.session(session_id(1)).unwrap(), Some(expected.clone()));
        assert_eq!(bed.tokens.session(session_id(1)).unwrap(), Some(expected.clone()));
        assert_eq!(bed.tokens.sessions_of(account_id(1)).unwrap(), [expected]);
    }
}

fn sessions_are_listed_by_account_and_in_pages(bed: &mut Bed) {
    for n in [4, 2, 5, 1, 3] {
        bed.commit([open(n, n % 2)]);
    }
    bed.commit([end(3, 1)]);
    assert_eq!(bed.tokens.sessions_of(account_id(1)).unwrap(), [session(1, 1, 0), session(5, 1, 0)]);
    let page = |after, limit| {
        let sessions = bed.tokens.sessions(after, limit).unwrap();
        sessions.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3), [1, 2, 4].map(session_id));
    assert_eq!(page(Some(session_id(2)), 1), [4].map(session_id));
    assert_eq!(page(Some(session_id(4)), 9), [5].map(session_id));
}

fn revocations_are_kept_with_their_position(bed: &mut Bed) {
    bed.commit([TokenChange::Revoked(revocation(1)), TokenChange::Revoked(revocation(2))]);
    bed.commit([open(1, 1)]);
    bed.commit([TokenChange::Revoked(revocation(1))]);
    let expected = [(Seq(1), revocation(1)), (Seq(1), revocation(2)), (Seq(3), revocation(1))];
    assert_eq!(bed.tokens.revocations().unwrap(), expected);
}

fn revocations_that_expired_are_forgotten(bed: &mut Bed) {
    let ending = |of, at| Revocation { expires_at: time(at), ..revocation(of) };
    let revoked = |of, at| TokenChange::Revoked(ending(of, at));
    let forgotten = |at| TokenChange::RevocationsForgotten { before: time(at) };
    bed.commit([revoked(1, 10), revoked(2, 20), revoked(3, 30)]);
    bed.commit([revoked(4, 10)]);
    bed.commit([revoked(5, 10), forgotten(20), revoked(6, 10)]);
    let expected = [(Seq(1), ending(2, 20)), (Seq(1), ending(3, 30)), (Seq(3), ending(6, 10))];
    assert_eq!(bed.tokens.revocations().unwrap(), expected);
    assert_eq!(bed.tokens.live_revocations(time(20)).unwrap(), expected[1..2]);
    assert!(bed.tokens.has_revocations_expired_before(time(11)).unwrap());
    assert!(!bed.tokens.has_revocations_expired_before(time(10)).unwrap());
    bed.commit([forgotten(30)]);
    bed.commit([revoked(7, 10)]);
    assert_eq!(bed.tokens.revocations().unwrap(), [(Seq(1), ending(3, 30)), (Seq(5), ending(7, 10))]);
}

fn bans_are_replaced_and_lifted(bed: &mut Bed) {
    for n in [2, 1, 0] {
        bed.commit([TokenChange::Banned(ban(n, "first"))]);
    }
    bed.commit([TokenChange::Banned(ban(1, "second"))]);
    bed.commit([TokenChange::Unbanned { network: network(0) }]);
    let mut bundle = crate::store::bundle::Bundle::new();
    assert_eq!(bed.tokens.read_ban(&mut bundle, network(1)).unwrap(), Some(ban(1, "second")));
    assert_eq!(bed.tokens.read_ban(&mut bundle, network(0)).unwrap(), None);
    assert_eq!(bed.tokens.bans().unwrap(), [ban(1, "second"), ban(2, "first")]);
}

fn one_bundle_reaches_every_namespace(bed: &mut Bed) {
    let seq = bed.commit([
        Change::from(create(1, &[])),
        UserChange::DocumentPut(document(1, "a", 1)).into(),
        LogChange::Event(event(1)).into(),
        open(1, 1).into(),
        TokenChange::Revoked(revocation(1)).into(),
    ]);
    assert!(bed.auth.account(account_id(1)).unwrap().is_some());
    assert!(bed.user.document(account_id(1), "a").unwrap().is_some());
    assert_eq!(bed.logs.records(0, 10).unwrap()[0].seq, seq);
    assert!(bed.tokens.session(session_id(1)).unwrap().is_some());
    assert_eq!(bed.tokens.revocations().unwrap(), [(seq, revocation(1))]);
    assert_eq!([bed.auth.applied(), bed.user.applied(), bed.logs.applied()], [seq; 3]);
}

fn later_changes_of_a_bundle_win(bed: &mut Bed) {
    bed.commit([open(1, 1), TokenChange::SessionRotated(session(1, 1, 1)), open(2, 1), end(2, 1)]);
    assert_eq!(bed.tokens.session(session_id(1)).unwrap(), Some(session(1, 1, 1)));
    assert_eq!(bed.tokens.session(session_id(2)).unwrap(), None);
    bed.commit([create(1, &[]), AuthChange::AccountDeleted { account: account_id(1) }]);
    assert_eq!(bed.auth.account(account_id(1)).unwrap(), None);
}
