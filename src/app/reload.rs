//! Another configuration for a running node: read, checked and made whole first, then put on record,
//! then put in place. Until the last step nothing has changed, and the last step cannot fail; a bad
//! configuration is refused as a whole and the old one runs on.
//!
//! What a key takes, a reload or a restart, is said by [`crate::config::change`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;

use super::control::view;
use super::core::Core;
use super::doors;
use crate::audit::draft::Draft;
use crate::config::Config;
use crate::config::change::{Changes, checked};
use crate::config::probe::witness;
use crate::config::problem::{Place, Problem, Problems};
use crate::edge::certificates::Loaded;
use crate::edge::plan;
use crate::edge::start::Changer;
use crate::edge::tls::Terminator;
use crate::model::caller::{Actor, Origin};
use crate::model::event::{Intent, Outcome};
use crate::model::time::Timestamp;
use crate::observe::logging;
use crate::store::error::CommitError;

/// Longest that a start or a reload waits for the addresses of application servers. Without them it goes on.
pub(in crate::app) const NAMES: Duration = Duration::from_secs(2);

/// Reads the configuration that the node was started with anew, and checks it with the files it names: the same
/// file, arguments and environment variables.
pub type Read = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// What a node needs to be given another configuration.
#[derive(Clone)]
pub struct Source {
    /// The file; `None` for a node that runs without one.
    pub file: Option<String>,
    /// Reads it anew.
    pub read: Read,
    /// The process's log.
    pub log: logging::Handle,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What comes of a witness that cannot be used: of the one that the node was started with,
const WITHOUT_IT: &str = "the node runs without it";
/// and of one that takes a restart.
const AFTER_A_RESTART: &str = "a node that is restarted now runs without it";

/// Bans that ended with a reload and are on record each by itself.
const FREED_BY_NAME: usize = 20;

/// Why a configuration was not put in place.
#[derive(Debug)]
pub(in crate::app) enum Refused {
    /// It is wrong.
    Wrong(Problems),
    /// It could not be put on record.
    Unrecorded(CommitError),
    /// Reading it broke off.
    Broken,
}

/// Reloads, one after the other.
pub(in crate::app) struct Reloader {
    source: Source,
    changer: Changer,
    terminator: Terminator,
    running: tokio::sync::Mutex<InForce>,
    told: Mutex<Told>,
    /// `audit.witness_file` as it was last looked at.
    witness: Mutex<Option<PathBuf>>,
}

/// What is told without waiting.
struct Told {
    loaded_at: Timestamp,
    refused: Option<(Timestamp, String)>,
    force: InForce,
}

/// The configuration in force.
#[derive(Clone)]
pub(in crate::app) struct InForce {
    /// All of it.
    pub config: Arc<Config>,
    /// The networks of `[blacklist]`, those in its file with them, sorted.
    pub banned: Arc<[IpNet]>,
}

/// Everything made and checked.
struct Prepared {
    changes: Changes,
    /// `audit.witness_file` as it was read: that takes a restart.
    witness: Option<PathBuf>,
    certificates: Loaded,
    plan: plan::Prepared,
    banned: Vec<IpNet>,
    log: logging::Prepared,
}

impl Reloader {
    /// For a node whose doors stand open, with the networks that it was started with.
    pub fn new(
        core: &Core,
        source: Source,
        (changer, terminator): (Changer, Terminator),
        banned: Vec<IpNet>,
    ) -> Arc<Self> {
        let force = InForce { config: Arc::new(core.config.clone()), banned: banned.into() };
        let running = force.clone().into();
        let told = Mutex::new(Told { loaded_at: core.clock.now(), refused: None, force });
        let this = Self { source, changer, terminator, running, told, witness: Mutex::default() };
        this.look_at_witness(core.config.audit.witness_file.clone(), WITHOUT_IT);
        Arc::new(this)
    }

    /// How it stands, for `status`.
    pub fn told(&self) -> view::Configuration {
        let told = self.told.lock();
        let refused = told.refused.as_ref();
        view::Configuration {
            file: self.source.file.clone(),
            loaded_at: told.loaded_at.rfc3339(),
            refused_at: refused.map(|(at, _)| at.rfc3339()),
            refused_because: refused.map(|(_, why)| why.clone()),
        }
    }

    /// `limits.drain_timeout` in force. Waits for no reload that is under way.
    pub fn drain_timeout(&self) -> Duration {
        self.told.lock().force.config.limits.drain_timeout
    }

    /// What is in force. Waits for no reload that is under way.
    pub fn in_force(&self) -> InForce {
        self.told.lock().force.clone()
    }

    /// Reads the configuration and puts it in place, or refuses it and changes nothing.
    pub async fn reload(
        self: &Arc<Self>,
        core: &Core,
        actor: Actor,
        origin: &Origin,
    ) -> Result<view::Reloaded, Refused> {
        // One after the other: each compares with what the one before has put in place.
        let mut running = self.running.lock().await;
        let draft = |outcome| {
            let target = self.source.file.as_deref().unwrap_or_default();
            Draft::new(Intent::Reload, outcome).by(actor.clone()).at(origin).target(target)
        };
        let (this, config) = (Arc::clone(self), Arc::clone(&running.config));
        // Files are read and keys parsed: not on a thread that others wait for.
        let prepared = tokio::task::spawn_blocking(move || this.prepare(&config)).await;
        let refused = match prepared {
            Ok(Ok(prepared)) => {
                self.changer.look_ahead(&prepared.changes.next.upstreams, NAMES).await;
                match core.trail.record(draft(Outcome::Granted)).await {
                    Ok(()) => {
                        let (reloaded, freed) = self.put(core, prepared, &mut running);
                        tell_freed(core, &freed, (&actor, origin)).await;
                        return Ok(reloaded);
                    }
                    Err(error) => Refused::Unrecorded(error),
                }
            }
            Ok(Err(problems)) => Refused::Wrong(problems),
            Err(_) => Refused::Broken,
        };
        drop(running);
        self.refuse(core, &refused);
        let (outcome, reason) = match &refused {
            Refused::Wrong(_) => (Outcome::Denied, "wrong_configuration"),
            Refused::Unrecorded(_) => return Err(refused),
            Refused::Broken => (Outcome::Failed, "internal"),
        };
        if let Err(error) = core.trail.record(draft(outcome).reason(reason)).await {
            tracing::error!(%error, "a reload that was refused could not be written to the audit log");
        }
        Err(refused)
    }

    fn prepare(&self, running: &Config) -> Result<Prepared, Problems> {
        // What could not be started with is not taken either, whether it would change now or later.
        let read = (self.source.read)()?;
        let problems = |problems| Problems { file: self.name(), problems };
        let changes = checked(running, &read).map_err(problems)?;
        self.make(changes, read.audit.witness_file).map_err(problems)
    }

    /// Says in the log what is wrong with an outside witness that was not named before. What it misses is
    /// caught up with later, so nobody waits for the answer: the mount that it is on may hang.
    fn look_at_witness(&self, named: Option<PathBuf>, so: &'static str) {
        if std::mem::replace(&mut *self.witness.lock(), named.clone()) == named {
            return;
        }
        let (Some(path), file) = (named, self.name()) else { return };
        let look = move || {
            if let Some(problem) = witness(&path) {
                let (told, remedy) = (problem.told(&file), problem.remedy);
                tracing::error!(remedy, "the outside witness of the audit log cannot be used, {so}: {told}");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("witness".into()).spawn(look) {
            tracing::error!(%error, "no thread to look at the outside witness of the audit log");
        }
    }

    fn make(&self, changes: Changes, witness: Option<PathBuf>) -> Result<Prepared, Vec<Problem>> {
        let next = &changes.next;
        let banned = next.blacklist.gather()?;
        let tls = |error: &dyn fmt::Display| {
            vec![problem("tls.certificates", error, "put certificate and key there that go together")]
        };
        let certificates =
            self.terminator.certificates().load(&next.tls.source).map_err(|error| tls(&error))?;
        let terminator = self.terminator.with_protocols(&next.tls).map_err(|error| tls(&error))?;
        let settings = doors::settings(next, terminator);
        let plan = self.changer.prepare(settings).map_err(|error| {
            vec![problem(
                "routes",
                &error,
                "correct the route; config.example.toml shows how they are written",
            )]
        })?;
        let log = logging::Handle::prepare(&next.log)
            .map_err(|error| vec![problem("log.level", &error, "write a filter such as \"info\"")])?;
        Ok(Prepared { certificates, plan, banned, log, changes, witness })
    }

    /// Nothing in here can fail. Returns whose bans for offences have ended, too.
    fn put(&self, core: &Core, prepared: Prepared, running: &mut InForce) -> (view::Reloaded, Vec<IpNet>) {
        let Prepared { changes, witness, certificates, plan, banned, log } = prepared;
        let Changes { next, mut changed, restart } = changes;
        let other = self.terminator.certificates().put(certificates);
        self.changer.put(plan);
        core.blacklist.configure(&banned);
        // They could not earn a ban any more, so they keep none.
        let never: Vec<_> = next.listen.trusted_proxies.iter().chain(&next.bans.never).copied().collect();
        let freed = core.blacklist.ladder().spare(&never, core.clock.now());
        self.source.log.put(log);
        let in_use = witness == running.config.audit.witness_file;
        self.look_at_witness(witness, if in_use { WITHOUT_IT } else { AFTER_A_RESTART });
        // Files whose content changed under the same names.
        let mut content = |differs: bool, section: &str, key: &str| {
            if differs && !changed.iter().any(|name| name.starts_with(section)) {
                changed.push(key.to_owned());
            }
        };
        content(other, "tls.", "tls.certificates");
        content(banned[..] != running.banned[..], "blacklist.", "blacklist.file");
        *running = InForce { config: Arc::new(next), banned: banned.into() };
        *self.told.lock() = Told { loaded_at: core.clock.now(), refused: None, force: running.clone() };
        let (now, later) = (changed.join(", "), restart.join(", "));
        tracing::info!(
            file = self.source.file,
            changed = now,
            unchanged_until_a_restart = later,
            "the configuration was reloaded"
        );
        (view::Reloaded { file: self.source.file.clone(), changed, restart }, freed)
    }

    fn refuse(&self, core: &Core, refused: &Refused) {
        let why = match refused {
            Refused::Wrong(problems) => {
                for problem in &problems.problems {
                    let told = problem.told(&problems.file);
                    tracing::error!(remedy = problem.remedy, "wrong in the configuration: {told}");
                }
                let count = problems.problems.len();
                format!("{count} {} in it", if count == 1 { "problem" } else { "problems" })
            }
            Refused::Unrecorded(error) => format!("it could not be put on record: {error}"),
            Refused::Broken => "reading it broke off".to_owned(),
        };
        tracing::error!(
            file = self.source.file,
            why,
            "the configuration was not reloaded: the one before runs on"
        );
        self.told.lock().refused = Some((core.clock.now(), why));
    }

    fn name(&self) -> String {
        self.source.file.clone().unwrap_or_else(|| "the development configuration".to_owned())
    }
}

/// Says whose bans for offences have ended with a reload: the first by name, in the audit log too.
async fn tell_freed(core: &Core, freed: &[IpNet], (actor, origin): (&Actor, &Origin)) {
    if freed.is_empty() {
        return;
    }
    tracing::info!(
        addresses = freed.len(),
        "bans for offences ended: their addresses are never banned any more"
    );
    let draft = || {
        let draft = Draft::new(Intent::BlacklistRemove, Outcome::Granted).by(actor.clone());
        draft.at(origin).reason("spared")
    };
    let (named, rest) = freed.split_at_checked(FREED_BY_NAME).unwrap_or((freed, &[]));
    let mut drafts: Vec<_> = named.iter().map(|network| draft().target(network)).collect();
    if !rest.is_empty() {
        drafts.push(draft().count(u32::try_from(rest.len()).unwrap_or(u32::MAX)));
    }
    if let Err(error) = core.trail.record_all(drafts).await {
        tracing::error!(%error, "bans that ended with a reload could not be written to the audit log");
    }
}

fn problem(key: &str, message: &dyn fmt::Display, remedy: &str) -> Problem {
    Problem {
        place: Place::Machine,
        key: key.to_owned(),
        value: None,
        message: message.to_string(),
        remedy: remedy.to_owned(),
    }
}
