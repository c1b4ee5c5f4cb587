//! Small files that must be whole, durable and private: keys, certificates, the list of ports.
//!
//! A reader sees the old content or the new, never a part; after a power cut, too. Engines with files
//! of their own (`store`) keep them themselves.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::geteuid;

/// Makes a folder and those above it, each 0700 and durable by name; one that is there stays as it is.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

/// Keeps others out of a folder of ours that is empty, so that nothing which comes into it was ever theirs to reach.
/// One that holds anything stays as it is.
pub fn claim_empty_folder(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    let is_empty = || std::fs::read_dir(path).map(|mut entries| entries.next().is_none());
    if meta.mode() & 0o077 == 0 || meta.uid() != geteuid().as_raw() || !is_empty()? {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    // Only now can nobody fill it any more.
    if is_empty()? { Ok(()) } else { Err(io::Error::other("others have just put something into it")) }
}

/// Writes `text` under `path`, in place of what was there, with permissions `mode`.
pub fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // The whole name and a suffix: two files of one stem must not share their draft.
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` follows no link that somebody may have put there.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_whatever_a_crash_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(folder.path().join("key.new"), "half").unwrap();
        write(&path, "first", 0o600).unwrap();
        write(&path, "second", 0o600).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("second", 0o600));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_left_in_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("key.new")).unwrap();
        write(&folder.path().join("key"), "secret", 0o600).unwrap();
        assert!(!elsewhere.exists());
    }

    #[test]
    fn folders_are_made_private_all_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert_eq!((mode(&deep), mode(&folder.path().join("a"))), (0o700, 0o700));
    }

    #[test]
    fn an_empty_folder_is_made_private_and_a_filled_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || std::fs::set_permissions(folder.path(), Permissions::from_mode(0o775)).unwrap();
        open();
        claim_empty_folder(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
        open();
        std::fs::write(folder.path().join("file"), "").unwrap();
        claim_empty_folder(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o775);
    }
}
