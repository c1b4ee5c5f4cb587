//! Which node is meant: a configuration file, a development folder, or both.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::exit::Usage;
use crate::app::control::reply::{Code, Failure};
use crate::app::mark;
use crate::config::development::{self, Listeners};
use crate::config::probe::probe;
use crate::config::setting::{Origin, Setting};
use crate::config::survey::{survey, with_files};
use crate::config::{Config, DATA_DIR, read};

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
    #[arg(long, global = true, value_name = "DIR", visible_alias = "data-dir")]
    data: Option<PathBuf>,
}

impl Place {
    /// The configuration of the node that a command is for.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        match self.folder_alone()? {
            Some(data) => Ok(Config::development(&data, &Listeners::default(), read::environment()?)?),
            None => self.file(self.absolute_data()?),
        }
    }

    /// Whether [`Place::config`] is development's for want of a file: good for finding a daemon in the folder,
    /// whichever configuration that has, and for opening the folder only if no other does.
    pub(super) const fn is_assumed(&self) -> bool {
        self.config.is_none() && self.data.is_some()
    }

    /// Every key of [`Place::config`], and where it was set.
    pub(super) fn settings(&self) -> anyhow::Result<Vec<Setting>> {
        if let Some(data) = self.folder_alone()? {
            refuse_configured(&data)?;
            let mut settings = development::explain(&data, read::environment()?)?;
            set_by_argument(&mut settings, &data);
            return Ok(settings);
        }
        let file = self.file_name();
        let mut settings =
            read::explain(&read::text(&file)?, &file.display().to_string(), read::environment()?)?;
        if let Some(data) = self.absolute_data()? {
            set_by_argument(&mut settings, &data);
        }
        Ok(settings)
    }

    fn absolute_data(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(self.data.as_ref().map(std::path::absolute).transpose()?)
    }

    /// The development folder, if only that was given. It must be one: a mistyped name must not become
    /// a new, empty node.
    fn folder_alone(&self) -> anyhow::Result<Option<PathBuf>> {
        let (true, Some(data)) = (self.is_assumed(), self.absolute_data()?) else { return Ok(None) };
        let refuse = |message: String| Usage {
            message,
            remedy: "name the folder that `keepgate serve --dev` was given, or a configuration with --config",
        };
        match std::fs::metadata(data.join("store")) {
            Ok(store) if store.is_dir() => {}
            // Someone else's node: the control socket says so, and who may come in.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            _ => {
                let what = match std::fs::metadata(&data) {
                    Err(error) if error.kind() == ErrorKind::NotFound => "is not there",
                    Ok(found) if !found.is_dir() => "is a file, not the data folder of a node",
                    _ => "is not the data folder of a node: it has no folder `store`",
                };
                return Err(refuse(format!("{} {what}", data.display())).into());
            }
        }
        Ok(Some(data))
    }

    /// Where `init` puts a new node: its configuration and its data folder.
    pub(super) fn new_node(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        let data = self.absolute_data()?.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        Ok((std::path::absolute(self.file_name())?, data))
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

    /// As [`Place::config`], with all that is wrong with it on this machine.
    pub(super) fn surveyed(&self) -> anyhow::Result<Config> {
        if let Some(data) = self.folder_alone()? {
            refuse_configured(&data)?;
            return Ok(with_files(self.config()?, &self.name(), Vec::new(), probe)?);
        }
        let data = self.absolute_data()?;
        let arguments =
            |config: &mut Config| config.data_dir = data.unwrap_or_else(|| config.data_dir.clone());
        Ok(survey(&self.file_name(), arguments, probe)?)
    }

    /// The configuration file that is meant, if one is; a data folder alone means none.
    pub(super) fn named_file(&self) -> anyhow::Result<Option<PathBuf>> {
        if self.is_assumed() {
            return Ok(None);
        }
        Ok(Some(std::path::absolute(self.file_name())?))
    }

    /// What reports call the configuration that [`Place::config`] gives.
    pub(super) fn name(&self) -> String {
        match (&self.config, &self.data) {
            (None, Some(data)) => format!("the development folder {}", data.display()),
            _ => self.file_name().display().to_string(),
        }
    }

    /// Where the node's data is as far as that can be read, whatever else is wrong with the file.
    pub(super) fn data_dir(&self) -> anyhow::Result<Option<PathBuf>> {
        let named = self.absolute_data()?;
        Ok(named.or_else(|| read::data_dir(&self.file_name())))
    }

    /// The file, and the data folder in place of the one it names.
    pub(super) fn file_and_data(&self) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
        Ok((self.file_name(), self.absolute_data()?))
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

/// Development's configuration is nothing for a folder that another one serves.
pub(super) fn refuse_configured(data: &Path) -> Result<(), Failure> {
    let Some(kind) = mark::of(data) else { return Ok(()) };
    let message = format!(
        "{} is the data folder of a node with a configuration ({kind}), and nothing for development's",
        data.display()
    );
    let remedy = "name its configuration with --config FILE (`keepgate serve --config FILE` starts it), or another \
                  folder with --data";
    Err(Failure::new(Code::Refused, message).remedy(remedy))
}

fn set_by_argument(settings: &mut [Setting], data: &Path) {
    for setting in settings.iter_mut().filter(|setting| setting.key == "data_dir") {
        setting.value = Some(data.display().to_string().into());
        setting.origin = Origin::Argument("--data");
    }
}
