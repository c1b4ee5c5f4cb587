//! Which node is meant: a configuration file, a development folder, or both.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Usage;
use crate::config::development::Listeners;
use crate::config::{Config, read};

const DEFAULT: &str = "/etc/keepgate/config.toml";
/// Where `serve --dev` keeps its data if nothing else is said.
const DEV_FOLDER: &str = "keepgate-dev";

/// `--config` and `--data`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Place {
    /// Configuration file [default: $KEEPGATE_CONFIG, else /etc/keepgate/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder, in place of the configuration's `data_dir`. Without --config: a folder of
    /// `keepgate serve --dev`
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The configuration of the node that a command is for.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let data = self.data.as_ref().map(std::path::absolute).transpose()?;
        match (&self.config, data) {
            (None, Some(data)) => {
                // A mistyped folder must not become a new, empty node.
                let store = data.join("store");
                match std::fs::metadata(&store) {
                    // Someone else's node: the control socket says so, and who may come in.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                    looked => {
                        looked.with_context(|| {
                            format!(
                                "{} is not the data folder of a node: {}",
                                data.display(),
                                store.display()
                            )
                        })?;
                    }
                }
                Ok(Config::development(&data, &Listeners::default(), read::environment()?)?)
            }
            (_, data) => self.file(data),
        }
    }

    /// The configuration to serve with `--dev`. The folder is made if need be.
    pub(super) fn development(&self, listeners: &Listeners) -> anyhow::Result<Config> {
        if self.config.is_some() {
            let message = "--dev and --config exclude each other".to_owned();
            return Err(Usage { message, remedy: "leave one of them out" }.into());
        }
        let data = self.data.clone().unwrap_or_else(|| PathBuf::from(DEV_FOLDER));
        Ok(Config::development(&std::path::absolute(data)?, listeners, read::environment()?)?)
    }

    /// The configuration to serve without `--dev`, which always comes from a file.
    pub(super) fn served(&self) -> anyhow::Result<Config> {
        self.file(self.data.as_ref().map(std::path::absolute).transpose()?)
    }

    /// What reports call the configuration that [`Place::config`] gives.
    pub(super) fn name(&self) -> String {
        match (&self.config, &self.data) {
            (None, Some(data)) => format!("the development folder {}", data.display()),
            _ => self.file_name().display().to_string(),
        }
    }

    /// The file, and the data folder in place of the one it names.
    pub(super) fn file_and_data(&self) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
        Ok((self.file_name(), self.data.as_ref().map(std::path::absolute).transpose()?))
    }

    fn file_name(&self) -> PathBuf {
        let named = || std::env::var_os("KEEPGATE_CONFIG").map(PathBuf::from);
        self.config.clone().or_else(named).unwrap_or_else(|| PathBuf::from(DEFAULT))
    }

    fn file(&self, data: Option<PathBuf>) -> anyhow::Result<Config> {
        let mut config = read::load(&self.file_name())?;
        if let Some(data) = data {
            config.data_dir = data;
        }
        Ok(config)
    }
}
