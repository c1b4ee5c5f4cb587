//! The first administrator of a development folder, so that there is somebody to log in as. In
//! production nobody is made up: `keepgate user add --role admin` does it on purpose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use super::core::Core;
use super::error::AppError;
use super::ready::FirstAdministrator;
use crate::auth::accounts::NewAccount;
use crate::config::Environment;
use crate::model::caller::{Actor, Origin};
use crate::model::id::RequestId;
use crate::model::random;
use crate::model::role::Role;

/// Its address.
const EMAIL: &str = "admin@localhost.localdomain";

/// Makes the administrator if this is development and there is no account yet.
pub(in crate::app) async fn make(core: &Core) -> Result<Option<FirstAdministrator>, AppError> {
    let accounts = &core.auth.accounts;
    let empty = accounts.list(None, 1).map_err(AppError::FirstAdministrator)?.is_empty();
    if core.config.environment != Environment::Development || !empty {
        return Ok(None);
    }
    let password = SecretString::from(URL_SAFE_NO_PAD.encode(random::bytes::<18>(&*core.rng)));
    let new = NewAccount {
        email: EMAIL.to_owned(),
        password: password.clone(),
        name: "Administrator".to_owned(),
        roles: [Role::admin()].into(),
    };
    let request = RequestId::new(core.clock.now(), &*core.rng);
    let origin = Origin { request, address: None, user_agent: String::new() };
    accounts.create(new, Actor::System, &origin).await.map_err(AppError::FirstAdministrator)?;
    Ok(Some(FirstAdministrator { email: EMAIL.to_owned(), password }))
}
