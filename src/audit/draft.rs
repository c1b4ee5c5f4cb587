//! What was decided, before it has an id, a time and a place in the chain.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::caller::{Actor, Caller, Origin, client_number};
use crate::model::event::{AuditEvent, Intent, Outcome};
use crate::model::id::{AccountId, EventId, RequestId};
use crate::model::time::Timestamp;

/// A decision being described: `Draft::new(Intent::Login, Outcome::Denied).at(&origin).reason("wrong_password")`.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    /// How it ended, where that turned out otherwise.
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
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

    /// One of several of different targets, which it does not name; nor one request, as it was not one.
    pub(in crate::audit) fn without_target(mut self) -> Self {
        self.target.clear();
        self.request = None;
        self
    }

    /// One of several clients: it does not say where it came from.
    pub(in crate::audit) const fn without_client(mut self) -> Self {
        self.address = None;
        self.request = None;
        self
    }

    /// One that stands for both: it names nobody who was in one of them only. An address stays that both came
    /// from, unless it is sealed for one person: it must not become clear, nor another's.
    pub(in crate::audit) fn together_with(mut self, other: &Self) -> Self {
        let (subject, client) = (self.subject(), self.address.map(client_number));
        if subject != other.subject() || client != other.address.map(client_number) {
            self.address = None;
        }
        if self.actor != other.actor {
            self.actor = Actor::Anonymous;
        }
        self.about = subject.filter(|_| subject == other.subject());
        self
    }

    /// Whose the personal fields are: the address is that of who acted.
    const fn subject(&self) -> Option<AccountId> {
        match self.actor {
            Actor::Account(account) => Some(account),
            Actor::Anonymous => self.about,
            // Operators and the clock: no address, or not of a person that can be erased.
            Actor::Console(_) | Actor::System => None,
        }
    }

    /// The event, and whose its personal fields are.
    pub(in crate::audit) fn finish(self, id: EventId, at: Timestamp) -> (AuditEvent, Option<AccountId>) {
        let subject = self.subject();
        let Self { actor, address, intent, outcome, target, reason, request, count, about: _ } = self;
        (AuditEvent { id, at, actor, address, intent, outcome, target, reason, request, count }, subject)
    }
}
