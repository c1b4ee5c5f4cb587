//! Questions on a terminal. They go to standard error, so that standard output is the result alone.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::Usage;
use super::output;

/// Longest answer, bytes.
const LONGEST: u64 = 4096;
/// Wrong answers to one question before it is given up.
const PATIENCE: usize = 5;

/// Whether there is somebody to ask.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// One line, without the spaces around it.
pub(super) fn line(question: &str) -> anyhow::Result<String> {
    output::complain(&format!("{question}: "));
    let mut answer = String::new();
    let read = io::stdin().lock().take(LONGEST).read_line(&mut answer).context("the terminal")?;
    if read == 0 {
        let message = "the terminal was closed; nothing was done".to_owned();
        return Err(Usage { message, remedy: "answer the questions, or give the arguments" }.into());
    }
    Ok(answer.trim().to_owned())
}

/// An answer that `parse` takes; says what is wrong with others, and asks again.
pub(super) fn until<T, E: Display>(
    question: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> anyhow::Result<T> {
    for _ in 0..PATIENCE {
        match parse(&line(question)?) {
            Ok(value) => return Ok(value),
            Err(error) => output::complain(&format!("  {error}\n")),
        }
    }
    let message = format!("no usable answer to \"{question}\"; nothing was written");
    Err(Usage { message, remedy: "see `keepgate init --help` for what is meant" }.into())
}

/// A file that is there, or none where that is an answer.
pub(super) fn path(question: &str, optional: bool) -> anyhow::Result<Option<PathBuf>> {
    until(question, |text| match text {
        "" if optional => Ok(None),
        text if Path::new(text).is_file() => Ok(Some(PathBuf::from(text))),
        text => Err(format!("'{}' is not a file", output::plain(text))),
    })
}

/// The last question before what cannot be taken back; `spared` says what a no leaves as it is.
pub(super) fn confirm(question: &str, spared: &str) -> anyhow::Result<()> {
    let answer = line(&format!("{question} [y/N]"))?;
    if ["y", "yes"].contains(&answer.to_lowercase().as_str()) {
        return Ok(());
    }
    let message = format!("not confirmed; {spared}");
    Err(Usage { message, remedy: "answer y, or give --yes" }.into())
}
