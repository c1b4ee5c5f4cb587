//! Files and folders that only Keepgate's user may read.
//!
//! Whoever opens a database through its engine would get a file made with the process's umask; these
//! make it first, private, and make its name durable.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::error::StoreError;

/// Makes the folder, and those above it, with mode 0700; takes other users' access away from one
/// that is there.
pub(in crate::store) fn private_folder(path: &Path) -> Result<(), StoreError> {
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        restrict(&path.metadata()?.permissions(), 0o700, |mode| std::fs::set_permissions(path, mode))
    };
    make().map_err(|source| failed("cannot make the folder", path, source))
}

/// Opens the file for reading and writing, with mode 0600; makes an empty one where there is none.
///
/// # Errors
/// `Io` where the operating system refuses, where the name is a symbolic link, or where it is not a
/// regular file: what lies there is not Keepgate's.
pub(in crate::store) fn private_file(path: &Path) -> Result<File, StoreError> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let open = || {
        let fresh = !path.try_exists()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        restrict(&metadata.permissions(), 0o600, |mode| file.set_permissions(mode))?;
        if let (true, Some(folder)) = (fresh, path.parent()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    };
    open().map_err(|source| failed("cannot open", path, source))
}

/// An `Io` error.
pub(in crate::store) fn failed(what: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what, path: path.to_owned(), source: Arc::new(source) }
}

fn restrict(
    now: &Permissions,
    allowed: u32,
    set: impl FnOnce(Permissions) -> io::Result<()>,
) -> io::Result<()> {
    let mode = now.mode() & 0o7777;
    if mode & !allowed == 0 { Ok(()) } else { set(Permissions::from_mode(mode & allowed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_read_is_made_private() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        private_folder(&folder).unwrap();
        let path = folder.join("file");
        std::fs::write(&path, b"kept").unwrap();
        for (path, mode) in [(&folder, 0o777), (&path, 0o666)] {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        private_folder(&folder).unwrap();
        private_file(&path).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("elsewhere"), b"").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        let error = private_file(&link).unwrap_err();
        assert!(matches!(&error, StoreError::Io { path, .. } if *path == link), "{error}");
    }
}
