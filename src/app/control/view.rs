//! Facts as an operator sees them: what replies carry. They leave out what nobody should see
//! (hashes, sealed keys) and show times as RFC 3339, so that scripts need no knowledge of the model.
//! Their field names are what `--json` prints, hence stable.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::audit::search::{EventRecord, Found};
use crate::auth::keys::KeySummary;
use crate::auth::throttle::Standings;
use crate::edge::guard::ladder::Earned;
use crate::model::account::{Account, AccountStatus};
use crate::model::event::Fields;
use crate::model::key::KeyState;
use crate::model::time::Timestamp;
use crate::model::{ban, caller, invite, session};
use crate::observe::health;

/// An account without its password hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// UUID.
    pub id: String,
    /// Normalised.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// Sorted.
    pub roles: Vec<String>,
    /// `active` or `disabled`.
    pub status: AccountStatus,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; `None` while it has no password.
    pub password_set_at: Option<String>,
    /// How its password is being guessed; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
}

/// Failed password tries at an account that are not forgotten yet, in this node's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Of strangers.
    pub strangers_failures: u32,
    /// RFC 3339; when the next stranger may try, `None` for now.
    pub strangers_until: Option<String>,
    /// Of the known device, address or session with the most.
    pub known_failures: u32,
    /// Known devices, addresses and sessions that have to wait.
    pub known_waiting: u32,
}

impl Throttle {
    /// As of `now`.
    pub fn new(standings: Standings, now: Timestamp) -> Self {
        let Standings { strangers, known } = standings;
        Self {
            strangers_failures: strangers.failures,
            strangers_until: (!strangers.wait.is_zero()).then(|| now.plus(strangers.wait).rfc3339()),
            known_failures: known.failures,
            known_waiting: u32::try_from(known.waiting).unwrap_or(u32::MAX),
        }
    }
}

impl From<&Account> for User {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            email: account.email.to_string(),
            name: account.name.clone(),
            roles: account.roles.iter().map(ToString::to_string).collect(),
            status: account.status,
            created_at: account.created_at.rfc3339(),
            password_set_at: (!account.password.is_none()).then(|| account.password_set_at.rfc3339()),
            throttle: None,
        }
    }
}

/// An invitation without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// UUID.
    pub id: String,
    /// The only address it can be used with.
    pub email: Option<String>,
    /// Roles of the account made with it.
    pub roles: Vec<String>,
    /// Who invited.
    pub author: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

impl From<&invite::Invite> for Invite {
    fn from(invite: &invite::Invite) -> Self {
        Self {
            id: invite.id.to_string(),
            email: invite.email.as_ref().map(ToString::to_string),
            roles: invite.roles.iter().map(ToString::to_string).collect(),
            author: invite.author.clone(),
            created_at: invite.created_at.rfc3339(),
            expires_at: invite.expires_at.rfc3339(),
        }
    }
}

/// A session without anything of its refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// UUID; `sid` of its access tokens.
    pub id: String,
    /// UUID of its account.
    pub account: String,
    /// What the client called itself; may be empty.
    pub device: String,
    /// Where it was last used from.
    pub address: Option<String>,
    /// How often it was refreshed.
    pub generation: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub used_at: String,
    /// RFC 3339; when it ends at the latest.
    pub expires_at: String,
}

impl From<&session::Session> for Session {
    fn from(session: &session::Session) -> Self {
        Self {
            id: session.id.to_string(),
            account: session.account.to_string(),
            device: session.device.clone(),
            address: session.address.map(|address| address.to_string()),
            generation: session.generation,
            created_at: session.created_at.rfc3339(),
            used_at: session.used_at.rfc3339(),
            expires_at: session.expires_at.rfc3339(),
        }
    }
}

/// An entry of the blacklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Address or network, in CIDR form.
    pub network: String,
    /// May be empty.
    pub reason: String,
    /// `command`, `offences`, `blacklist.networks` or `blacklist.file`: where it is lifted again.
    pub source: String,
    /// Who added it; nobody knows of one that is configured.
    pub author: Option<String>,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// RFC 3339; `None` until removed.
    pub expires_at: Option<String>,
}

impl Ban {
    /// A network of the configuration.
    pub fn configured(network: IpNet, source: &str) -> Self {
        Self {
            network: network.to_string(),
            reason: String::new(),
            source: source.to_owned(),
            author: None,
            created_at: None,
            expires_at: None,
        }
    }
}

impl From<&Earned> for Ban {
    fn from(earned: &Earned) -> Self {
        Self {
            network: earned.network.to_string(),
            reason: format!("filter {}, ban {}", earned.filter, earned.step),
            source: "offences".to_owned(),
            author: None,
            created_at: Some(earned.since.rfc3339()),
            expires_at: Some(earned.until.rfc3339()),
        }
    }
}

impl From<&ban::Ban> for Ban {
    fn from(ban: &ban::Ban) -> Self {
        Self {
            network: ban.network.to_string(),
            reason: ban.reason.clone(),
            source: "command".to_owned(),
            author: Some(ban.author.clone()),
            created_at: Some(ban.created_at.rfc3339()),
            expires_at: ban.expires_at.map(|at| at.rfc3339()),
        }
    }
}

/// A signing key without its private part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `kid`.
    pub id: String,
    /// JWS name.
    pub algorithm: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; when it came into this state.
    pub changed_at: String,
}

impl From<&KeySummary> for Key {
    fn from(key: &KeySummary) -> Self {
        Self {
            id: key.id.to_string(),
            algorithm: key.algorithm.name().to_owned(),
            state: key.state,
            created_at: key.created_at.rfc3339(),
            changed_at: key.changed_at.rfc3339(),
        }
    }
}

/// An audit event with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the chain, from 1.
    pub index: u64,
    /// RFC 3339.
    pub at: String,
    /// `anonymous`, `system`, `account:UUID` or `console:UID`.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// UUID of the account whose personal fields this event holds, if they are sealed.
    #[serde(default)]
    pub subject: Option<String>,
    /// `open`; `erased` with the account; `locked` if no key opens them.
    #[serde(default = "open")]
    pub personal: Fields,
    /// Stable word.
    pub intent: String,
    /// `granted`, `denied` or `failed`.
    pub outcome: String,
    /// To what; may be empty.
    pub target: String,
    /// Stable word for why; may be empty.
    pub reason: String,
    /// `X-Request-Id`.
    pub request: Option<String>,
    /// How many like it this one stands for.
    pub count: u32,
}

impl Event {
    fn of(record: &EventRecord) -> Self {
        let EventRecord { index, event, subject, fields, .. } = record;
        Self {
            index: *index,
            subject: subject.map(|account| account.to_string()),
            personal: *fields,
            at: event.at.rfc3339(),
            actor: actor(&event.actor),
            address: event.address.map(|address| address.to_string()),
            intent: word(&event.intent),
            outcome: word(&event.outcome),
            target: event.target.clone(),
            reason: event.reason.clone(),
            request: event.request.map(|request| request.to_string()),
            count: event.count,
        }
    }
}

/// Events of the log, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Those that can be read.
    pub events: Vec<Event>,
    /// Indexes of the records among them that cannot.
    pub unreadable: Vec<u64>,
    /// The last index looked at: ask for what comes after it.
    pub last: u64,
    /// Whether there may be more beyond it, though fewer came than were asked for.
    #[serde(default)]
    pub more: bool,
}

/// What a daemon means that does not say how personal fields stand: it seals none.
const fn open() -> Fields {
    Fields::Open
}

impl From<Found> for Events {
    fn from(found: Found) -> Self {
        let Found { events, unreadable, last, more } = found;
        Self { events: events.iter().map(Event::of).collect(), unreadable, last, more }
    }
}

fn actor(actor: &caller::Actor) -> String {
    match actor {
        caller::Actor::Anonymous => "anonymous".to_owned(),
        caller::Actor::Account(id) => format!("account:{id}"),
        caller::Actor::Console(uid) => format!("console:{uid}"),
        caller::Actor::System => "system".to_owned(),
    }
}

/// The serialised name of a unit variant: the one place where it is spelled is the model.
pub(in crate::app) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the binary that answers.
    pub version: String,
    /// Whether a daemon answers; `false` when the command line opened the stores itself.
    pub running: bool,
    /// Process id of whoever answers.
    pub pid: Option<u32>,
    /// RFC 3339.
    pub started_at: String,
    /// `development`, `stage` or `production`.
    pub environment: String,
    /// Absolute.
    pub data_dir: String,
    /// `https://ADDRESS`, `http://ADDRESS`, `internal http://ADDRESS`; empty when not running.
    pub listeners: Vec<String>,
    /// Newest position of the journal.
    pub seq: u64,
    /// How many.
    pub accounts: u64,
    /// How many hold.
    pub bans: u64,
    /// `kid` of the key that signs.
    pub signing_key: String,
    /// Audit records.
    pub audit_records: u64,
    /// What became of its configuration; `None` when not running.
    pub configuration: Option<Configuration>,
    /// What became of its restarts; `None` when not running.
    pub restart: Option<Restart>,
    /// Every dependency.
    pub health: health::Report,
}

/// The processes before and after a running one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The process that this one replaced, while it still has something open.
    pub before: Option<u32>,
    /// RFC 3339, if the last restart came to nothing.
    pub failed_at: Option<String>,
    /// Why.
    pub failed_because: Option<String>,
}

/// When a running node's configuration was put in place, and what became of later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The file; `None` for a node that runs without one (`serve --dev`).
    pub file: Option<String>,
    /// RFC 3339: the start, or the last reload.
    pub loaded_at: String,
    /// RFC 3339, if the last reload since then was refused.
    pub refused_at: Option<String>,
    /// Why.
    pub refused_because: Option<String>,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file; `None` for a node that runs without one (`serve --dev`).
    pub file: Option<String>,
    /// Keys that are in force with other values now.
    pub changed: Vec<String>,
    /// Keys whose other values need a restart.
    pub restart: Vec<String>,
}
