//! Where the master key comes from: the configured secret, or `master.key` in the data folder,
//! made at the first start (0600).
//!
//! A new key is made only where nothing is sealed yet: a file that went missing must be noticed,
//! not replaced by one that opens nothing. Whoever calls holds the data folder's lock, so that no
//! two processes make one.

use std::io;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use crate::config::keys::Keys;
use crate::config::secret::{SecretError, SecretSource};
use crate::files;
use crate::model::master_key::{InvalidMasterKey, MasterKey};
use crate::model::random::Rng;

/// The file's name in the data folder.
const FILE: &str = "master.key";

/// The master key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Its source could not be read, or others can read it.
    #[error("the master key: {0}")]
    Source(#[from] SecretError),
    /// The source holds something else.
    #[error("the master key from {from}: {source}")]
    Invalid {
        /// Where it came from.
        from: String,
        /// What is wrong.
        source: InvalidMasterKey,
    },
    /// It is gone, and what it sealed is still there.
    #[error(
        "{0} is missing, but signing keys in this data folder are sealed with it: bring the file back \
         from where you keep it; a new one could not open them"
    )]
    Missing(PathBuf),
    /// A new one could not be written.
    #[error("the master key {path} could not be written: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the master key, or makes one at the first start: when none is configured, the file is not
/// there, and nothing is sealed yet (`sealed` is false).
pub fn load(
    config: &Keys,
    data_dir: &Path,
    sealed: bool,
    rng: &dyn Rng,
) -> Result<MasterKey, MasterKeyError> {
    if let Some(source) = &config.master_key {
        return read(source, "keys.master_key");
    }
    let path = data_dir.join(FILE);
    match path.try_exists() {
        Ok(true) => read(&SecretSource::File(path.clone()), &path.display().to_string()),
        Ok(false) if sealed => Err(MasterKeyError::Missing(path)),
        Ok(false) => {
            let key = MasterKey::generate(rng);
            files::write(&path, &format!("{}\n", *key.to_base64()), 0o600)
                .map_err(|source| MasterKeyError::Io { path, source })?;
            Ok(key)
        }
        Err(source) => Err(MasterKeyError::Source(SecretError::Io { path, source })),
    }
}

fn read(source: &SecretSource, from: &str) -> Result<MasterKey, MasterKeyError> {
    let secret = source.resolve()?;
    MasterKey::from_base64(secret.expose_secret().trim())
        .map_err(|source| MasterKeyError::Invalid { from: from.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::SecretString;

    use super::*;
    use crate::model::random::SeededRng;

    fn load_in(folder: &Path, sealed: bool) -> Result<MasterKey, MasterKeyError> {
        load(&Keys::default(), folder, sealed, &SeededRng::new(1))
    }

    #[test]
    fn the_first_start_makes_a_key_that_only_the_owner_can_read_and_the_second_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = load_in(folder.path(), false).unwrap();
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_in(folder.path(), true).unwrap().to_base64(), made.to_base64());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        load_in(folder.path(), false).unwrap();
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(folder.path().join(FILE), fs::Permissions::from_mode(mode)).unwrap();
            let error = load_in(folder.path(), true).unwrap_err();
            assert!(matches!(error, MasterKeyError::Source(SecretError::Exposed { .. })), "{error}");
        }
    }

    #[test]
    fn a_key_that_went_missing_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_in(folder.path(), true).unwrap_err();
        assert!(matches!(error, MasterKeyError::Missing(_)), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_draft_left_by_a_crash_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("master.key.new"), "half").unwrap();
        load_in(folder.path(), false).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_configured_key_is_used_and_a_wrong_one_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let configured = |text: &str| {
            let source = SecretSource::Value(SecretString::from(text));
            let config = Keys { master_key: Some(source), ..Keys::default() };
            load(&config, folder.path(), false, &SeededRng::new(1))
        };
        let key = MasterKey::generate(&SeededRng::new(7)).to_base64();
        assert_eq!(configured(&key).unwrap().to_base64(), key);
        let error = configured("hunter2").unwrap_err().to_string();
        assert!(error.contains("keys.master_key") && !error.contains("hunter2"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
