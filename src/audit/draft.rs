//! What was decided, before it has an id, a time and a place in the chain.

use std::net::IpAddr;

use crate::model::caller::{Actor, Caller, Origin};
use crate::model::event::{AuditEvent, Intent, Outcome};
use crate::model::id::{AccountId, EventId, RequestId};
use crate::model::time::Timestamp;

/// A decision being described: `Draft::new(Intent::Login, Outcome::Denied).at(&origin).reason("wrong_password")`.
#[derive(Clone, Debug)]
#[must_use = "a draft is only written when attached or recorded"]
pub struct Draft {
    actor: Actor,
    address: Option<IpAddr>,
    intent: Intent,
    outcome: Outcome,
    target: String,
    reason: String,
    request: Option<RequestId>,
    count: u32,
    about: Option<AccountId>,
}

impl Draft {
    /// An anonymous decision about one intent.
    pub const fn new(intent: Intent, outcome: Outcome) -> Self {
        Self {
            actor: Actor::Anonymous,
            address: None,
            intent,
            outcome,
            target: String::new(),
            reason: String::new(),
            request: None,
            count: 1,
            about: None,
        }
    }

    /// Who it was decided for.
    pub const fn by(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// The verified caller it was decided for.
    pub const fn caller(self, caller: &Caller) -> Self {
        self.by(Actor::Account(caller.account))
    }

    /// Where the request came from.
    pub const fn at(mut self, origin: &Origin) -> Self {
        self.address = origin.address;
        self.request = Some(origin.request);
        self
    }

    /// The account that it is about, where nobody proved to be its owner: the address is kept for it,
    /// and erased with it. An account that acts needs no such word.
    pub const fn about(mut self, account: AccountId) -> Self {
        self.about = Some(account);
        self
    }

    /// What it was about.
    pub fn target(mut self, target: impl ToString) -> Self {
        self.target = target.to_string();
        self
    }

    /// A stable word for why.
    pub fn reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// How many like it this one stands for.
    pub const fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// What [`super::folded`] tells refusals apart by: from where, what, why.
    pub(in crate::audit) fn kind(&self) -> (Option<IpAddr>, Intent, &str) {
        (self.address, self.intent, &self.reason)
    }

    /// Whether both are about the same thing, and of the same person.
    pub(in crate::audit) fn is_about_the_same(&self, other: &Self) -> bool {
        self.target == other.target && self.about == other.about && self.actor == other.actor
    }

    /// One that stands for several of different targets: it names none of them, and an address only if all came
    /// from there.
    pub(in crate::audit) fn without_target(mut self, keep_address: bool) -> Self {
        self.target.clear();
        self.about = None;
        if !keep_address {
            self.address = None;
        }
        self
    }

    /// The event, and whose its personal fields are: the address is that of who acted.
    pub(in crate::audit) fn finish(self, id: EventId, at: Timestamp) -> (AuditEvent, Option<AccountId>) {
        let Self { actor, address, intent, outcome, target, reason, request, count, about } = self;
        let subject = match &actor {
            Actor::Account(account) => Some(*account),
            Actor::Anonymous => about,
            // Operators and the clock: no address, or not of a person that can be erased.
            Actor::Console(_) | Actor::System => None,
        };
        (AuditEvent { id, at, actor, address, intent, outcome, target, reason, request, count }, subject)
    }
}
