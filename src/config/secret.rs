//! Where a secret comes from: exactly one of a value, a file, an environment variable or a systemd
//! credential.

use std::path::PathBuf;

use secrecy::SecretString;

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
