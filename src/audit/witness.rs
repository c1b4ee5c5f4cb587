//! The witness: an append-only file of signed heads outside the log database, one JSON object a
//! line, fsynced. Whoever rewrites the whole database, its table of heads included, is still
//! contradicted by it; copying it to another machine is the operator's cheapest protection against
//! someone who owns this one.
//!
//! It is written by `audit::signer` alone and read by `audit::verify`. Nothing is ever removed from
//! it but heads of records that retention dropped from the log, and an unterminated last line, which
//! a crash left and which nobody was told is there: the log still has that head, and
//! [`Witness::open`]'s caller appends it again. Where an operator begins it anew, the old file stays
//! beside the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::event::{ChainHash, SignedHead};
use crate::model::time::Timestamp;

/// Longest line that is looked at; a line we write has about 220 bytes.
const MAX_LINE: u64 = 1024;

/// Where the witness file stands under a data folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("audit").join("heads.jsonl")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    count: u64,
    hash: String,
    at: i64,
    signature: String,
}

/// A head as a line, its end included.
pub(in crate::audit) fn line(head: &SignedHead) -> io::Result<Vec<u8>> {
    let line = Line {
        count: head.count,
        hash: head.hash.hex(),
        at: head.at.as_millis(),
        signature: STANDARD.encode(&head.signature),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The head that a line holds.
pub(in crate::audit) fn parse(bytes: &[u8]) -> Option<SignedHead> {
    let line: Line = serde_json::from_slice(bytes).ok()?;
    let hash = ChainHash(*blake3::Hash::from_hex(line.hash).ok()?.as_bytes());
    let signature = STANDARD.decode(line.signature).ok()?;
    Some(SignedHead { count: line.count, hash, at: Timestamp::from_millis(line.at), signature })
}

/// The file, open for appending.
#[derive(Debug)]
pub(in crate::audit) struct Witness(File);

impl Witness {
    /// Opens or creates the file (its folder 0700, itself 0600), cuts an unterminated last line,
    /// and gives the last head in it.
    pub fn open(path: &Path) -> io::Result<(Self, Option<SignedHead>)> {
        let folder = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let end = cut_torn_line(&mut file)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        let last = last_line(&mut file, end)?;
        Ok((Self(file), last))
    }

    /// A file that was opened for appending by somebody else.
    pub const fn of(file: File) -> Self {
        Self(file)
    }

    /// The file.
    pub const fn file(&self) -> &File {
        &self.0
    }

    /// Drops the heads of fewer than `count` records: what they speak of was dropped from the log. The
    /// file is replaced whole, so a crash leaves the old one or the new.
    pub fn forget(&mut self, path: &Path, count: u64) -> io::Result<()> {
        let Some(reader) = Reader::open(path)? else { return Ok(()) };
        // A line that is no head stays out: `verify` named it for as long as it was there.
        let heads = reader.filter_map(|entry| entry.map(|entry| entry.head).transpose());
        let kept = heads.filter(|head| head.as_ref().map_or(true, |head| head.count >= count));
        self.replace(path, kept, synced)
    }

    /// Begins the file anew with `heads`. The old one, if there was one, stays as `aside`, where nothing may be yet.
    pub fn renew(
        &mut self,
        path: &Path,
        aside: &Path,
        heads: impl Iterator<Item = io::Result<SignedHead>>,
    ) -> io::Result<bool> {
        // A link first: there is a witness at every moment.
        let was = match std::fs::hard_link(path, aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            linked => linked.map(|()| true)?,
        };
        self.replace(path, heads, synced)?;
        Ok(was)
    }

    fn replace(
        &mut self,
        path: &Path,
        heads: impl Iterator<Item = io::Result<SignedHead>>,
        sync: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new` follows no link that somebody may have put there.
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&draft)?;
        let mut out = BufWriter::new(file);
        for head in heads {
            out.write_all(&line(&head?)?)?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        // From here on the path leads to the new file, whatever fails next: heads appended to the old one
        // would be nowhere.
        self.0 = file;
        sync(path.parent().unwrap_or(Path::new(".")))
    }

    /// Appends a head and waits until it is durable. After a failure the head may be there or not,
    /// but never in part: appending it again is right, and a line that is there twice does no harm.
    pub fn append(&mut self, head: &SignedHead) -> io::Result<()> {
        let end = self.0.metadata()?.len();
        if let Err(error) = self.0.write_all(&line(head)?) {
            self.0.set_len(end)?;
            return Err(error);
        }
        self.0.sync_data()
    }
}

fn synced(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The last `MAX_LINE * 2` bytes before `end`: enough to hold a whole line and a torn one.
pub(in crate::audit) fn tail(file: &mut File, end: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(end.saturating_sub(2 * MAX_LINE)))?;
    let mut bytes = Vec::new();
    file.take(2 * MAX_LINE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let bytes = tail(file, end)?;
    let torn = bytes.iter().rev().take_while(|byte| **byte != b'\n').count();
    let keep = end.saturating_sub(torn as u64);
    if keep < end {
        file.set_len(keep)?;
    }
    Ok(keep)
}

fn last_line(file: &mut File, end: u64) -> io::Result<Option<SignedHead>> {
    let bytes = tail(file, end)?;
    Ok(bytes.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty()).and_then(parse))
}

/// Whether the file, a copy from elsewhere, holds a head at all. What is no plain file is refused before it
/// is opened: a pipe would be waited for.
pub fn holds_a_head(path: &Path) -> io::Result<bool> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let Some(reader) = Reader::open(path)? else { return Ok(false) };
    for entry in reader {
        if entry?.head.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A line of the witness.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct Entry {
    /// Its number, from 1.
    pub line: u64,
    /// What it holds; `None` if that is no head.
    pub head: Option<SignedHead>,
}

/// Reads the file from its start to where it ended when opened, in bounded memory.
pub(in crate::audit) struct Reader {
    lines: BufReader<io::Take<File>>,
    number: u64,
}

impl Reader {
    /// `None` if there is no such file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let length = file.metadata()?.len();
                Ok(Some(Self { lines: BufReader::new(file.take(length)), number: 0 }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self) -> io::Result<Option<Entry>> {
        let mut line = Vec::new();
        (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line)?;
        // Without its end the last line was torn by a crash, or is being written at this moment.
        if line.is_empty() || (line.last() != Some(&b'\n') && self.lines.fill_buf()?.is_empty()) {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Entry { line: self.number, head: parse(&line) }))
    }
}

impl Iterator for Reader {
    type Item = io::Result<Entry>;
    fn next(&mut self) -> Option<Self::Item> {
        self.entry().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::head::HeadKey;

    fn head(count: u64) -> SignedHead {
        HeadKey::from_seed(&[1; 32]).sign(count, ChainHash([9; 32]), Timestamp::from_millis(5))
    }

    fn entries(path: &Path) -> Vec<Option<SignedHead>> {
        Reader::open(path).unwrap().unwrap().map(|entry| entry.unwrap().head).collect()
    }

    #[test]
    fn what_was_appended_is_read_back_and_survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let (mut witness, last) = Witness::open(&path).unwrap();
        assert_eq!(last, None);
        witness.append(&head(1)).unwrap();
        witness.append(&head(2)).unwrap();
        let (mut witness, last) = Witness::open(&path).unwrap();
        assert_eq!(last, Some(head(2)));
        witness.append(&head(3)).unwrap();
        assert_eq!(entries(&path), [1, 2, 3].map(|count| Some(head(count))));
    }

    #[test]
    fn a_line_torn_by_a_crash_is_passed_over_and_cut_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        Witness::open(&path).unwrap().0.append(&head(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[..30]].concat()).unwrap();
        assert_eq!(entries(&path), [Some(head(1))]);
        assert_eq!(Witness::open(&path).unwrap().1, Some(head(1)));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_line_that_is_no_head_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        Witness::open(&path).unwrap().0.append(&head(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{}\n", &whole[..]].concat()).unwrap();
        assert_eq!(entries(&path), [Some(head(1)), None, Some(head(1))]);
    }

    #[test]
    fn heads_of_what_was_dropped_are_forgotten_and_the_file_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let (mut witness, _) = Witness::open(&path).unwrap();
        (1..=4).for_each(|count| witness.append(&head(count)).unwrap());
        std::fs::write(folder.path().join("audit/heads.jsonl.new"), "left by a crash").unwrap();
        witness.forget(&path, 3).unwrap();
        witness.append(&head(5)).unwrap();
        assert_eq!(entries(&path), [3, 4, 5].map(|count| Some(head(count))));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn heads_go_to_the_new_file_also_if_its_folder_cannot_be_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let (mut witness, _) = Witness::open(&path).unwrap();
        (1..=2).for_each(|count| witness.append(&head(count)).unwrap());
        let kept = std::iter::once(Ok(head(2)));
        witness.replace(&path, kept, |_| Err(io::ErrorKind::Other.into())).unwrap_err();
        witness.append(&head(3)).unwrap();
        assert_eq!(entries(&path), [2, 3].map(|count| Some(head(count))));
    }

    #[test]
    fn a_missing_file_is_none_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Reader::open(&path(folder.path())).unwrap().is_none());
    }
}
