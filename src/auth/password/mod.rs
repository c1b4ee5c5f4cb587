//! Passwords: what a new one must be, how it is hashed, and within which budget.
//!
//! Plaintext comes in as a `SecretString`, is normalised, and leaves only as a PHC string. Nothing
//! here knows accounts or stores; whoever verifies decides what the answer means.

mod common;
pub mod hash;
pub mod policy;
pub mod pool;

use std::sync::Arc;
use std::time::Duration;

use icu_normalizer::ComposingNormalizerBorrowed;
use secrecy::{ExposeSecret, SecretString};

use hash::{HashError, Parameters, Stored};
use policy::Policy;
use pool::{HashingPool, Line, PoolError};

use super::error::{AuthError, FieldError};
use crate::config;
use crate::model::account::PasswordHash;
use crate::model::email::Email;
use crate::model::random::SharedRng;
use crate::model::unavailable::Unavailable;
use crate::observe::identity::IdentityMeters;

/// The hashing threads could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// The configured parameters are not argon2id's.
    #[error(transparent)]
    Parameters(#[from] HashError),
    /// The operating system gave no threads.
    #[error("the hashing threads could not be started: {0}")]
    Threads(#[from] std::io::Error),
}

/// How a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Not the password, or there is none to compare with.
    Wrong,
    /// The password.
    Right {
        /// The hash was made with weaker parameters than are configured now.
        outgrown: bool,
    },
}

/// Checks, hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    policy: Policy,
    parameters: Arc<Parameters>,
    decoy: Arc<Stored>,
    pool: HashingPool,
    rng: SharedRng,
    retry_after: Duration,
}

impl Passwords {
    /// Starts the hashing threads.
    ///
    /// # Errors
    /// [`PasswordsError`] if the parameters are none of argon2id or there are no threads to be had.
    pub fn start(
        accounts: &config::accounts::Accounts,
        passwords: &config::passwords::Passwords,
        rng: SharedRng,
        meters: Arc<IdentityMeters>,
    ) -> Result<Self, PasswordsError> {
        let parameters = Parameters::new(passwords)?;
        Ok(Self {
            policy: Policy::new(accounts),
            decoy: Arc::new(parameters.decoy(&*rng)),
            pool: HashingPool::start(passwords, parameters.blocks(), meters)?,
            parameters: Arc::new(parameters),
            rng,
            retry_after: passwords.queue_timeout.max(Duration::from_secs(1)),
        })
    }

    /// The same, in the line of those who are known: see [`pool`].
    pub fn for_known(&self) -> Self {
        Self { pool: self.pool.in_line(Line::Known), ..self.clone() }
    }

    /// The rules that a new password breaks, as faults of `field`; none if it is good.
    pub fn faults(
        &self,
        field: &'static str,
        password: &SecretString,
        email: Option<&Email>,
    ) -> Vec<FieldError> {
        self.policy.faults(field, normalised(password).expose_secret(), email)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] past the budget, [`AuthError::Internal`] if hashing fails.
    pub async fn hash(&self, password: &SecretString) -> Result<PasswordHash, AuthError> {
        let (password, salt) = (normalised(password), Parameters::salt(&*self.rng));
        let parameters = Arc::clone(&self.parameters);
        self.pool
            .run(move |arena| parameters.hash(password.expose_secret().as_bytes(), salt, arena))
            .await
            .map_err(|error| self.refused(error))?
            .map_err(|_| AuthError::Internal("the password could not be hashed"))
    }

    /// Whether a hash from elsewhere can be verified here, at a bearable cost.
    ///
    /// # Errors
    /// [`HashError::Incoming`] or [`HashError::Costly`] if not.
    pub fn usable(&self, hash: &PasswordHash) -> Result<(), HashError> {
        self.parameters.incoming(hash)
    }

    /// Verifies a password against a stored hash; without one, or with one that cannot be read,
    /// does the same work for nothing, and the rest of it after a cheaper one, so that the time does not tell
    /// which accounts exist.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] past the budget, [`AuthError::Internal`] if hashing fails.
    pub async fn verify(
        &self,
        password: &SecretString,
        stored: Option<&PasswordHash>,
    ) -> Result<Verification, AuthError> {
        let stored =
            stored.filter(|stored| !stored.is_none()).and_then(|stored| match self.parameters.read(stored) {
                Ok(stored) => Some(stored),
                Err(error) => {
                    tracing::error!(%error, "an account cannot log in until its password is set anew");
                    None
                }
            });
        let real = stored.is_some();
        let stored = stored.unwrap_or_else(|| Stored::clone(&self.decoy));
        let outgrown = self.parameters.outgrow(&stored);
        let password = normalised(password);
        let parameters = Arc::clone(&self.parameters);
        let matches = self
            .pool
            .run(move |arena| parameters.verify(&stored, password.expose_secret().as_bytes(), arena))
            .await
            .map_err(|error| self.refused(error))?
            .map_err(|_| AuthError::Internal("the password could not be verified"))?;
        Ok(if matches && real { Verification::Right { outgrown } } else { Verification::Wrong })
    }

    fn refused(&self, error: PoolError) -> AuthError {
        match error {
            PoolError::Overloaded => Unavailable::Overloaded { retry_after: self.retry_after }.into(),
            PoolError::Failed => AuthError::Internal("password hashing failed"),
        }
    }
}

/// NFKC (NIST SP 800-63B-4 §3.1.1.2): one password typed on two keyboards is one string of bytes.
fn normalised(password: &SecretString) -> SecretString {
    SecretString::from(
        ComposingNormalizerBorrowed::new_nfkc().normalize(password.expose_secret()).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;

    fn passwords(memory_kib: u32) -> Passwords {
        let config = config::passwords::Passwords {
            memory_kib,
            iterations: 1,
            threads: 1,
            ..config::passwords::Passwords::default()
        };
        let accounts = config::accounts::Accounts::default();
        Passwords::start(&accounts, &config, Arc::new(SeededRng::new(1)), Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn two_spellings_of_one_password_are_one() {
        let passwords = passwords(8);
        let hash = passwords.hash(&"caf\u{e9} au lait, ﬁn".into()).await.unwrap();
        let other = passwords.verify(&"cafe\u{301} au lait, fin".into(), Some(&hash)).await.unwrap();
        assert_eq!(other, Verification::Right { outgrown: false });
    }

    #[tokio::test]
    async fn raised_parameters_flag_an_old_hash() {
        let hash = passwords(8).hash(&"correct horse".into()).await.unwrap();
        let verdict = passwords(16).verify(&"correct horse".into(), Some(&hash)).await.unwrap();
        assert_eq!(verdict, Verification::Right { outgrown: true });
    }

    #[tokio::test]
    async fn no_hash_and_an_unreadable_hash_are_wrong_passwords() {
        let passwords = passwords(8);
        let broken = PasswordHash("$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned());
        for stored in [None, Some(&broken)] {
            assert_eq!(passwords.verify(&"x".into(), stored).await.unwrap(), Verification::Wrong);
        }
    }
}
