//! The files of a first start: the configuration and the folders, made all or not at all, in place of
//! nothing. What stood there before is never written over and never removed.
//!
//! The configuration comes last and whole, so that a start which was cut short leaves none. What it leaves is a data
//! folder with [`UNFINISHED`] in it, which the next first start clears away.
//!
//! Whose they are: a data folder that is there already belongs to the user that will run keepgate, and
//! the configuration can then be read by that user's group.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};

use crate::files;

/// In a data folder that is being filled: nothing in it has been used by anybody. It is gone before the
/// configuration is there, by which alone the folder is found.
const UNFINISHED: &str = "init.unfinished";

/// What [`UNFINISHED`] says once the folder was seen to be empty but for it. One that says nothing speaks for
/// nothing: whoever made it may have come after another had finished.
const SAYS: &[u8] = b"what is in this folder was left by an init that did not finish\n";

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
    /// Whose the folder and the configuration will be.
    group: Option<u32>,
    /// [`UNFINISHED`], locked for as long as this process lives. Without it nothing in the data folder is ours.
    marker: Option<File>,
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
            if names.iter().any(|name| name == UNFINISHED) {
                if let Err(error) = claim(data) {
                    found.push(format!("{} with an `init` at work in it ({error})", data.display()));
                }
            } else if !names.is_empty() {
                found.push(format!("the data folder {} with {}{more}", data.display(), shown.join(", ")));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => found.push(format!("{} ({error})", data.display())),
    }
    found
}

/// The marker of a data folder, which at most one process has at a time. Whoever has it may clear the folder.
fn claim(data: &Path) -> io::Result<File> {
    let path = data.join(UNFINISHED);
    // No link is followed, and a pipe is not waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |new| {
        File::options().read(true).write(true).create_new(new).mode(0o600).custom_flags(flags).open(&path)
    };
    let (mut marker, new) = match open(true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (open(false)?, false),
        opened => (opened?, true),
    };
    flock(&marker, FlockOperation::NonBlockingLockExclusive)?;
    let (ours, there) = (marker.metadata()?, fs::symlink_metadata(&path)?);
    if !ours.is_file() || (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::Error::other("another `init` has been at work in it meanwhile"));
    }
    let mut says = Vec::new();
    (&mut marker).take(SAYS.len() as u64).read_to_end(&mut says)?;
    if says != SAYS {
        if holds_more(data)? {
            if new {
                fs::remove_file(&path)?;
            }
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it is not empty any more"));
        }
        marker.write_all_at(SAYS, 0)?;
        marker.sync_all()?;
    }
    Ok(marker)
}

/// Whether anything but the marker is in a folder.
fn holds_more(data: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(data)? {
        if entry?.file_name() != UNFINISHED {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the data folder and that of the configuration, which [`Setup::finish`] writes once the data folder is
/// filled.
///
/// # Errors
/// [`SetupError`] with everything undone.
pub fn prepare(config: &Path, data: &Path) -> Result<Setup, SetupError> {
    let mut setup = Setup::default();
    match setup.make(config, data) {
        Ok(()) => Ok(setup),
        Err(error) => {
            setup.undo();
            Err(error)
        }
    }
}

impl Setup {
    fn make(&mut self, config: &Path, data: &Path) -> Result<(), SetupError> {
        let failed = |source| SetupError { path: data.to_owned(), source };
        self.group = group_of_another(data);
        let there = data.is_dir();
        self.folder(data, None)?;
        // One that was there, and empty: what will be in it is nobody else's to list.
        let private = Permissions::from_mode(0o700);
        fs::set_permissions(data, private).map_err(failed)?;
        self.marker = Some(claim(data).map_err(failed)?);
        // Before, it may be another's who was faster.
        self.emptied = there.then(|| data.to_owned());
        clear(data, Some(UNFINISHED));
        File::open(data).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let above = config.parent().unwrap_or(Path::new("/"));
        self.folder(above, self.group)
    }

    /// Writes the configuration: from then on there is a node.
    ///
    /// # Errors
    /// [`SetupError`]; what was made is still to be undone.
    pub fn finish(&mut self, config: &Path, text: &str, data: &Path) -> Result<(), SetupError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SetupError { path, source }
        };
        let settled = fs::remove_file(data.join(UNFINISHED)).and_then(|()| File::open(data)?.sync_all());
        settled.map_err(failed(data))?;
        self.file(config, text).map_err(failed(config))
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

    fn file(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".init");
        let draft = PathBuf::from(draft);
        let written = self.draft(&draft, text).and_then(|()| {
            // What came to stand there meanwhile is somebody else's.
            Ok(renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)?)
        });
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        self.made.push(path.to_owned());
        File::open(path.parent().unwrap_or(path))?.sync_all()
    }

    fn draft(&self, path: &Path, text: &str) -> io::Result<()> {
        // One that was left by a start cut short.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        if let Some(group) = self.group {
            share(path, group, 0o640)?;
        }
        file.sync_all()
    }

    /// What was made, for who wants to know.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Removes what was made, and what came into the data folder since.
    pub fn undo(self) {
        for path in self.made.iter().rev() {
            let gone = match (path.is_dir(), &self.marker) {
                (true, Some(_)) => fs::remove_dir_all(path),
                // Another may have begun to fill it.
                (true, None) => fs::remove_dir(path),
                (false, _) => fs::remove_file(path),
            };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "could not be removed again");
            }
        }
        // It was empty a moment ago, and is used by nobody without the configuration that is gone now.
        if let Some(data) = &self.emptied {
            clear(data, None);
        }
    }
}

/// Removes what is in a folder, but for one name.
fn clear(folder: &Path, but: Option<&str>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if but.is_some_and(|but| entry.file_name() == but) {
            continue;
        }
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = gone {
            tracing::warn!(path = %path.display(), %error, "could not be removed again");
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
        let mut setup = prepare(&config, &data).unwrap();
        assert!(!config.exists(), "it comes last");
        fs::write(data.join("store"), "").unwrap();
        setup.finish(&config, "text", &data).unwrap();
        assert_eq!((mode(&config), mode(&data)), (0o600, 0o700));
        assert_eq!((setup.made().len(), fs::read_dir(config.parent().unwrap()).unwrap().count()), (5, 1));
        assert_eq!(obstacles(&config, &data).len(), 2);
        setup.undo();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A kill leaves what a dropped setup leaves: nothing is undone.
    #[test]
    fn a_start_that_was_cut_short_is_begun_anew_at_every_step() {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
        let setup = prepare(&config, &data).unwrap();
        assert_eq!(obstacles(&config, &data).len(), 1, "another that is at work is not disturbed");
        drop(setup);
        assert_eq!(obstacles(&config, &data), Vec::<String>::new());
        // In the middle of the stores, with a half-written draft beside the place of the configuration.
        fs::create_dir_all(data.join("store/journal")).unwrap();
        fs::write(data.join("master.key"), "half").unwrap();
        fs::write(folder.path().join("etc/config.toml.init"), "half").unwrap();
        assert_eq!(obstacles(&config, &data), Vec::<String>::new());
        let mut setup = prepare(&config, &data).unwrap();
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "the marker alone");
        fs::write(data.join("master.key"), "whole").unwrap();
        // Stores that are whole are never cleared away, with or without their configuration.
        fs::remove_file(data.join(UNFINISHED)).unwrap();
        assert!(obstacles(&config, &data).concat().contains("master.key"));
        fs::write(data.join(UNFINISHED), "").unwrap();
        setup.finish(&config, "text", &data).unwrap();
        drop(setup);
        assert_eq!(obstacles(&config, &data).len(), 2);
        assert_eq!(fs::read_to_string(&config).unwrap(), "text");
        assert_eq!(fs::read_dir(config.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    /// Whoever looked while the folder was empty, and goes on when another has filled it.
    #[test]
    fn a_node_that_another_finished_meanwhile_is_not_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
        let other = folder.path().join("etc/other.toml");
        assert_eq!(obstacles(&other, &data), Vec::<String>::new());
        let mut first = prepare(&config, &data).unwrap();
        fs::create_dir_all(data.join("store/journal")).unwrap();
        fs::write(data.join("master.key"), "key").unwrap();
        let late = prepare(&other, &data).unwrap_err();
        assert_eq!(late.path, data, "while it is at work");
        first.finish(&config, "text", &data).unwrap();
        // A marker whose maker was killed before it looked speaks for nothing either.
        for left in [false, true] {
            if left {
                fs::write(data.join(UNFINISHED), "").unwrap();
            }
            let late = prepare(&other, &data).unwrap_err();
            assert!(late.to_string().contains("not empty any more"), "{late}");
            assert_eq!(obstacles(&other, &data).len(), 1);
            assert_eq!(fs::read_to_string(data.join("master.key")).unwrap(), "key");
            assert!(data.join("store/journal").is_dir() && data.join(UNFINISHED).exists() == left);
        }
    }

    #[test]
    fn a_marker_that_is_a_link_a_pipe_or_a_folder_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
        fs::create_dir(&data).unwrap();
        let marker = data.join(UNFINISHED);
        fs::write(&elsewhere, SAYS).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &marker).unwrap();
        claim(&data).unwrap_err();
        fs::remove_file(&elsewhere).unwrap();
        claim(&data).unwrap_err();
        assert!(!elsewhere.exists());
        fs::remove_file(&marker).unwrap();
        rustix::fs::mkfifoat(CWD, &marker, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        claim(&data).unwrap_err();
        fs::remove_file(&marker).unwrap();
        fs::create_dir(&marker).unwrap();
        claim(&data).unwrap_err();
    }

    #[test]
    fn what_stood_there_before_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = (folder.path().join("config.toml"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::write(&config, "mine").unwrap();
        let mut setup = prepare(&config, &data).unwrap();
        let error = setup.finish(&config, "text", &data).unwrap_err();
        assert!(error.to_string().contains("config.toml"), "{error}");
        setup.undo();
        assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "an empty folder that was there");
        fs::remove_file(&config).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &config).unwrap();
        assert_eq!(obstacles(&config, &data).len(), 1);
        let mut setup = prepare(&config, &data).unwrap();
        setup.finish(&config, "text", &data).unwrap_err();
        setup.undo();
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
        let mut setup = prepare(&config, &data).unwrap();
        setup.finish(&config, "text", &data).unwrap();
        setup.made().iter().for_each(|path| {
            assert_eq!(path.metadata().unwrap().gid(), 65533, "{}", path.display());
        });
        assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o640, 0o750));
    }
}
