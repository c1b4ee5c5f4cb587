//! Opening a file beneath a root, whatever its name is. The kernel holds the bound (`openat2` with
//! `RESOLVE_BENEATH`): no name, no symbolic link and no folder that is moved meanwhile leads out of it. A link
//! that stays within is followed; one that does not, or that is absolute, is as good as not there.
//!
//! Only regular files are opened to be read. A name is looked up first without opening what it stands for
//! (`O_PATH`), because opening a device or a pipe can do something or wait.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

/// How often a look-up that a rename came between is made again.
const TRIES: u32 = 4;

/// A file that may be read.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub file: File,
    /// As it was when it was opened.
    pub stat: Stat,
}

/// Why there is none.
#[derive(Debug)]
pub enum Missing {
    /// Nothing of that name may be read.
    Absent,
    /// It is a folder.
    Folder,
    /// The disk does not do.
    Broken(io::Error),
}

/// A root, held for one look-up: whoever puts another folder in its place is followed with the next.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Of this folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens the file of this name; an empty one is the root itself.
    pub fn file(&self, name: &OsStr) -> Result<Opened, Missing> {
        if name.is_empty() {
            return Err(Missing::Folder);
        }
        let found = fstat(self.resolve(name, OFlags::PATH)?).map_err(broken)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Missing::Folder),
            _ => return Err(Missing::Absent),
        }
        // Should something else have come in its place: it is not waited for, and not read.
        let file = self.resolve(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = fstat(&file).map_err(broken)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Opened { file: file.into(), stat }),
            _ => Err(Missing::Absent),
        }
    }

    fn resolve(&self, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Missing> {
        for _ in 0..TRIES {
            match beneath(&self.0, name, flags) {
                Ok(found) => return Ok(found),
                // A rename came between (openat2(2)).
                Err(Errno::AGAIN) => {}
                Err(
                    Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::LOOP
                    | Errno::XDEV
                    | Errno::ACCESS
                    | Errno::PERM
                    | Errno::NAMETOOLONG
                    | Errno::ILSEQ
                    | Errno::INVAL
                    | Errno::NXIO,
                ) => return Err(Missing::Absent),
                Err(errno) => return Err(broken(errno)),
            }
        }
        Err(broken(Errno::AGAIN))
    }
}

fn beneath(root: &OwnedFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(root, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn broken(errno: Errno) -> Missing {
    Missing::Broken(errno.into())
}

/// Whether this kernel has what holds a name beneath its root.
pub fn is_supported() -> bool {
    let here = || openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    here().and_then(|here| beneath(&here, OsStr::new("."), OFlags::PATH)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::mkfifoat;

    use super::*;

    fn told(root: &Path, name: &str) -> String {
        match Root::open(root).map_err(Missing::Broken).and_then(|root| root.file(OsStr::new(name))) {
            Ok(opened) => io::read_to_string(opened.file).unwrap(),
            Err(Missing::Absent) => "absent".to_owned(),
            Err(Missing::Folder) => "folder".to_owned(),
            Err(Missing::Broken(error)) => error.kind().to_string(),
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root_and_nothing_but_a_file_is_read() {
        assert!(is_supported());
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(root.join("plain"), "plain").unwrap();
        fs::write(root.join("a/b/deep"), "deep").unwrap();
        let link = |to: &Path, name: &str| symlink(to, root.join(name)).unwrap();
        link(Path::new("../secret"), "out");
        link(&dir.path().join("secret"), "absolute");
        link(&root.join("plain"), "absolute-within");
        link(Path::new("a/../plain"), "within");
        link(Path::new(".."), "a/up");
        link(Path::new("../.."), "a/over");
        link(Path::new("loop"), "loop");
        link(Path::new("gone"), "dangling");
        link(Path::new("/proc/self/root"), "magic");
        link(Path::new("/dev/zero"), "device");
        mkfifoat(CWD, root.join("pipe"), Mode::RUSR).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        for (name, expected) in [
            ("plain", "plain"),
            ("a/b/deep", "deep"),
            ("within", "plain"),
            ("a/up/plain", "plain"),
            ("", "folder"),
            ("a", "folder"),
            ("a/up", "folder"),
            ("out", "absent"),
            ("absolute", "absent"),
            ("absolute-within", "absent"),
            ("a/over/secret", "absent"),
            ("../secret", "absent"),
            ("a/../../secret", "absent"),
            ("/etc/passwd", "absent"),
            ("loop", "absent"),
            ("dangling", "absent"),
            ("magic", "absent"),
            ("magic/etc/passwd", "absent"),
            ("device", "absent"),
            ("pipe", "absent"),
            ("socket", "absent"),
            ("plain/", "absent"),
            ("plain/x", "absent"),
            ("none", "absent"),
            ("a\0b", "absent"),
        ] {
            assert_eq!(told(&root, name), expected, "{name:?}");
        }
        assert_eq!(told(&root, &"x".repeat(300)), "absent");
        assert_eq!(told(&dir.path().join("none"), "plain"), "entity not found");
        assert_eq!(told(&dir.path().join("secret"), "plain"), "not a directory");
    }
}
