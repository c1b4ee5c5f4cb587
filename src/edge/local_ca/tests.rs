//! The CA as starts, commands and crashes find it.

use super::*;
use crate::model::random::SeededRng;
use std::os::unix::fs::PermissionsExt;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(super) fn open(folder: &Path, now: Timestamp) -> Result<LocalCa, TlsError> {
    LocalCa::open(folder, now, &SeededRng::new(1))
}

#[test]
fn what_a_crash_left_of_the_first_start_is_finished_or_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (key, pem, draft) =
        (dir.path().join("ca.key"), dir.path().join("ca.pem"), dir.path().join("ca.key.first"));
    let first = open(dir.path(), NOW).unwrap();
    fs::rename(&key, &draft).unwrap();
    assert!(LocalCa::find(dir.path(), NOW).unwrap().is_none());
    assert_eq!(open(dir.path(), NOW).unwrap().certificate, first.certificate);
    fs::rename(&key, &draft).unwrap();
    fs::remove_file(&pem).unwrap();
    open(dir.path(), NOW).unwrap();
    assert!(!draft.exists());
    fs::remove_file(&key).unwrap();
    assert!(open(dir.path(), NOW).is_err(), "a lost key must be noticed");
}

#[test]
fn nothing_is_signed_by_a_ca_that_is_not_finished_and_who_comes_meanwhile_finishes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let make = |seed| LocalCa::make(dir.path(), NOW, &SeededRng::new(seed)).unwrap();
    let (first, second) = (make(1).unwrap(), make(2).unwrap());
    assert_eq!(first.about().fingerprint, second.about().fingerprint);
    assert!(LocalCa::find(dir.path(), NOW).unwrap().is_none());
    let fingerprint = first.about().fingerprint.clone();
    second.finish().unwrap();
    first.finish().unwrap();
    assert!(make(3).is_none());
    assert_eq!(open(dir.path(), NOW).unwrap().about().unwrap().fingerprint, fingerprint);
}

#[test]
fn a_key_without_its_certificate_is_kept_and_the_remedy_named() {
    let dir = tempfile::tempdir().unwrap();
    let (key, pem) = (dir.path().join("ca.key"), dir.path().join("ca.pem"));
    open(dir.path(), NOW).unwrap();
    let before = fs::read(&key).unwrap();
    fs::remove_file(&pem).unwrap();
    let said = open(dir.path(), NOW).err().unwrap().to_string();
    assert!(said.contains("ca.key: ") && said.contains("put ca.pem back"), "{said}");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &pem).unwrap();
    let said = open(dir.path(), NOW).err().unwrap().to_string();
    assert!(said.contains("ca.pem: "), "{said}");
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn the_ca_is_made_once_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tls");
    let first = open(&folder, NOW).unwrap();
    let again = open(&folder, NOW).unwrap();
    assert_eq!(first.certificate, again.certificate);
    let mode = fs::metadata(folder.join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn whoever_comes_at_the_same_time_finds_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tls");
    let names: Vec<_> = std::thread::scope(|scope| {
        let open = |seed| LocalCa::open(&folder, NOW, &SeededRng::new(seed)).unwrap().about().unwrap();
        let all: Vec<_> = (0..8).map(|seed| scope.spawn(move || open(seed))).collect();
        all.into_iter().map(|one| one.join().unwrap().fingerprint).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    assert!(LocalCa::find(dir.path(), NOW).unwrap().is_none());
}

#[test]
fn a_leaf_names_hosts_and_addresses_and_has_a_sane_life() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path(), NOW).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let issued = ca.issue(&names, NOW, &SeededRng::new(2)).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(san.value.general_names.len(), 3);
    assert_eq!(leaf.validity().not_after.timestamp(), NOW.plus(LEAF_LIFE).as_secs());
    assert_eq!(leaf.validity().not_before.timestamp(), NOW.minus(BACKDATED).as_secs());
    assert!(!leaf.is_ca());
}

#[test]
fn an_expired_ca_or_a_foreign_key_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), NOW).unwrap();
    let later = NOW.plus(CA_LIFE);
    assert!(open(dir.path(), later).err().unwrap().to_string().contains("delete ca.pem"));
    let other = tempfile::tempdir().unwrap();
    open(other.path(), NOW).unwrap();
    fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    assert!(open(dir.path(), NOW).err().unwrap().to_string().contains("not its key"));
}

#[test]
fn a_ca_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), NOW).unwrap();
    let key = dir.path().join("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(open(dir.path(), NOW).err().unwrap(), TlsError::Readable { .. }));
}
