//! Files that a command hands out together: all of them or none, in place of nothing unless that is said.
//!
//! Invariant: what cannot be finished is taken back where nothing stood before, and what is written over is written over
//! whole. Between two files of one set there is a moment in which a reader finds one new and one old; a crash, or a
//! folder that stands where the second belongs, may make it last.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::setup::SetupError;
use crate::files;

/// One of the files.
#[derive(Debug)]
pub struct Paper<'a> {
    /// Its name in the folder.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
    /// Who may read it.
    pub mode: u32,
}

/// The first of these that is there already. A link to nowhere is, too.
pub fn obstacle(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| fs::symlink_metadata(path).is_ok())
}

/// Writes them into a folder, which is made if need be.
pub fn put(folder: &Path, papers: &[Paper<'_>], over: bool) -> Result<(), SetupError> {
    let failed = |path: &Path, source| SetupError { path: path.to_owned(), source };
    files::make_folder(folder).map_err(|error| failed(folder, error))?;
    let paths = |paper: &Paper<'_>| (folder.join(paper.name), folder.join(format!("{}.new", paper.name)));
    // All drafts first: what is likely to fail fails here.
    for (at, paper) in papers.iter().enumerate() {
        let (path, draft) = paths(paper);
        if let Err(error) = write(&draft, paper) {
            let made = papers.iter().take(at + 1).map(|paper| paths(paper).1);
            made.for_each(|draft| drop(fs::remove_file(draft)));
            return Err(failed(&path, error));
        }
    }
    for (at, paper) in papers.iter().enumerate() {
        let (path, draft) = paths(paper);
        let placed = match over {
            true => fs::rename(&draft, &path),
            false => renameat_with(CWD, &draft, CWD, &path, RenameFlags::NOREPLACE).map_err(Into::into),
        };
        if let Err(error) = placed {
            papers.iter().skip(at).for_each(|paper| drop(fs::remove_file(paths(paper).1)));
            if !over {
                papers.iter().take(at).for_each(|paper| drop(fs::remove_file(paths(paper).0)));
            }
            return Err(failed(&path, error));
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
}

fn write(draft: &Path, paper: &Paper<'_>) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` follows no link that somebody may have put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(paper.mode).open(draft)?;
    // Whatever the process keeps from others by itself: these are handed out.
    file.set_permissions(Permissions::from_mode(paper.mode))?;
    file.write_all(paper.text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: [Paper<'_>; 2] = [
        Paper { name: "key", text: "secret", mode: 0o600 },
        Paper { name: "certificate", text: "public", mode: 0o644 },
    ];

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_set_is_put_into_a_folder_of_its_own_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        put(&folder, &SET, false).unwrap();
        assert_eq!(names(&folder), ["certificate", "key"]);
        assert_eq!(fs::metadata(folder.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(obstacle(&folder, &["x", "key"]), Some(folder.join("key")));
        assert_eq!(obstacle(&folder, &["x"]), None);
    }

    #[test]
    fn nothing_is_written_over_unless_it_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::write(folder.join("certificate"), "mine").unwrap();
        fs::write(folder.join("key.new"), "left by a crash").unwrap();
        let error = put(folder, &SET, false).unwrap_err();
        assert_eq!((error.path, error.source.kind()), (folder.join("certificate"), ErrorKind::AlreadyExists));
        assert_eq!(names(folder), ["certificate"], "what was put is taken back");
        assert_eq!(fs::read_to_string(folder.join("certificate")).unwrap(), "mine");
        put(folder, &SET, true).unwrap();
        assert_eq!(fs::read_to_string(folder.join("certificate")).unwrap(), "public");
        assert_eq!(names(folder), ["certificate", "key"]);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        let folder = dir.path().join("out");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.join("key")).unwrap();
        assert_eq!(obstacle(&folder, &["key"]), Some(folder.join("key")));
        assert!(put(&folder, &SET, false).is_err());
        put(&folder, &SET, true).unwrap();
        assert!(!elsewhere.exists() && fs::symlink_metadata(folder.join("key")).unwrap().is_file());
    }
}
