//! Commands about the local CA. They work on any node: also one whose own certificates come from elsewhere has one
//! for its internal side, from the first order on.

use std::path::PathBuf;
use std::time::Duration;

use super::super::control::Outcome;
use super::super::control::ca::{Authority, Issued, Order};
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use super::Who;
use crate::audit::draft::Draft;
use crate::edge::certificates::TlsError;
use crate::edge::local_ca::leaf::Wanted;
use crate::edge::local_ca::{LocalCa, certificate_path};
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
        let ca = LocalCa::open(&self.ca_folder(), now, &*self.rng).map_err(failed)?;
        let names: Vec<String> = order.names.iter().map(ToString::to_string).collect();
        let wanted = Wanted { names: &names, purpose: order.purpose, life: DAY * order.days };
        let signed = ca.issue_for(&order.request, wanted, now, &*self.rng).map_err(failed)?;
        let authority = self.authority(&ca)?;
        let reason = match order.purpose {
            Purpose::Server => "local_ca_server",
            Purpose::Client => "local_ca_client",
        };
        let draft = Draft::new(Intent::CertificateIssue, event::Outcome::Granted).by(who.actor);
        let draft = draft.target(names.first().map_or("", String::as_str)).reason(reason);
        let recorded = self.trail.record(draft.at(&who.origin)).await;
        recorded.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
        let until = signed.until.rfc3339();
        Ok(Reply::Issued(Box::new(Issued { until, certificate: signed.pem, authority })))
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
