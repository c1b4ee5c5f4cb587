//! What an operator asks of the keeper: each waits for its turn, after whatever is due.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio::sync::oneshot;

use super::account::on_disk;
use super::failure::{Failure, Why};
use super::keeper::Keeper;
use super::store::Id;
use super::work::{Closing, Stopped, conversation};
use crate::audit::draft::Draft;
use crate::config::acme::Acme;
use crate::model::caller::Actor;
use crate::model::certificate::RevocationReason;
use crate::model::event::{Intent, Outcome};
use crate::model::time::Timestamp;

/// Something an operator wants of one certificate.
pub(super) struct Ask {
    name: String,
    what: What,
    actor: Actor,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

#[derive(Clone, Copy)]
enum What {
    Renew,
    Revoke(RevocationReason),
}

/// Why a command was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum Refusal {
    /// There is no such certificate.
    #[error("no certificate of [tls.acme] is for {name}")]
    Unknown { name: String },
    /// It was not issued yet.
    #[error("the certificate for {name} was not issued yet")]
    NotIssued { name: String },
    /// Too much failed lately.
    #[error("too many orders for {name} failed within the last hour; the next may be made at {at}")]
    Limited { name: String, at: Timestamp },
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// The node closes, or has too many commands waiting.
    #[error("orders are not taken now")]
    Unavailable,
}

impl Keeper {
    /// Orders a certificate anew, now. Resolves when it is in use, or the order has failed.
    pub async fn renew(&self, name: String, actor: Actor) -> Result<(), Refusal> {
        self.ask(name, What::Renew, actor).await
    }

    /// Has a certificate revoked. It is served no longer, and another is ordered.
    pub async fn revoke(&self, name: String, reason: RevocationReason, actor: Actor) -> Result<(), Refusal> {
        self.ask(name, What::Revoke(reason), actor).await
    }

    async fn ask(&self, name: String, what: What, actor: Actor) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asks.try_send(Ask { name: name.to_ascii_lowercase(), what, actor, reply });
        asked.map_err(|_| Refusal::Unavailable)?;
        answer.await.unwrap_or(Err(Refusal::Unavailable))
    }

    /// Does what was asked.
    pub(super) async fn answer(&self, ask: Ask, stopped: &Stopped) -> Result<(), Closing> {
        let Ask { name, what, actor, reply } = ask;
        let done = match self.find(&name) {
            None => Err(Refusal::Unknown { name }),
            Some((acme, names, id)) => {
                let certificate = (names.as_slice(), &id);
                match what {
                    What::Renew => self.renew_now(&acme, certificate, (name, actor), stopped).await?,
                    What::Revoke(reason) => {
                        self.revoke_now(&acme, certificate, (name, reason, actor), stopped).await?
                    }
                }
            }
        };
        // Whoever asked may have gone.
        let _ = reply.send(done);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(Acme, Vec<String>, Id)> {
        let acme = self.certificates.acme()?;
        let names = acme.certificates.iter().find(|names| names.iter().any(|known| known == name))?.clone();
        let id = Id::of(&names, &acme.directory);
        Some((acme, names, id))
    }

    async fn renew_now(
        &self,
        acme: &Acme,
        certificate: (&[String], &Id),
        (name, actor): (String, Actor),
        stopped: &Stopped,
    ) -> Result<Result<(), Refusal>, Closing> {
        let now = self.clock.now();
        let at = self.record(certificate.1).room(now);
        if at > now {
            return Ok(Err(Refusal::Limited { name, at }));
        }
        let ordered = self.order(acme, certificate, actor, stopped).await?;
        Ok(ordered.map_err(|failure| Refusal::Failed(failure.to_string())))
    }

    async fn revoke_now(
        &self,
        acme: &Acme,
        (names, id): (&[String], &Id),
        (name, reason, actor): (String, RevocationReason, Actor),
        stopped: &Stopped,
    ) -> Result<Result<(), Refusal>, Closing> {
        let Some(served) = self.current(names, &acme.directory) else {
            return Ok(Err(Refusal::NotIssued { name }));
        };
        // Before the CA is asked: whatever then happens to this node, what is revoked will be replaced.
        let before = self.record(id);
        let mut record = before.clone();
        record.revoking(served.life.until, self.clock.now());
        self.keep(id, record).await;
        let revoked = conversation(stopped, self.revoke_at_ca(acme, &served.leaf, reason)).await?;
        let draft = Draft::new(
            Intent::CertificateRevoke,
            if revoked.is_ok() { Outcome::Granted } else { Outcome::Failed },
        );
        let reason = revoked.as_ref().map_or_else(|failure| failure.why.word(), |()| word(reason));
        self.put_on_record(draft.by(actor).target(names.first().map_or("", String::as_str)).reason(reason))
            .await;
        if let Err(failure) = revoked {
            // If the answer was lost it may be revoked: another is ordered then.
            if !matches!(failure.why, Why::Unreachable | Why::Unusable) {
                self.keep(id, before).await;
            }
            return Ok(Err(Refusal::Failed(failure.to_string())));
        }
        tracing::warn!(?names, reason, "a certificate was revoked; another is ordered");
        let (store, certificates) = (self.store().clone(), Arc::clone(&self.certificates));
        let forgetting = names.to_vec();
        let forgotten = on_disk(move || store.forget_certificate(&forgetting)).await;
        // It is served no longer, even if its file could not be removed.
        let reread = tokio::task::spawn_blocking(move || certificates.reread()).await;
        let failed = [
            forgotten
                .err()
                .map(|error| format!("it is revoked, and served no longer, but still on disk: {error}")),
            reread.map_or_else(
                |error| Some(error.to_string()),
                |reread| reread.err().map(|error| error.to_string()),
            ),
        ];
        Ok(failed.into_iter().flatten().next().map_or(Ok(()), |why| Err(Refusal::Failed(why))))
    }

    async fn revoke_at_ca(
        &self,
        acme: &Acme,
        leaf: &CertificateDer<'_>,
        reason: RevocationReason,
    ) -> Result<(), Failure> {
        use instant_acme::RevocationReason as Theirs;
        let reason = match reason {
            RevocationReason::Unspecified => Theirs::Unspecified,
            RevocationReason::KeyCompromise => Theirs::KeyCompromise,
            RevocationReason::AffiliationChanged => Theirs::AffiliationChanged,
            RevocationReason::Superseded => Theirs::Superseded,
            RevocationReason::CessationOfOperation => Theirs::CessationOfOperation,
        };
        let customer = self.desk.customer(acme).await?;
        self.desk.revoke(&customer, leaf, reason).await
    }
}

fn word(reason: RevocationReason) -> &'static str {
    RevocationReason::WORDS.iter().find(|(_, known)| *known == reason).map_or("", |(word, _)| word)
}
