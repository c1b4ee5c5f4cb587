//! Which kind of place a data folder belongs to, said by a small file in it, so that `serve --dev` does not
//! open production's stores to everybody by a mistyped name.
//!
//! Written whenever a node of a configuration that is not for development has opened the folder, `init`'s first
//! start included. Folders of development have none: what was made by hand, or by an older Keepgate, must
//! not be refused for want of a file.

use std::io::{self, Read as _};
use std::path::Path;

use crate::config::{Config, Environment};
use crate::files;

/// In the data folder; one word.
const FILE: &str = "environment";
/// Longest word that is read, bytes.
const LONGEST: u64 = 32;

/// Says in the data folder whose it is. Call it while holding the folder's lock, once the node is open. Where it
/// cannot be written, on a full disk for example, the node runs all the same.
pub(in crate::app) fn write(config: &Config) {
    let name = config.environment.name();
    let path = config.data_dir.join(FILE);
    let written = || {
        if config.environment == Environment::Development || read(&path)?.as_deref() == Some(name) {
            return Ok(());
        }
        files::write(&path, &format!("{name}\n"), 0o600)
    };
    if let Err(error) = written() {
        tracing::warn!(
            path = %path.display(),
            %error,
            "cannot write whose the data folder is: until the next start, `serve --dev` would open it too"
        );
    }
}

/// The kind of place that this folder was last opened for, if that was not development. A folder that is not
/// there or cannot be read is none: whoever opens it next says what is wrong with it.
pub fn of(data_dir: &Path) -> Option<&'static str> {
    let found = read(&data_dir.join(FILE)).ok().flatten()?;
    let known = [Environment::Stage, Environment::Production].into_iter().map(Environment::name);
    // Whatever else stands there was not written by a development node either.
    Some(known.into_iter().find(|name| *name == found).unwrap_or("another kind of place"))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::development::Listeners;

    #[test]
    fn a_folder_is_production_s_from_when_production_opened_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
        write(&config);
        assert_eq!(of(folder.path()), None);
        for environment in [Environment::Stage, Environment::Production] {
            config.environment = environment;
            write(&config);
            assert_eq!(of(folder.path()), Some(environment.name()));
        }
        config.environment = Environment::Development;
        write(&config);
        assert_eq!(of(folder.path()), Some("production"), "development takes nothing back");
        std::fs::write(folder.path().join(FILE), "x").unwrap();
        assert_eq!(of(folder.path()), Some("another kind of place"));
    }
}
