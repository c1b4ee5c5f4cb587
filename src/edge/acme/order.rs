//! One order from the account to the chain (RFC 8555 §7.1): account → order → challenges → finalize →
//! certificate. What the CA sends is checked against what was asked for before anybody sees it.
//!
//! It keeps nothing: the account is [`super::account`]'s business, and what becomes of a certificate
//! [`super::keeper`]'s.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::account::Customer;
use super::challenges::{Challenges, Shown};
use super::failure::{Failure, Why};
use super::store::Store;
use super::when::Span;
use crate::config::acme::{Acme, Challenge};
use crate::edge::certificates::book::validity_and_names;
use crate::edge::certificates::parse_chain;
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;

/// How long the CA may look at the challenges, and later take for issuing.
const POLL: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120)).backoff(1.5);
/// Most certificates of a chain.
const LONGEST_CHAIN: usize = 8;

/// A certificate that was issued and checked.
pub struct Issued {
    /// PEM.
    pub key: Zeroizing<String>,
    /// PEM, leaf first.
    pub chain: String,
    /// Its validity.
    pub life: Span,
}

/// What orders are made with.
#[derive(Clone)]
pub struct Desk {
    /// Where accounts are kept.
    pub store: Store,
    /// Where challenges are shown.
    pub challenges: Arc<Challenges>,
    /// Cryptography.
    pub provider: Arc<CryptoProvider>,
    /// The time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// Held while an account is made and written down.
    pub making: Arc<tokio::sync::Mutex<()>>,
}

impl Desk {
    /// Orders a certificate for these names in place of that one, if there is one and the CA wants to
    /// know (RFC 9773 §5).
    pub async fn order(
        &self,
        acme: &Acme,
        customer: &Customer,
        names: &[String],
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<Issued, Failure> {
        self.probe().await?;
        let ordered = self.run(acme, &customer.account, names, replaces).await;
        ordered.map_err(|failure| failure.after(customer.client.take_retry_after()))
    }

    async fn run(
        &self,
        acme: &Acme,
        account: &Account,
        names: &[String],
        replaces: Option<&CertificateDer<'_>>,
    ) -> Result<Issued, Failure> {
        let identifiers: Vec<_> = names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = begin(account, &identifiers, replaces).await?;
        // Shown until the order is through.
        let shown = self.show(acme, names, &mut order).await?;
        let status = match order.state().status {
            status @ (OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid) => status,
            _ => order.poll_ready(&POLL).await.unwrap_or(OrderStatus::Invalid),
        };
        if status != OrderStatus::Ready {
            return Err(refusal(&mut order).await);
        }
        drop(shown);
        let key = KeyPair::generate().map_err(|error| Failure::new(Why::Setup, error))?;
        order.finalize_csr(&signing_request(names, &key)?).await?;
        let chain = order.poll_certificate(&POLL).await?;
        let (life, chain) = check(&chain, &key, names, &self.provider)?;
        if life.until <= self.clock.now() {
            return Err(Failure::new(Why::Unusable, "the certificate has run out already"));
        }
        Ok(Issued { key: Zeroizing::new(key.serialize_pem()), chain, life })
    }

    /// Shows the answer to each challenge and tells the CA to look.
    async fn show(&self, acme: &Acme, names: &[String], order: &mut Order) -> Result<Vec<Shown>, Failure> {
        let kind = match acme.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // It was shown lately, and need not be shown again.
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization.challenge(kind.clone()).ok_or_else(|| {
                let kind = acme.challenge.name();
                Failure::new(Why::Refused, format!("the CA offers no {kind}: set another tls.acme.challenge"))
            })?;
            let name = challenge.identifier().to_string();
            if !names.contains(&name) {
                return Err(Failure::new(
                    Why::Unusable,
                    format!("the CA asks about {name}, which was not ordered"),
                ));
            }
            let text = challenge.key_authorization();
            shown.push(match acme.challenge {
                Challenge::Http01 => self
                    .challenges
                    .show_text(&challenge.token, text.as_str())
                    .ok_or_else(|| Failure::new(Why::Unusable, "the CA's token is not base64url"))?,
                Challenge::TlsAlpn01 => {
                    let digest = <[u8; 32]>::try_from(text.digest().as_ref())
                        .map_err(|_| Failure::new(Why::Unusable, "a digest of another length"))?;
                    let making = (self.clock.now(), &*self.rng);
                    let made = self.challenges.show_certificate(&name, &digest, &self.provider, making);
                    made.map_err(|error| Failure::new(Why::Setup, error))?
                }
            });
            challenge.set_ready().await?;
        }
        Ok(shown)
    }

    /// Revokes a certificate; the reason is one of RFC 5280 §5.3.1.
    pub async fn revoke(
        &self,
        customer: &Customer,
        certificate: &CertificateDer<'_>,
        reason: instant_acme::RevocationReason,
    ) -> Result<(), Failure> {
        let request = instant_acme::RevocationRequest { certificate, reason: Some(reason) };
        let revoked = match customer.account.revoke(&request).await {
            // By us, and the answer was lost, or by somebody else who has its key.
            Err(Error::Api(problem)) if kind(&problem) == "alreadyRevoked" => Ok(()),
            revoked => revoked,
        };
        revoked.map_err(|error| Failure::from(error).after(customer.client.take_retry_after()))
    }

    /// When the CA would have a certificate renewed, and how long that holds; `None` if it does not say
    /// such things at all, or cannot be asked about this one, which does not name its issuer's key.
    pub async fn suggestion(
        &self,
        customer: &Customer,
        certificate: &CertificateDer<'_>,
    ) -> Result<Option<(Span, Duration)>, Failure> {
        let Ok(id) = CertificateIdentifier::try_from(certificate) else { return Ok(None) };
        let (info, wait) = match customer.account.renewal_info(&id).await {
            Err(Error::Unsupported(_)) => return Ok(None),
            asked => asked?,
        };
        let at = |time: time::OffsetDateTime| {
            crate::model::time::Timestamp::from_millis(time.unix_timestamp().saturating_mul(1000))
        };
        let window = Span { from: at(info.suggested_window.start), until: at(info.suggested_window.end) };
        Ok(Some((window, wait)))
    }
}

/// The last word of a problem's type (RFC 8555 §6.7).
fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or_default()
}

async fn begin(
    account: &Account,
    identifiers: &[Identifier],
    replaces: Option<&CertificateDer<'_>>,
) -> Result<Order, Failure> {
    let replaced = replaces.and_then(|certificate| CertificateIdentifier::try_from(certificate).ok());
    if let Some(replaced) = replaced {
        match account.new_order(&NewOrder::new(identifiers).replaces(replaced)).await {
            // It knows no such thing, or no such certificate of this account, or has replaced it (RFC 9773
            // §5): the order is as good without. Whatever else it refuses, it would refuse again.
            Err(Error::Unsupported(_)) => {}
            Err(Error::Api(problem))
                if ["alreadyReplaced", "malformed", "unauthorized"].contains(&kind(&problem)) => {}
            Err(Error::Other(error)) if error.to_string().starts_with("replaces field mismatch") => {}
            begun => return Ok(begun?),
        }
    }
    Ok(account.new_order(&NewOrder::new(identifiers)).await?)
}

fn signing_request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, Failure> {
    let made = CertificateParams::new(names.to_vec()).and_then(|mut params| {
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(key)
    });
    made.map(|request| request.der().to_vec()).map_err(|error| Failure::new(Why::Setup, error))
}

/// Why an order came to nothing: each name's challenge says what the CA saw.
async fn refusal(order: &mut Order) -> Failure {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = state.identifier().to_string();
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            found.push(format!("{name}: {}", problem.detail.as_deref().unwrap_or("no reason given")));
        }
    }
    if found.is_empty() {
        return match order.refresh().await.map(|state| state.error.clone()) {
            Ok(Some(problem)) => Error::Api(problem).into(),
            Ok(None) => {
                Failure::new(Why::Challenge, "the CA did not find out in time whether the names are ours")
            }
            Err(error) => error.into(),
        };
    }
    Failure::new(Why::Challenge, found.join("; "))
}

/// What the CA sent: a chain for our key and all of the names, written anew, or it is of no use.
fn check(
    chain: &str,
    key: &KeyPair,
    names: &[String],
    provider: &CryptoProvider,
) -> Result<(Span, String), Failure> {
    let unusable = |reason: &dyn ToString| {
        Failure::new(Why::Unusable, format!("what the CA issued is of no use: {}", reason.to_string()))
    };
    let chain = parse_chain(chain.as_bytes(), Path::new("the chain")).map_err(|error| unusable(&error))?;
    if chain.len() > LONGEST_CHAIN {
        return Err(unusable(&"its chain is too long"));
    }
    let leaf = chain.first().ok_or_else(|| unusable(&"no certificate"))?;
    let (life, found) = validity_and_names(leaf).map_err(|reason| unusable(&reason))?;
    let found: BTreeSet<_> = found.into_iter().collect();
    if let Some(missing) = names.iter().find(|name| !found.contains(*name)) {
        return Err(unusable(&format!("it does not name {missing}")));
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let text = chain.iter().map(pem).collect();
    CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(&error))?;
    Ok((life, text))
}

/// RFC 7468 §5.1. Not as the CA wrote it, which may have put anything around it.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    fn issue(names: &[&str], key: &KeyPair) -> String {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).unwrap().self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_chain_that_is_not_what_was_ordered_is_refused() {
        let (ours, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let provider = aws_lc_rs::default_provider();
        let names = ["a.example.com".to_owned(), "b.example.com".to_owned()];
        let verdict =
            |chain: &str| check(chain, &ours, &names, &provider).map_err(|failure| failure.to_string());
        let good = issue(&["b.example.com", "a.example.com"], &ours);
        let plain = good.replace("\r\n", "\n");
        let (_, written) =
            verdict(&format!("hello\n{plain}-----BEGIN X-----\nAAAA\n-----END X-----\n")).unwrap();
        assert_eq!(written, plain, "and nothing of what stood around it");
        assert!(verdict(&issue(&["a.example.com"], &ours)).unwrap_err().contains("b.example.com"));
        assert!(verdict(&issue(&["a.example.com", "b.example.com"], &other)).is_err());
        assert!(verdict("nonsense").is_err());
        assert!(verdict(&good.repeat(9)).unwrap_err().contains("too long"));
    }
}
