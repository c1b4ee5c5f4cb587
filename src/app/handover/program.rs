//! How this process was started: what the next one is started with.
//!
//! By the path that was said then, not by where its binary was found: where that is a symbolic link, it may lead to
//! another version now.

use std::ffi::{OsStr, OsString};
use std::fs::{Metadata, metadata};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The binary that runs, even where its file was removed.
const RUNNING: &str = "/proc/self/exe";
/// What the system says of such a file.
const DELETED: &[u8] = b" (deleted)";

/// The binary and its arguments.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Where the binary lies; another that was put there since is the next one.
    pub path: Option<PathBuf>,
    /// Arguments, without the program's name.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// Of this process. Ask early: the folder it stands in may change, and the binary be replaced.
    pub fn own() -> Self {
        let mut arguments = std::env::args_os();
        let named = arguments.next().unwrap_or_default();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let running = metadata(RUNNING).ok();
        let path = path(&named, &search, running.as_ref(), std::env::current_exe().ok());
        Self { path, arguments: arguments.collect() }
    }

    /// Where the binary lies, if it is one that nobody but root and this process's user could have put there.
    ///
    /// # Errors
    /// Why it is not started, in one line.
    pub(in crate::app) fn check(&self) -> Result<&Path, String> {
        let Some(path) = &self.path else {
            return Err("the system does not say where keepgate's binary is (no /proc?)".to_owned());
        };
        let found = metadata(path).map_err(|error| format!("cannot start {}: {error}", path.display()))?;
        trusted(&found, rustix::process::geteuid().as_raw())
            .map_err(|why| format!("{} is not started: {why}", path.display()))?;
        Ok(path)
    }
}

/// What `named` meant, when it meant what is running.
fn path(
    named: &OsStr,
    search: &OsStr,
    running: Option<&Metadata>,
    current: Option<PathBuf>,
) -> Option<PathBuf> {
    let is_path = named.as_bytes().contains(&b'/');
    let candidates: Vec<_> = match is_path {
        true => std::path::absolute(named).into_iter().collect(),
        false => {
            std::env::split_paths(search).filter_map(|at| std::path::absolute(at.join(named)).ok()).collect()
        }
    };
    let is = |path: &&PathBuf| match (running, metadata(path)) {
        (Some(running), Ok(found)) => (running.dev(), running.ino()) == (found.dev(), found.ino()),
        // Nobody can say: the word of who started it.
        (None, Ok(_)) => is_path,
        (_, Err(_)) => false,
    };
    if let Some(found) = candidates.iter().find(is) {
        return Some(found.clone());
    }
    let current = current?;
    match current.as_os_str().as_bytes().strip_suffix(DELETED) {
        // Replaced as it was started: what was named is another file by now, and the one that is meant.
        Some(_) if !current.exists() && is_path => candidates.into_iter().next(),
        Some(there) if !current.exists() => Some(PathBuf::from(OsString::from_vec(there.to_vec()))),
        Some(_) | None => Some(current),
    }
}

fn trusted(file: &Metadata, own: u32) -> Result<(), String> {
    if !file.is_file() {
        return Err("it is no file".to_owned());
    }
    let owner = file.uid();
    if owner != 0 && owner != own {
        return Err(format!(
            "it belongs to user {owner}: it has to be root's or keepgate's own (chown root)"
        ));
    }
    if file.mode() & 0o022 != 0 {
        return Err("it can be written by others (chmod go-w)".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_path_that_was_said_is_kept_if_it_meant_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            fs::write(at(name), name).unwrap();
        }
        symlink(at("one"), at("current")).unwrap();
        let running = metadata(at("one")).unwrap();
        let (search, current) = (folder.path().as_os_str(), Some(at("one")));
        let said = |named: &OsStr| path(named, search, Some(&running), current.clone());
        assert_eq!(said(at("current").as_os_str()), Some(at("current")));
        assert_eq!(said(OsStr::new("current")), Some(at("current")), "found as a shell does");
        // What it says it is it is not: another name, another file, none.
        for other in [OsStr::new("-keepgate"), at("two").as_os_str(), at("none").as_os_str(), OsStr::new("")]
        {
            assert_eq!(said(other), current, "{other:?}");
        }
        assert_eq!(path(at("two").as_os_str(), search, None, None), Some(at("two")), "nobody can say");
        assert_eq!(path(OsStr::new("two"), search, None, None), None);
    }

    #[test]
    fn a_file_that_was_replaced_meanwhile_is_found_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("old"), "").unwrap();
        let running = metadata(at("old")).unwrap();
        fs::write(at("new"), "").unwrap();
        symlink(at("new"), at("current")).unwrap();
        let gone = Some(at("keepgate (deleted)"));
        let said = |named: &OsStr| path(named, OsStr::new(""), Some(&running), gone.clone());
        assert_eq!(said(at("current").as_os_str()), Some(at("current")));
        assert_eq!(said(OsStr::new("keepgate")), Some(at("keepgate")));
        // One that is called so.
        fs::write(at("keepgate (deleted)"), "").unwrap();
        assert_eq!(said(OsStr::new("keepgate")), gone);
    }

    #[test]
    fn what_others_can_write_or_own_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keepgate");
        fs::write(&file, "").unwrap();
        let own = metadata(&file).unwrap().uid();
        let checked = |mode: u32, own| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            trusted(&metadata(&file).unwrap(), own)
        };
        checked(0o755, own).unwrap();
        for mode in [0o775, 0o757] {
            assert!(checked(mode, own).unwrap_err().contains("written by others"), "{mode:o}");
        }
        assert!(own == 0 || checked(0o755, own + 1).unwrap_err().contains("belongs to user"));
        assert!(trusted(&metadata(folder.path()).unwrap(), own).unwrap_err().contains("no file"));
        let program = |path| Program { path, arguments: Vec::new() };
        assert!(program(None).check().unwrap_err().contains("does not say"));
        assert!(program(Some(folder.path().join("none"))).check().unwrap_err().contains("cannot start"));
    }
}
