//! `[[error_pages]]`: pages for people where the gate refuses a request, in place of problem details.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::problem::{Place, Problem};

/// Longest page, bytes: it is held in memory and sent whole.
pub const LONGEST: u64 = 256 * 1024;
/// Most pages.
pub const MOST: usize = 64;

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// `"404"`
    One(u16),
    /// `"4xx"`: those of this hundred that have no page of their own.
    Class(u16),
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// `status`
    pub statuses: Vec<Statuses>,
    /// `file`: HTML in UTF-8.
    pub file: PathBuf,
}

/// The text of each page, or what is wrong with every file that cannot be used.
pub fn read(pages: &[ErrorPage]) -> Result<Vec<String>, Vec<Problem>> {
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    for (index, page) in pages.iter().enumerate() {
        match text(&page.file) {
            Ok(text) => texts.push(text),
            Err(reason) => problems.push(Problem {
                place: Place::Machine,
                key: format!("error_pages[{index}].file"),
                value: Some(format!("\"{}\"", page.file.display())),
                message: reason,
                remedy:
                    "put a page in HTML there, readable by the user that runs keepgate, or remove the entry"
                        .to_owned(),
            }),
        }
    }
    if problems.is_empty() { Ok(texts) } else { Err(problems) }
}

fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe waits for whoever writes to it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("is longer than {} KiB", LONGEST >> 10));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_cannot_be_a_page_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let page = |name: &str, bytes: &[u8]| {
            let file = dir.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            ErrorPage { statuses: vec![Statuses::One(404)], file }
        };
        let good = page("good", "<p>é".as_bytes());
        assert_eq!(read(std::slice::from_ref(&good)).unwrap(), ["<p>é"]);
        let none = ErrorPage { file: dir.path().join("none"), ..good.clone() };
        let folder = ErrorPage { file: dir.path().to_owned(), ..good.clone() };
        let (long, binary) = (page("long", &vec![b'x'; 256 * 1024 + 1]), page("binary", b"\xff"));
        let told = read(&[good, none, folder, long, binary]).unwrap_err();
        let told: Vec<_> =
            told.iter().map(|problem| (problem.key.as_str(), problem.message.as_str())).collect();
        assert_eq!(told[0].0, "error_pages[1].file");
        assert!(told[0].1.starts_with("cannot be read: "), "{told:?}");
        assert_eq!(told[1], ("error_pages[2].file", "is not a file"));
        assert_eq!(told[2], ("error_pages[3].file", "is longer than 256 KiB"));
        assert_eq!(told[3], ("error_pages[4].file", "is not UTF-8"));
    }
}
