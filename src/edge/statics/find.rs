//! Which file answers a request, and what of it: everything that touches the disk before the first byte, in one
//! job on a blocking thread.

use std::ffi::{OsStr, OsString};
use std::fs::File;

use bytes::Bytes;
use http::HeaderMap;
use rustix::fs::Stat;

use super::beneath::{Missing, Opened, Root};
use super::body;
use super::conditions::{State, Verdict};
use super::path::{self, Wanted};
use super::{Files, accepted, kinds};
use crate::edge::codings::Coding;

/// Files that lie there compressed, the smallest first.
const SIBLINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// What there is.
pub(super) enum Outcome {
    /// A file.
    Found(Box<Found>),
    /// A folder that was asked for without its slash.
    Folder,
    /// Nothing.
    Absent,
    /// The disk failed, which the log says.
    Broken,
}

/// A file, opened.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) state: State,
    pub(super) kind: &'static str,
    /// How it lies there.
    pub(super) coding: Option<Coding>,
    pub(super) verdict: Verdict,
    /// The first piece of what is sent, if anything is.
    pub(super) first: Bytes,
}

/// Finds what answers a GET (`get`) or a HEAD, at `now` in seconds since the epoch.
pub(super) fn find(files: &Files, wanted: &Wanted, headers: &HeaderMap, (get, now): (bool, u64)) -> Outcome {
    let root = match Root::open(&files.root) {
        Ok(root) => root,
        Err(error) => {
            files.trouble.root_is_gone(&files.root, &error, now);
            return Outcome::Broken;
        }
    };
    files.trouble.root_is_there(&files.root);
    match look((files, &root), wanted, headers, (get, now)) {
        Ok(found) => Outcome::Found(Box::new(found)),
        Err(Missing::Folder) => Outcome::Folder,
        Err(Missing::Absent) => Outcome::Absent,
        Err(Missing::Broken(error)) => {
            files.trouble.file(&files.root, &error, now);
            Outcome::Broken
        }
    }
}

fn look(
    (files, root): (&Files, &Root),
    wanted: &Wanted,
    headers: &HeaderMap,
    (get, now): (bool, u64),
) -> Result<Found, Missing> {
    let (name, opened) = open(root, files, wanted)?;
    let kind = kinds::of(path::extension(&name)).unwrap_or(kinds::UNKNOWN);
    let beside =
        accepted(headers, kind).among(SIBLINGS).find_map(|coding| beside(root, &name, &opened, coding));
    let (opened, coding) = match beside {
        Some((opened, coding)) => (opened, Some(coding)),
        None => (opened, None),
    };
    let Opened { file, stat } = opened;
    let state = state(&stat, now);
    let verdict = state.judge(headers, get);
    let sent = match verdict {
        Verdict::Whole => Some((0, state.size)),
        Verdict::Part(at, length) => Some((at, length)),
        _ => None,
    };
    let first = match sent {
        Some((at, length)) if get && length > 0 => body::piece(&file, at, length).map_err(Missing::Broken)?,
        _ => Bytes::new(),
    };
    Ok(Found { file, state, kind, coding, verdict, first })
}

/// The file that is asked for, or that answers for it, and its name.
fn open(root: &Root, files: &Files, wanted: &Wanted) -> Result<(OsString, Opened), Missing> {
    let name = if wanted.folder { wanted.within(&files.index) } else { wanted.name.clone() };
    let missing = match root.file(&name) {
        Ok(opened) => return Ok((name, opened)),
        // A folder that is called like the index is none.
        Err(Missing::Folder) if wanted.folder => Missing::Absent,
        // A folder without its slash is sent on only if there is something to see.
        Err(Missing::Folder) => match root.file(&wanted.within(&files.index)) {
            Ok(_) => return Err(Missing::Folder),
            Err(Missing::Broken(error)) => return Err(Missing::Broken(error)),
            Err(_) => Missing::Absent,
        },
        Err(missing) => missing,
    };
    // A script or a picture that is gone is gone: a page in its place would be run or shown as one.
    let is_page = kinds::of(path::extension(&wanted.name)).is_none();
    match (&files.fallback, missing) {
        (Some(fallback), Missing::Absent) if is_page => {
            let name = OsString::from(fallback);
            match root.file(&name) {
                Ok(opened) => Ok((name, opened)),
                Err(Missing::Folder) => Err(Missing::Absent),
                Err(missing) => Err(missing),
            }
        }
        (_, missing) => Err(missing),
    }
}

/// The same file as it lies there compressed. One that is older is of another state, and passed over.
fn beside(root: &Root, name: &OsStr, plain: &Opened, coding: Coding) -> Option<(Opened, Coding)> {
    let extension = match coding {
        Coding::Brotli => "br",
        Coding::Zstd => "zst",
        Coding::Gzip => "gz",
    };
    let opened = root.file(&path::sibling(name, extension)).ok()?;
    (opened.stat.st_mtime >= plain.stat.st_mtime).then_some((opened, coding))
}

/// The tag holds what changes with a file's content: its inode (it was replaced), size, time of modification and
/// time of change to the nanosecond. The last is the one that nobody can set: what copies files into place and keeps
/// their dates (`cp -p`, `rsync -t`, `tar`) can leave all the others as they were. It also moves with a file's mode,
/// owner and links, which costs a download and mends itself. Hashed, because an inode's number is nobody's business.
fn state(stat: &Stat, now: u64) -> State {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let mut hash = blake3::Hasher::new();
    for part in [stat.st_dev, stat.st_ino, size] {
        hash.update(&part.to_le_bytes());
    }
    for (seconds, nanoseconds) in [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)] {
        hash.update(&seconds.to_le_bytes());
        hash.update(&nanoseconds.to_le_bytes());
    }
    let hex = hash.finalize().to_hex();
    let tag = format!("\"{}\"", hex.get(..24).unwrap_or_default());
    // RFC 9110 §8.8.2.1: nothing was modified in the future.
    let modified = u64::try_from(stat.st_mtime).ok().filter(|modified| *modified <= now);
    State { tag, modified, size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::content::Folder;
    use crate::config::route::RouteAuth;
    use crate::observe::logging::testing;

    #[test]
    fn a_root_that_is_gone_is_told_of_when_it_goes_and_when_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let folder = Folder {
            root: root.clone(),
            index: "index.html".to_owned(),
            fallback: None,
            cache_control: None,
        };
        let files = Files::new(&folder, "/", RouteAuth::None);
        let asked = |now: u64| {
            let wanted = Wanted::read("/a", "/").unwrap();
            find(&files, &wanted, &HeaderMap::new(), (true, now))
        };
        let lines = testing::lines(|| {
            for _ in 0..3 {
                assert!(matches!(asked(0), Outcome::Broken));
            }
            std::fs::create_dir(&root).unwrap();
            for _ in 0..3 {
                assert!(matches!(asked(1), Outcome::Absent));
            }
            std::fs::remove_dir(&root).unwrap();
            assert!(matches!(asked(60), Outcome::Broken));
        });
        let found: Vec<_> = lines.iter().map(|line| line.contains("WARN")).collect();
        assert_eq!(found, [true, false, true], "{lines:?}");
    }
}
