//! The files of a first start: the configuration and the folders, made all or not at all, in place of
//! nothing. What stood there before is never written over and never removed.
//!
//! Whose they are: a data folder that is there already belongs to the user that will run keepgate, and
//! the configuration can then be read by that user's group.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::files;

/// A first start could not be prepared; nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {path}: {source}")]
pub struct SetupError {
    /// What.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What was made, until it is kept or undone.
#[derive(Debug, Default)]
#[must_use = "what was made is either kept or undone"]
pub struct Setup {
    /// Files and folders, in the order they were made.
    made: Vec<PathBuf>,
    /// The data folder, if it was there and empty.
    emptied: Option<PathBuf>,
}

/// What stands where a first start would write.
pub fn obstacles(config: &Path, data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // A link to nowhere stands in the way too.
    if fs::symlink_metadata(config).is_ok() {
        found.push(format!("the configuration {}", config.display()));
    }
    match fs::read_dir(data) {
        Ok(entries) => {
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            let shown: Vec<_> = names.iter().take(3).map(|name| name.to_string_lossy()).collect();
            let more = if names.len() > 3 { ", …" } else { "" };
            if !names.is_empty() {
                found.push(format!("the data folder {} with {}{more}", data.display(), shown.join(", ")));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => found.push(format!("{} ({error})", data.display())),
    }
    found
}

/// Makes the data folder and writes the configuration.
///
/// # Errors
/// [`SetupError`] with everything undone.
pub fn prepare(config: &Path, text: &str, data: &Path) -> Result<Setup, SetupError> {
    let mut setup = Setup::default();
    match setup.make(config, text, data) {
        Ok(()) => Ok(setup),
        Err(error) => {
            setup.undo();
            Err(error)
        }
    }
}

impl Setup {
    fn make(&mut self, config: &Path, text: &str, data: &Path) -> Result<(), SetupError> {
        let group = group_of_another(data);
        if data.is_dir() {
            self.emptied = Some(data.to_owned());
        }
        self.folder(data, None)?;
        let above = config.parent().unwrap_or(Path::new("/"));
        self.folder(above, group)?;
        self.file(config, text, group).map_err(|source| SetupError { path: config.to_owned(), source })
    }

    /// Makes a folder and those above it that are missing.
    fn folder(&mut self, path: &Path, group: Option<u32>) -> Result<(), SetupError> {
        let failed = |source| SetupError { path: path.to_owned(), source };
        let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            files::make_folder(folder).map_err(failed)?;
            self.made.push(folder.to_owned());
            if let Some(group) = group {
                share(folder, group, 0o750).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str, group: Option<u32>) -> io::Result<()> {
        // New, or it is somebody else's.
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        self.made.push(path.to_owned());
        file.write_all(text.as_bytes())?;
        if let Some(group) = group {
            share(path, group, 0o640)?;
        }
        file.sync_all()?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    }

    /// What was made, for who wants to know.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Removes what was made, and what came into the data folder since.
    pub fn undo(self) {
        for path in self.made.iter().rev() {
            let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "could not be removed again");
            }
        }
        // It was empty a moment ago, and is used by nobody without the configuration that is gone now.
        for entry in self.emptied.iter().filter_map(|data| fs::read_dir(data).ok()).flatten().flatten() {
            let path = entry.path();
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "could not be removed again");
            }
        }
    }
}

fn share(path: &Path, group: u32, mode: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// The group of a data folder that is there and somebody else's: whoever will run keepgate.
fn group_of_another(data: &Path) -> Option<u32> {
    let found = fs::metadata(data).ok()?;
    (found.uid() != rustix::process::geteuid().as_raw()).then(|| found.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn folders_and_file_are_private_and_gone_again_when_undone() {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("etc/keepgate/config.toml"), folder.path().join("var/data"));
        assert_eq!(obstacles(&config, &data), Vec::<String>::new());
        let setup = prepare(&config, "text", &data).unwrap();
        assert_eq!((mode(&config), mode(&data)), (0o600, 0o700));
        assert_eq!(setup.made().len(), 5);
        fs::write(data.join("store"), "").unwrap();
        assert_eq!(obstacles(&config, &data).len(), 2);
        setup.undo();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_stood_there_before_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("config.toml"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::write(&config, "mine").unwrap();
        let error = prepare(&config, "text", &data).unwrap_err();
        assert!(error.to_string().contains("config.toml"), "{error}");
        assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
        assert!(data.is_dir(), "an empty folder that was there");
        fs::remove_file(&config).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &config).unwrap();
        assert_eq!(obstacles(&config, &data).len(), 1);
        prepare(&config, "text", &data).unwrap_err();
        assert!(!folder.path().join("elsewhere").exists(), "a link is not followed");
    }

    #[test]
    fn the_owner_of_a_data_folder_can_read_the_configuration() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        chown(&data, Some(65534), Some(65533)).unwrap();
        prepare(&config, "text", &data).unwrap().made().iter().for_each(|path| {
            assert_eq!(path.metadata().unwrap().gid(), 65533, "{}", path.display());
        });
        assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o640, 0o750));
    }
}
