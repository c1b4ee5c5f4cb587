//! Where a password comes from: a terminal, standard input or the generator. Never the arguments,
//! which every user of the machine can read.

use std::io::{BufRead, BufReader, ErrorKind, IsTerminal as _, Read};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::exit::Usage;
use super::output;
use crate::app::control::command::Password;
use crate::model::random::{self, Rng};

/// Longest line read from standard input, bytes.
const LONGEST: u64 = 8 * 1024;

/// How the password is given. Without either, it is asked for twice on the terminal.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Source {
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Make a password, and print it once
    #[arg(long)]
    generate: bool,
}

impl Source {
    pub(super) fn read(&self, rng: &dyn Rng) -> anyhow::Result<Password> {
        if self.generate {
            return Ok(generate(rng));
        }
        if self.password_stdin {
            return first_line(std::io::stdin().lock());
        }
        if !std::io::stdin().is_terminal() {
            let message = "there is no terminal to ask for a password".to_owned();
            return Err(Usage { message, remedy: "use --password-stdin or --generate" }.into());
        }
        ask()
    }

    /// Shows a generated password, once its account has it. On standard error when the reply is
    /// JSON, so that standard output stays one document.
    pub(super) fn show(&self, password: &Password, json: bool) -> anyhow::Result<()> {
        if !self.generate {
            return Ok(());
        }
        let text = Zeroizing::new(format!("The password, shown this once: {}\n", password.0.expose_secret()));
        if json {
            output::complain(&text);
        } else {
            output::print(&text)?;
        }
        Ok(())
    }
}

/// 144 random bits as 24 characters: beyond guessing, within what one can still type.
fn generate(rng: &dyn Rng) -> Password {
    let bytes = Zeroizing::new(random::bytes::<18>(rng));
    Password(SecretString::from(URL_SAFE_NO_PAD.encode(*bytes)))
}

fn first_line(from: impl Read) -> anyhow::Result<Password> {
    let mut line = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    let read = BufReader::new(from.take(LONGEST)).read_line(&mut line);
    if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidData) {
        let message = "the password on standard input is not UTF-8".to_owned();
        return Err(
            Usage { message, remedy: "write it in UTF-8 (`iconv -t UTF-8`), as browsers send it" }.into()
        );
    }
    read.context("standard input")?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        let message = "standard input gave no password".to_owned();
        return Err(Usage { message, remedy: "write it as the first line" }.into());
    }
    Ok(Password(text.into()))
}

fn ask() -> anyhow::Result<Password> {
    let prompt = |text| rpassword::prompt_password(text).map(SecretString::from).context("the terminal");
    let (first, again) = (prompt("New password: ")?, prompt("Again: ")?);
    if first.expose_secret() != again.expose_secret() {
        let message = "the two passwords differ; nothing was changed".to_owned();
        return Err(Usage { message, remedy: "try again" }.into());
    }
    Ok(Password(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::{SeededRng, SystemRng};

    #[test]
    fn the_first_line_is_the_password_with_its_spaces() {
        for input in ["a b \nmore", "a b \r\n", "a b "] {
            assert_eq!(first_line(input.as_bytes()).unwrap().0.expose_secret(), "a b ");
        }
        assert!(first_line("\nmore".as_bytes()).is_err());
        let other = first_line(&b"p\xe4ssword\n"[..]).err().unwrap();
        assert!(other.downcast_ref::<Usage>().is_some_and(|usage| usage.remedy.contains("UTF-8")), "{other}");
    }

    #[test]
    fn generated_passwords_are_24_characters_from_the_rng_given() {
        let one = generate(&SeededRng::new(1));
        assert_eq!(one.0.expose_secret().len(), 24);
        assert_eq!(one.0.expose_secret(), generate(&SeededRng::new(1)).0.expose_secret());
        assert_ne!(generate(&SystemRng).0.expose_secret(), generate(&SystemRng).0.expose_secret());
    }
}
