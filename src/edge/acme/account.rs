//! The account at a CA: opened, or made once for each directory and written down.
//!
//! A key that the CA knows and nobody has written is an account lost, of which a CA gives few, and with it
//! an external account's key that may be used once. So nothing is asked before the folder took a probe,
//! and a conversation that is cut does not cut the making.

use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use zeroize::Zeroizing;

use super::client::Client;
use super::failure::{Failure, Why};
use super::order::Desk;
use super::store::{Credentials, KeptAccount, StoreError};
use crate::config::acme::Acme;

/// An account at a CA, and the client that speaks for it.
pub struct Customer {
    pub(super) account: Account,
    pub(super) client: Client,
}

impl Desk {
    /// Opens the account at the configured directory, or makes one there. Without one there are no
    /// certificates at all: a failure is everybody's.
    pub async fn customer(&self, acme: &Acme) -> Result<Customer, Failure> {
        let ca = acme.directory_ca.as_deref();
        let client = Client::new(ca, self.provider.clone(), self.clock.clone())
            .map_err(|error| Failure::new(Why::Setup, error).for_all())?;
        match self.open(acme, &client).await {
            Ok(account) => Ok(Customer { account, client }),
            Err(failure) => Err(failure.after(client.take_retry_after()).for_all()),
        }
    }

    async fn open(&self, acme: &Acme, client: &Client) -> Result<Account, Failure> {
        let kept = self.store.account(&acme.directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "the account at the CA cannot be read; another is made");
            None
        });
        let Some(mut kept) = kept else {
            self.probe().await?;
            let making = self.clone().make(acme.clone(), client.clone());
            let made = tokio::spawn(making).await;
            return made.unwrap_or_else(|error| Err(Failure::new(Why::Setup, error)));
        };
        let builder = Account::builder_with_http(Box::new(client.clone()));
        let account = builder.from_credentials(credentials(&kept.credentials)?).await?;
        if kept.contact != acme.contact {
            let contact = contact(acme);
            account.update_contacts(&contact.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            kept.contact.clone_from(&acme.contact);
            self.keep(kept).await?;
        }
        Ok(account)
    }

    async fn make(self, acme: Acme, client: Client) -> Result<Account, Failure> {
        let _making = self.making.lock().await;
        let external = acme.external_account.as_ref().map(|external| {
            let key = external.mac_key().map_err(|error| Failure::new(Why::Setup, error))?;
            Ok::<_, Failure>(ExternalAccountKey::new(external.kid.clone(), &key))
        });
        let external = external.transpose()?;
        let contact = contact(&acme);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(client));
        let (account, credentials) = builder.create(&new, acme.directory.clone(), external.as_ref()).await?;
        let written = Zeroizing::new(serde_json::to_string(&credentials).map_err(Error::Json)?);
        let credentials: Credentials = serde_json::from_str(&written).map_err(Error::Json)?;
        self.keep(KeptAccount { contact: acme.contact, credentials }).await?;
        tracing::info!(directory = acme.directory, account = account.id(), "an account was made at the CA");
        Ok(account)
    }

    async fn keep(&self, account: KeptAccount) -> Result<(), Failure> {
        let store = self.store.clone();
        on_disk(move || store.keep_account(&account)).await
    }

    /// Whether what the CA is about to send can be kept.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let store = self.store.clone();
        on_disk(move || store.probe()).await
    }
}

/// Work with the folder, which waits for the disk: not on a thread that others need.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Failure::new(Why::Setup, error)),
        Err(error) => Err(Failure::new(Why::Setup, error)),
    }
}

fn contact(acme: &Acme) -> Vec<String> {
    acme.contact.iter().map(|address| format!("mailto:{address}")).collect()
}

fn credentials(kept: &Credentials) -> Result<AccountCredentials, Failure> {
    let text = Zeroizing::new(serde_json::to_string(kept).map_err(Error::Json)?);
    Ok(serde_json::from_str(&text).map_err(Error::Json)?)
}
