//! Sets that are put, put over others, and not put, in real folders.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const SET: [Sheet; 2] = [Sheet { name: "certificate", mode: 0o644 }, Sheet { name: "key", mode: 0o600 }];
const TEXTS: [&str; 2] = ["public", "secret"];

fn prepare(folder: &Path, over: bool) -> Result<Outbox, OutboxError> {
    Outbox::prepare(folder, &SET, over)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn texts(folder: &Path) -> [String; 2] {
    SET.map(|sheet| fs::read_to_string(folder.join(sheet.name)).unwrap())
}

/// A folder with a set in it.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    SET.iter()
        .for_each(|sheet| fs::write(dir.path().join(sheet.name), format!("old {}", sheet.name)).unwrap());
    dir
}

#[test]
fn a_set_is_put_into_a_folder_of_its_own_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    prepare(&folder, false).unwrap().put(&TEXTS).unwrap();
    assert_eq!(
        (names(&folder), texts(&folder)),
        (vec!["certificate".into(), "key".into()], TEXTS.map(Into::into))
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.join("key")), mode(&folder.join("certificate"))), (0o600, 0o644));
    assert_eq!((mode(&folder), mode(&dir.path().join("a"))), (0o700, 0o700));
}

#[test]
fn what_was_prepared_and_is_not_put_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = prepare(&dir.path().join("a/b"), false).unwrap();
    assert_eq!(names(&dir.path().join("a/b")), ["certificate.new", "key.new"]);
    drop(outbox);
    assert!(names(dir.path()).is_empty());
    let old = filled();
    drop(prepare(old.path(), true).unwrap());
    assert_eq!(names(old.path()), ["certificate", "key"]);
    assert_eq!(texts(old.path()), ["old certificate", "old key"]);
}

#[test]
fn nothing_is_written_over_unless_it_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    fs::write(folder.join("key"), "mine").unwrap();
    let said = prepare(folder, false).unwrap_err().to_string();
    assert_eq!(said, format!("{} is there already", folder.join("key").display()));
    assert_eq!(names(folder), ["key"]);
    fs::write(folder.join("key.new"), "left by a crash").unwrap();
    prepare(folder, true).unwrap().put(&TEXTS).unwrap();
    assert_eq!(
        (names(folder), texts(folder)),
        (vec!["certificate".into(), "key".into()], TEXTS.map(Into::into))
    );
    // It came after the look.
    fs::remove_file(folder.join("certificate")).unwrap();
    fs::remove_file(folder.join("key")).unwrap();
    let outbox = prepare(folder, false).unwrap();
    fs::write(folder.join("key"), "mine").unwrap();
    let error = outbox.put(&TEXTS).unwrap_err();
    assert_eq!((error.path, error.source.kind()), (folder.join("key"), ErrorKind::AlreadyExists));
    assert_eq!(names(folder), ["key"], "what was put is taken back");
    assert_eq!(fs::read_to_string(folder.join("key")).unwrap(), "mine");
}

#[test]
fn when_the_second_cannot_be_put_the_first_is_what_it_was() {
    let old = filled();
    let outbox = prepare(old.path(), true).unwrap();
    fs::remove_file(old.path().join("key.new")).unwrap();
    outbox.put(&TEXTS).unwrap_err();
    assert_eq!(names(old.path()), ["certificate", "key"]);
    assert_eq!(texts(old.path()), ["old certificate", "old key"]);
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (elsewhere, folder) = (dir.path().join("elsewhere"), dir.path().join("out"));
    fs::create_dir(&folder).unwrap();
    for name in ["key", "key.new"] {
        symlink(&elsewhere, folder.join(name)).unwrap();
    }
    assert!(matches!(prepare(&folder, false), Err(OutboxError::There(path)) if path == folder.join("key")));
    prepare(&folder, true).unwrap().put(&TEXTS).unwrap();
    assert!(!elsewhere.exists() && fs::symlink_metadata(folder.join("key")).unwrap().is_file());
}

#[test]
fn who_puts_a_link_in_the_folders_place_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (elsewhere, folder) = (dir.path().join("elsewhere"), dir.path().join("out"));
    fs::create_dir(&elsewhere).unwrap();
    let outbox = prepare(&folder, false).unwrap();
    fs::rename(&folder, dir.path().join("moved")).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    outbox.put(&TEXTS).unwrap();
    assert!(names(&elsewhere).is_empty());
    assert_eq!(texts(&dir.path().join("moved")), TEXTS);
    // Nor is a folder made through a link to nowhere.
    symlink(dir.path().join("nowhere"), dir.path().join("link")).unwrap();
    assert!(prepare(&dir.path().join("link/in"), false).is_err());
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn two_commands_do_not_write_into_one_folder_and_what_cannot_be_replaced_is_known_before() {
    let old = filled();
    let first = prepare(old.path(), true).unwrap();
    let said = prepare(old.path(), true).unwrap_err().to_string();
    assert!(said.starts_with("another command is writing into "), "{said}");
    first.put(&TEXTS).unwrap();
    fs::remove_file(old.path().join("key")).unwrap();
    fs::create_dir(old.path().join("key")).unwrap();
    let error = prepare(old.path(), true).unwrap_err().to_string();
    assert!(error.contains("key") && error.contains("directory"), "{error}");
    assert_eq!(names(old.path()), ["certificate", "key"]);
}
