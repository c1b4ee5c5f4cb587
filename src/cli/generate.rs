//! `keepgate completions` and `keepgate man`: shell completions and manual pages, generated from the
//! same definitions that parse the arguments, so that neither can say what the other does not.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::bad_file;
use super::output;

/// `completions …`
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, definitions: &mut Command) -> anyhow::Result<ExitCode> {
        output::print(&completions(self.shell, definitions)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn completions(shell: Shell, definitions: &mut Command) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, definitions, "keepgate", &mut script);
    Ok(String::from_utf8(script)?)
}

/// `man …`
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Write a page for every command into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Manual {
    pub(super) fn run(&self, definitions: Command) -> anyhow::Result<ExitCode> {
        let pages = pages(definitions)?;
        match &self.out {
            Some(folder) => {
                write(folder, &pages)?;
                output::print(&format!("{} pages in {}\n", pages.len(), folder.display()))?;
            }
            None => {
                let first = pages.first().context("there is a page for keepgate itself")?;
                output::print(&first.text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One manual page.
struct Page {
    /// Such as `keepgate-user-add.1`.
    file: String,
    text: String,
}

/// A page for each command that does something or has commands below it, `keepgate` first.
fn pages(definitions: Command) -> anyhow::Result<Vec<Page>> {
    // `help` has a copy of every command below it, which would be as many pages again.
    let mut root = definitions.disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut text = Vec::new();
    let man = Man::new(command.clone()).title(name.to_uppercase()).manual("Keepgate");
    man.source(concat!("keepgate ", env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    pages.push(Page { file: format!("{name}.1"), text: String::from_utf8(text)? });
    command.get_subcommands().try_for_each(|below| collect(below, pages))
}

fn write(folder: &Path, pages: &[Page]) -> anyhow::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.map_err(bad_file("cannot make", folder))?,
    }
    for page in pages {
        let path = folder.join(&page.file);
        std::fs::write(&path, &page.text).map_err(bad_file("cannot write", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, ValueEnum as _};

    use super::*;
    use crate::cli::Cli;

    /// The words that lead to every command, such as `["user", "add"]`.
    fn paths(command: &Command, path: &[String], all: &mut Vec<Vec<String>>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path: Vec<_> = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
            paths(below, &path, all);
            all.push(path);
        }
    }

    fn commands() -> Vec<Vec<String>> {
        let mut all = Vec::new();
        paths(&Cli::command(), &[], &mut all);
        assert!(all.len() > 25, "{all:?}");
        all
    }

    #[test]
    fn every_command_is_in_the_completions_of_every_shell() {
        for shell in Shell::value_variants() {
            let script = completions(*shell, &mut Cli::command()).unwrap();
            for word in commands().iter().flatten() {
                assert!(script.contains(word.as_str()), "{word} is not in the completions for {shell}");
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page_that_shows_its_options() {
        let pages = pages(Cli::command()).unwrap();
        assert_eq!(pages.first().unwrap().file, "keepgate.1");
        assert_eq!(pages.len(), commands().len() + 1, "and no other");
        for path in commands() {
            let file = format!("keepgate-{}.1", path.join("-"));
            let page = pages.iter().find(|page| page.file == file);
            let page = page.unwrap_or_else(|| panic!("there is no {file}"));
            assert!(page.text.contains(".SH NAME") && page.text.contains(".SH OPTIONS"), "{}", page.text);
            let plain = page.text.replace('\\', "");
            assert!(plain.contains(&format!("keepgate {}", path.join(" "))), "{plain}");
        }
        let exit_codes = pages.first().unwrap().text.contains("the configuration is wrong");
        assert!(exit_codes, "the exit codes are on the first page");
    }
}
