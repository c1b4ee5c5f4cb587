//! Commands about the local CA. They work on any node: also one whose own certificates come from elsewhere has one
//! for its internal side, from the first order on.

use std::path::PathBuf;
use std::time::Duration;

use super::super::control::Outcome;
use super::super::control::ca::{Authority, Issued, Order};
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use super::super::error::AppError;
use super::Who;
use crate::audit::draft::Draft;
use crate::edge::certificates::TlsError;
use crate::edge::local_ca::leaf::Wanted;
use crate::edge::local_ca::{LocalCa, certificate_path};
use crate::model::caller::{Actor, Origin};
use crate::model::certificate::Purpose;
use crate::model::event::{self, Intent};

const DAY: Duration = Duration::from_secs(86_400);

impl Core {
    fn ca_folder(&self) -> PathBuf {
        self.config.data_dir.join("tls")
    }

    pub(super) fn ca_show(&self) -> Outcome {
        match LocalCa::find(&self.ca_folder(), self.clock.now()).map_err(failed)? {
            Some(ca) => Ok(Reply::Authority(Box::new(self.authority(&ca)?))),
            None => {
                let message = format!("there is no local CA in {} yet", self.ca_folder().display());
                let remedy =
                    "`keepgate ca issue` makes it, and so does a start with tls.source = \"local-ca\"";
                Err(Failure::new(Code::NotFound, message).remedy(remedy))
            }
        }
    }

    /// On record before it is handed out.
    pub(super) async fn ca_issue(&self, order: Order, who: Who) -> Outcome {
        order.check()?;
        let now = self.clock.now();
        self.make_ca(&who.actor, &who.origin).await.map_err(|error| match error {
            AppError::Tls(error) => failed(error),
            error => Failure::new(Code::Unavailable, error.to_string()),
        })?;
        let ca = LocalCa::open(&self.ca_folder(), now, &*self.rng).map_err(failed)?;
        let names: Vec<String> = order.names.iter().map(ToString::to_string).collect();
        let wanted = Wanted { names: &names, purpose: order.purpose, life: DAY * order.days };
        let signed = ca.issue_for(&order.request, wanted, now, &*self.rng).map_err(failed)?;
        let authority = self.authority(&ca)?;
        let reason = match order.purpose {
            Purpose::Server => "local_ca_server",
            Purpose::Client => "local_ca_client",
        };
        let until = signed.until.rfc3339();
        // One for each name: a search finds what was issued for any of them. As many as an order may have.
        let targets = names.into_iter().chain([format!("serial {} until {until}", signed.serial)]);
        let draft = |target: String| {
            let draft = Draft::new(Intent::CertificateIssue, event::Outcome::Granted).by(who.actor.clone());
            draft.target(target).reason(reason).at(&who.origin)
        };
        let recorded = self.trail.record_all(targets.map(draft).collect()).await;
        recorded.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
        Ok(Reply::Issued(Box::new(Issued { until, certificate: signed.pem, authority })))
    }

    /// Makes the local CA if there is none. On record before it can sign anything.
    pub(in crate::app) async fn make_ca(&self, actor: &Actor, origin: &Origin) -> Result<(), AppError> {
        let Some(unfinished) = LocalCa::make(&self.ca_folder(), self.clock.now(), &*self.rng)? else {
            return Ok(());
        };
        let about = unfinished.about();
        let draft = Draft::new(Intent::CaCreate, event::Outcome::Granted).by(actor.clone()).at(origin);
        self.trail.record(draft.target(format!("{} {}", about.name, about.fingerprint))).await?;
        tracing::info!(name = about.name, fingerprint = about.fingerprint, "the local CA was made");
        Ok(unfinished.finish()?)
    }

    fn authority(&self, ca: &LocalCa) -> Result<Authority, Failure> {
        let file = certificate_path(&self.ca_folder());
        Ok(Authority::new(ca.about().map_err(failed)?, file.display().to_string()))
    }
}

/// The message has the remedy, where there is one.
fn failed(error: TlsError) -> Failure {
    let code = match &error {
        TlsError::Readable { .. } | TlsError::Unusable { .. } => Code::Refused,
        TlsError::Names { .. } | TlsError::Making { .. } => Code::Invalid,
        TlsError::Io { .. } | TlsError::Config(_) => Code::Internal,
    };
    Failure::new(code, error.to_string())
}
