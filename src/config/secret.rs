//! Where a secret comes from: exactly one of a value, a file, an environment variable or a systemd
//! credential; and reading it from there.
//!
//! A file that others can read is refused: a secret that has been readable must be thought known.
//! Errors name the source, never the content. What is read on the way is wiped.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Longest secret, bytes: a PEM bundle fits.
const LONGEST: u64 = 64 * 1024;

/// One source of one secret.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// `key = { value = "…" }`: refused in production.
    Value(SecretString),
    /// `key = { file = "/…" }`: must not be readable by others.
    File(PathBuf),
    /// `key = { env = "NAME" }`
    Env(String),
    /// `key = { credential = "NAME" }`: `$CREDENTIALS_DIRECTORY/NAME` (systemd `LoadCredential=`).
    Credential(String),
}

/// Whether two sources are the same: of the same kind, by the same name or value.
pub fn same(one: &SecretSource, other: &SecretSource) -> bool {
    match (one, other) {
        (SecretSource::Value(one), SecretSource::Value(other)) => {
            one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
        }
        (SecretSource::File(one), SecretSource::File(other)) => one == other,
        (SecretSource::Env(one), SecretSource::Env(other))
        | (SecretSource::Credential(one), SecretSource::Credential(other)) => one == other,
        _ => false,
    }
}

/// A secret could not be had from its source.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the owner can read the file, or it belongs to someone else.
    #[error(
        "{path} can be read by others (mode {mode:03o}, owner {owner}): chown it to the user that runs \
             keepgate, `chmod 600` it, and replace the secret if anyone else may have seen it"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's user id.
        owner: u32,
    },
    /// The environment variable is not set or not UTF-8.
    #[error("the environment variable {0} is not set to a text")]
    NoVariable(String),
    /// The process was given no credentials, or the name is not one.
    #[error("no systemd credential {0}: add LoadCredential={0}:/PATH to the unit, and start through systemd")]
    NoCredential(String),
    /// Empty, longer than 64 KiB, or not UTF-8.
    #[error("the secret from {0} is {1}")]
    Unusable(String, &'static str),
}

impl SecretSource {
    /// Reads the secret. One newline at the end is dropped, as editors and `echo` leave one.
    pub fn resolve(&self) -> Result<SecretString, SecretError> {
        self.resolve_in(&|name| std::env::var_os(name))
    }

    fn resolve_in(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => read(path, Guarded::ByMode),
            Self::Env(name) => {
                let text = environment(name).and_then(|value| value.into_string().ok());
                let text = Zeroizing::new(text.ok_or_else(|| SecretError::NoVariable(name.clone()))?);
                trimmed(&text, name)
            }
            Self::Credential(name) => {
                let plain = !name.contains('/') && name != "." && name != "..";
                let folder = environment("CREDENTIALS_DIRECTORY").filter(|_| plain);
                let folder = folder.ok_or_else(|| SecretError::NoCredential(name.clone()))?;
                // systemd owns the folder and its modes; a group bit there is its own doing.
                read(&Path::new(&folder).join(name), Guarded::BySystemd)
            }
        }
    }
}

/// Who keeps others from reading a file.
enum Guarded {
    ByMode,
    BySystemd,
}

fn read(path: &Path, guarded: Guarded) -> Result<SecretString, SecretError> {
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    // Of the opened file, not of the path: nobody can swap it in between.
    let meta = file.metadata().map_err(io)?;
    let name = path.display().to_string();
    if !meta.is_file() {
        return Err(SecretError::Unusable(name, "not in a regular file"));
    }
    let ours = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
    if matches!(guarded, Guarded::ByMode) && (meta.mode() & 0o077 != 0 || !ours) {
        let (mode, owner) = (meta.mode() & 0o777, meta.uid());
        return Err(SecretError::Exposed { path: path.to_owned(), mode, owner });
    }
    // The whole capacity at once, so that no growing leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(LONGEST + 1).unwrap_or_default()));
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(io)?;
    trimmed(&text, &name)
}

fn trimmed(text: &str, name: &str) -> Result<SecretString, SecretError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.len() as u64 {
        0 => Err(SecretError::Unusable(name.to_owned(), "empty")),
        1..=LONGEST => Ok(SecretString::from(line)),
        _ => Err(SecretError::Unusable(name.to_owned(), "longer than 64 KiB")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_private_file_gives_its_line_without_the_newline() {
        for content in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let (_dir, path) = file(content.as_bytes(), 0o600);
            assert_eq!(SecretSource::File(path).resolve().unwrap().expose_secret(), "s3cret");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_without_showing_it() {
        for mode in [0o640, 0o604, 0o610, 0o644] {
            let (_dir, path) = file(b"s3cret", mode);
            let error = SecretSource::File(path).resolve().unwrap_err();
            assert!(matches!(error, SecretError::Exposed { .. }), "{mode:o}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_credential_is_found_in_the_folder_systemd_names_and_nowhere_else() {
        let (dir, _) = file(b"s3cret\n", 0o640);
        let folder = dir.path().as_os_str().to_owned();
        let environment = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| folder.clone());
        let credential = |name: &str| SecretSource::Credential(name.into()).resolve_in(&environment);
        assert_eq!(credential("secret").unwrap().expose_secret(), "s3cret");
        let escape = format!("../{}/secret", dir.path().file_name().unwrap().to_str().unwrap());
        assert!(matches!(credential(&escape), Err(SecretError::NoCredential(_))));
        let none = SecretSource::Credential("secret".into()).resolve_in(&|_| None);
        assert!(matches!(none, Err(SecretError::NoCredential(_))));
    }

    #[test]
    fn empty_oversized_and_missing_secrets_are_refused() {
        let (_a, empty) = file(b"\n", 0o600);
        let (_b, long) = file(&[b'x'; 70_000], 0o600);
        let (dir, _) = file(b"", 0o600);
        for path in [empty, long, dir.path().to_owned(), dir.path().join("none")] {
            assert!(SecretSource::File(path.clone()).resolve().is_err(), "{}", path.display());
        }
        let unset = SecretSource::Env("KG_NONE".into()).resolve_in(&|_| None);
        assert!(matches!(unset, Err(SecretError::NoVariable(_))));
    }

    #[test]
    fn debug_hides_a_value() {
        assert!(!format!("{:?}", SecretSource::Value("s3cret".into())).contains("s3cret"));
    }
}
