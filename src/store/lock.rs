//! The store's folders, and the lock that keeps a second process out of them.
//!
//! The lock is the kernel's (`flock`): it goes with the process however that ends, so there is no
//! stale lock to remove by hand. The process id in the file is for the message only.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::error::StoreError;
use super::files;

const NAME: &str = "lock";

/// The folder is this process's for as long as this value lives.
#[derive(Debug)]
pub(in crate::store) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the folder.
    ///
    /// # Errors
    /// `InUse` if another has it, `Io` if the folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let mut file = files::private_file(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(StoreError::InUse { path: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(files::failed("cannot lock", &path, error)),
        }
        sign(&mut file).map_err(|source| files::failed("cannot write", &path, source))?;
        Ok(Self { file })
    }

    /// The folder from the process before, with the lock that it holds: the kernel's lock is the open
    /// file's, so nobody can come in between.
    ///
    /// # Errors
    /// `Io` if what was given is not this folder's lock.
    pub fn inherit(folder: &Path, held: OwnedFd) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let mut file = File::from(held);
        let taken = || {
            let (given, there) = (file.metadata()?, std::fs::symlink_metadata(&path));
            if !there.is_ok_and(|there| (given.dev(), given.ino()) == (there.dev(), there.ino())) {
                return Err(io::Error::other("the lock that was handed over is another folder's"));
            }
            // Held by this open file already, so this says yes at once; by another, and it says no.
            file.try_lock().map_err(io::Error::other)
        };
        taken().map_err(|source| files::failed("cannot take over", &path, source))?;
        sign(&mut file).map_err(|source| files::failed("cannot write", &path, source))?;
        Ok(Self { file })
    }

    /// The lock, for the process that comes after: it is held until every copy is closed.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "{}", std::process::id())
}

/// The holder as the message shows it; empty if the file does not say.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}

/// Makes a folder that only its owner can enter, and whatever is missing above it, durably: a
/// journal in a folder that a power cut forgets is lost with it.
pub(in crate::store) fn make_folder(path: &Path) -> Result<(), StoreError> {
    if !path.is_dir() {
        make(path).map_err(|source| files::failed("cannot create", path, source))?;
    }
    files::private_folder(path)
}

fn make(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        make(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_is_taken_names_its_holder_and_is_free_again_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err();
        let pid = std::process::id();
        assert!(
            matches!(&refused, StoreError::InUse { holder, .. } if *holder == format!(" (process {pid})"))
        );
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_is_handed_over_is_never_free_in_between() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = Lock::take(folder.path()).unwrap();
        let held = before.share().unwrap();
        drop(before);
        Lock::take(folder.path()).unwrap_err();
        let after = Lock::inherit(folder.path(), held).unwrap();
        Lock::take(folder.path()).unwrap_err();
        drop(after);
        let elsewhere = Lock::take(folder.path()).unwrap().share().unwrap();
        let refused = Lock::inherit(other.path(), elsewhere).unwrap_err().to_string();
        assert!(refused.contains("cannot take over"), "{refused}");
    }

    #[test]
    fn a_new_folder_is_its_owners_alone_and_an_open_one_becomes_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_folder(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        make_folder(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = make_folder(&file.join("store")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot create {}", file.join("store").display())), "{error}");
    }
}
