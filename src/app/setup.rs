//! The files of a first start: the configuration and the folders, made all or not at all, in place of
//! nothing. What stood there before is never written over and never removed.
//!
//! The configuration comes last and whole, so that a start which was cut short leaves none. What it leaves is a data
//! folder with [`UNFINISHED`] in it, which the next first start clears away; or, between the last two steps, a folder
//! that is whole with the configuration under its draft's name, which a person renames.
//!
//! Whose they are: a data folder that is there already belongs to the user that will run keepgate, and
//! the configuration can then be read by that user's group.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};

use crate::files;

#[cfg(test)]
mod tests;

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
    /// The data folder.
    data: PathBuf,
    /// Files and folders, in the order they were made.
    made: Vec<PathBuf>,
    /// Whether the data folder was there and empty.
    emptied: bool,
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
                let draft = draft_of(config);
                if fs::symlink_metadata(&draft).is_ok() {
                    found.push(format!("{}, left by an `init` that was cut short", draft.display()));
                }
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
        data.clone_into(&mut self.data);
        let failed = |source| SetupError { path: data.to_owned(), source };
        self.group = group_of_another(data);
        let there = data.is_dir();
        self.folder(data, None)?;
        // One that was there, and empty: what will be in it is nobody else's to list.
        let private = Permissions::from_mode(0o700);
        fs::set_permissions(data, private).map_err(failed)?;
        self.marker = Some(claim(data).map_err(failed)?);
        // Before, it may be another's who was faster.
        self.emptied = there;
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
        let draft = draft_of(config);
        let finished = self
            .draft(&draft, text)
            .map_err(failed(config))
            .and_then(|()| settle(data).map_err(failed(data)));
        let finished = finished.and_then(|()| self.place(&draft, config).map_err(failed(config)));
        if finished.is_err() {
            let _ = fs::remove_file(&draft);
        }
        finished
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

    fn place(&mut self, draft: &Path, config: &Path) -> io::Result<()> {
        // What came to stand there meanwhile is somebody else's.
        renameat_with(CWD, draft, CWD, config, RenameFlags::NOREPLACE)?;
        self.made.push(config.to_owned());
        sync_above(config)
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
        file.sync_all()?;
        sync_above(path)
    }

    /// What was made, for who wants to know.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Removes what was made, and what came into the data folder since; from other folders nothing but our own.
    pub fn undo(self) {
        for path in self.made.iter().rev() {
            let gone = if !path.is_dir() {
                fs::remove_file(path)
            } else if *path == self.data && self.marker.is_some() {
                fs::remove_dir_all(path)
            } else {
                // Others may have put something there meanwhile.
                fs::remove_dir(path)
            };
            match gone {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => warn_left(path, &error),
                Ok(()) => {}
            }
        }
        // It was empty a moment ago, and is used by nobody without the configuration that is gone now.
        if self.emptied {
            clear(&self.data, None);
        }
    }
}

/// The configuration, until it is one.
fn draft_of(config: &Path) -> PathBuf {
    let mut draft = config.as_os_str().to_owned();
    draft.push(".init");
    draft.into()
}

/// From then on the data folder is not cleared away any more.
fn settle(data: &Path) -> io::Result<()> {
    fs::remove_file(data.join(UNFINISHED))?;
    File::open(data)?.sync_all()
}

/// Makes a name durable.
fn sync_above(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn warn_left(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "could not be removed again");
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
            warn_left(&path, &error);
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
