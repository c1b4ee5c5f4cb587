//! What is asked of the audit log: conditions that every engine answers alike.
//!
//! Personal fields are no conditions here: they are sealed, and the engines have no keys. Whoever
//! searches by them reads the records and opens them (`audit::search`).

use crate::model::caller::Actor;
use crate::model::event::{AuditEvent, Intent, Outcome, Seal};
use crate::model::id::AccountId;
use crate::model::time::Timestamp;

/// Who or what events are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The account that acted, or that the event is about.
    pub account: Option<AccountId>,
    /// The event's whole target.
    pub target: String,
}

/// Which records are wanted: those that meet every condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Only those with a greater index.
    pub after: u64,
    /// Only those with a smaller index.
    pub before: u64,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only up to this time.
    pub until: Option<Timestamp>,
    /// Only this intent.
    pub intent: Option<Intent>,
    /// Only this outcome.
    pub outcome: Option<Outcome>,
    /// Only about this.
    pub about: Option<About>,
    /// The greatest index first.
    pub newest_first: bool,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self {
            after: 0,
            before: u64::MAX,
            since: None,
            until: None,
            intent: None,
            outcome: None,
            about: None,
            newest_first: false,
        }
    }
}

impl LogQuery {
    /// Whether the event at `index` meets the conditions.
    pub(in crate::store) fn admits(&self, index: u64, event: &AuditEvent, seal: Option<&Seal>) -> bool {
        index > self.after
            && index < self.before
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at <= until)
            && self.intent.is_none_or(|intent| event.intent == intent)
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && self.about.as_ref().is_none_or(|about| {
                (about.account.is_some() && about.account == subject(event, seal))
                    || event.target == about.target
            })
    }
}

/// The account that an event is about: whose fields are sealed, else who acted.
pub(in crate::store) fn subject(event: &AuditEvent, seal: Option<&Seal>) -> Option<AccountId> {
    match (seal, &event.actor) {
        (Some(seal), _) => Some(seal.subject),
        (None, Actor::Account(account)) => Some(*account),
        (None, _) => None,
    }
}
