//! Certificates as an operator sees them.

use serde::{Deserialize, Serialize};

use crate::edge::acme::keeper::Standing;
use crate::edge::certificates::book::Origin;

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// `file`, `local_ca`, `acme`; for one that was not issued yet `self_signed`, or `acme_former`: those of
    /// its names that were part of another list.
    pub source: String,
    /// The file, of one from a file.
    pub file: Option<String>,
    /// RFC 3339.
    pub expires_at: String,
    /// RFC 3339; when the next order is due, for one that is ordered.
    pub order_at: Option<String>,
    /// Why the last order failed; empty if it did not.
    pub error: String,
}

impl From<Standing> for Certificate {
    fn from(Standing { served, due, error }: Standing) -> Self {
        let (source, file) = match &served.origin {
            Origin::File(path) => ("file", Some(path.display().to_string())),
            Origin::LocalCa => ("local_ca", None),
            Origin::Acme => ("acme", None),
            Origin::Former => ("acme_former", None),
            Origin::SelfSigned => ("self_signed", None),
        };
        Self {
            names: served.names,
            source: source.to_owned(),
            file,
            expires_at: served.life.until.rfc3339(),
            order_at: due.map(|at| at.rfc3339()),
            error,
        }
    }
}
