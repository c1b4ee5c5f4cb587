//! A file that an export writes: under its name only once it is whole. Half an export looks like a whole one.
//!
//! It is written beside its name, for its owner alone, and dropped before its end it is removed; so signals end the
//! writing and not the process from before it is begun ([`Signals`]). Nothing that stands there already is replaced.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::bad_file;
use crate::app::control::reply::{Code, Failure};

/// What an error of the file is called.
const CANNOT: &str = "cannot write";

/// A file under way.
pub(super) struct NewFile {
    path: PathBuf,
    draft: PathBuf,
    file: BufWriter<File>,
    kept: bool,
}

impl NewFile {
    /// Begins one, once signals are caught; refused if something has its name already.
    pub(super) fn create(path: &Path, _: &Signals) -> anyhow::Result<Self> {
        let bad = bad_file(CANNOT, path);
        let begun = Self::begin(path).map_err(&bad)?;
        Ok(begun)
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
        match path.symlink_metadata() {
            Ok(_) => return Err(Errno::EXIST.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let mut draft = name.to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let draft = path.with_file_name(draft);
        // `create_new` follows no link that somebody may have put there.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(Self { path: path.to_owned(), draft, file: BufWriter::new(file), kept: false })
    }

    /// Its name, once it is whole.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes on.
    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let bad = bad_file(CANNOT, &self.path);
        Ok(self.file.write_all(text.as_bytes()).map_err(bad)?)
    }

    /// Makes it durable and gives it its name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let bad = bad_file(CANNOT, &self.path);
        let kept = self.keep().map_err(bad);
        self.kept = kept.is_ok();
        Ok(kept?)
    }

    fn keep(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        match renameat_with(CWD, &self.draft, CWD, &self.path, RenameFlags::NOREPLACE) {
            // A file system that cannot say no; that nothing was there has been looked at.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(&self.draft, &self.path)?,
            renamed => renamed?,
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // If it cannot be removed its name says what it is.
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}

/// The signals that end processes, caught.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    /// The line to the terminal was lost.
    hangup: Signal,
}

impl Signals {
    /// From now on they end what [`Self::unless`] waits for.
    pub(super) fn caught() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?,
            int: signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?,
            hangup: signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?,
        })
    }

    /// What `work` comes to, unless one comes first: then whatever `work` holds is dropped.
    pub(super) async fn unless<T>(
        &mut self,
        path: &Path,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let name = tokio::select! {
            ended = work => return ended,
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        };
        let failure = Failure::new(Code::Unavailable, format!("{name}: {} was not written", path.display()));
        Err(failure.remedy("run it again for the whole").into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::process::{self, getpid, kill_process};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_file_has_its_name_once_it_is_whole_and_leaves_nothing_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.jsonl");
        let caught = Signals::caught().unwrap();
        let mut file = NewFile::create(&path, &caught).unwrap();
        file.write("half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert!(names(folder.path()).is_empty());
        let mut file = NewFile::create(&path, &caught).unwrap();
        file.write("whole").unwrap();
        file.finish().unwrap();
        assert_eq!(names(folder.path()), ["users.jsonl"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let error = format!("{:#}", NewFile::create(&path, &caught).err().unwrap());
        assert!(error.contains("exists"), "{error}");
        // One that comes while it is written.
        let other = folder.path().join("other");
        let file = NewFile::create(&other, &caught).unwrap();
        std::fs::write(&other, "theirs").unwrap();
        file.finish().unwrap_err();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[tokio::test]
    async fn a_signal_ends_the_writing_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        for signal in [process::Signal::INT, process::Signal::TERM, process::Signal::HUP] {
            let path = folder.path().join("log.jsonl");
            let mut caught = Signals::caught().unwrap();
            let mut file = NewFile::create(&path, &caught).unwrap();
            let work = async {
                file.write("half")?;
                kill_process(getpid(), signal)?;
                std::future::pending::<anyhow::Result<()>>().await
            };
            let error = caught.unless(&path, work).await.unwrap_err();
            drop(file);
            assert!(error.to_string().contains("was not written"), "{error}");
            assert!(names(folder.path()).is_empty());
        }
    }
}
