//! What a proof of the audit log found, as an operator sees it: what `--json` prints, hence stable.

use serde::{Deserialize, Serialize};

use crate::audit::verify::finding::{PrunedReport, Report};
use crate::model::time::Timestamp;

/// What the proof of the audit chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Whether every record and signed head is as it was written.
    pub intact: bool,
    /// Records proven.
    pub records: u64,
    /// Signed heads proven.
    pub heads: u64,
    /// Hash of the last record, hexadecimal.
    pub hash: String,
    /// Records under the newest good signed head; those after it rest on the journal alone.
    pub signed: u64,
    /// The key that heads were verified with, hexadecimal: compare it with the one you noted.
    pub public_key: String,
    /// What is wrong and where, one sentence each.
    pub findings: Vec<String>,
    /// What was dropped for its age, if anything was.
    #[serde(default)]
    pub pruned: Option<Pruned>,
}

/// Records that were dropped for their age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// All up to this one.
    pub through: u64,
    /// RFC 3339; when.
    pub at: String,
    /// RFC 3339; they are all older than this, as a signed head proves.
    pub older_than: Option<String>,
}

impl From<&PrunedReport> for Pruned {
    fn from(report: &PrunedReport) -> Self {
        let PrunedReport { through, at, older_than } = report;
        Self { through: *through, at: at.rfc3339(), older_than: older_than.map(Timestamp::rfc3339) }
    }
}

impl From<&Report> for Verification {
    fn from(report: &Report) -> Self {
        let mut findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        if report.more_findings > 0 {
            findings.push(format!("and {} more", report.more_findings));
        }
        Self {
            intact: report.is_clean(),
            records: report.records,
            heads: report.heads,
            hash: report.head.clone(),
            signed: report.signed_count,
            public_key: report.public_key.clone(),
            findings,
            pruned: report.pruned.as_ref().map(Into::into),
        }
    }
}
