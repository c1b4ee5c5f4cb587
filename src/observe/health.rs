//! Health: whether the process is alive, and whether it can do its work, dependency by dependency.
//!
//! Alive means the process answers; it is not asked about dependencies, because a restart does not
//! mend a full disk. Ready means every check passes and the node is not draining. Checks look at
//! flags and positions that others keep: they do no I/O and never wait, as anyone may ask.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// How a check or the whole node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Good.
    Ok,
    /// Not good: requests that need it fail.
    Failing,
    /// Shutting down: finish what is open, send nothing new.
    Draining,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The dependency's name, such as `journal`.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// In words, for operators: what is wrong and what to do, or a figure.
    pub detail: String,
}

/// What `/health` and `/ready` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worst of the checks.
    pub status: Status,
    /// All of them, in the order they were registered.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether requests should be sent here: HTTP 200 if so, else 503.
    pub fn is_ready(&self) -> bool {
        self.status == Status::Ok
    }

    /// As the public may see it: without the details, which name paths and causes.
    pub fn without_details(mut self) -> Self {
        self.checks.iter_mut().for_each(|check| check.detail.clear());
        self
    }
}

type Ask = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

#[derive(Default)]
struct Inner {
    checks: RwLock<Vec<(&'static str, Ask)>>,
    draining: AtomicBool,
}

/// The registry of checks. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

impl Health {
    /// No checks, not draining.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. `ask` returns its detail, as an error if it fails; it must not block. A check
    /// of the same name is replaced.
    pub fn register(
        &self,
        name: &'static str,
        ask: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) {
        let mut checks = self.0.checks.write();
        let ask: Ask = Box::new(ask);
        match checks.iter_mut().find(|(known, _)| *known == name) {
            Some(check) => check.1 = ask,
            None => checks.push((name, ask)),
        }
    }

    /// From now on not ready: the balancer in front should send requests elsewhere.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether [`Health::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// The answer to `/health`: whoever can ask finds it alive.
    pub const fn alive(&self) -> Report {
        Report { status: Status::Ok, checks: Vec::new() }
    }

    /// The answer to `/ready`: asks every check.
    pub fn ready(&self) -> Report {
        let checks: Vec<_> = self.0.checks.read().iter().map(|(name, ask)| check(name, ask)).collect();
        let failing = checks.iter().any(|check| check.status == Status::Failing);
        let status = match (self.is_draining(), failing) {
            (true, _) => Status::Draining,
            (false, true) => Status::Failing,
            (false, false) => Status::Ok,
        };
        Report { status, checks }
    }
}

/// A check that panics fails; it does not take the asker with it.
fn check(name: &str, ask: &Ask) -> Check {
    let (status, detail) = match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(Ok(detail)) => (Status::Ok, detail),
        Ok(Err(detail)) => (Status::Failing, detail),
        Err(_) => (Status::Failing, "the check panicked: see the log".to_owned()),
    };
    Check { name: name.to_owned(), status, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_dependency_makes_the_node_unready_and_is_named() {
        let health = Health::new();
        assert!(health.ready().is_ready());
        health.register("journal", || Ok("seq 7".into()));
        health.register("disk", || Err("less than 1 % free".into()));
        let report = health.ready();
        assert!(!report.is_ready());
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({"status": "failing", "checks": [
                {"name": "journal", "status": "ok", "detail": "seq 7"},
                {"name": "disk", "status": "failing", "detail": "less than 1 % free"},
            ]})
        );
        assert!(report.without_details().checks.iter().all(|check| check.detail.is_empty()));
        assert!(health.alive().is_ready(), "alive whatever fails");
        health.register("disk", || Ok(String::new()));
        assert!(health.ready().is_ready(), "a check registered again replaces the first");
    }

    #[test]
    fn a_draining_node_is_alive_but_not_ready() {
        let health = Health::new();
        health.clone().drain();
        assert_eq!(health.ready().status, Status::Draining);
        assert!(health.alive().is_ready());
    }

    #[test]
    fn a_check_that_panics_fails_alone() {
        let health = Health::new();
        health.register("bad", || panic!("oops"));
        health.register("good", || Ok(String::new()));
        let statuses: Vec<_> = health.ready().checks.into_iter().map(|check| check.status).collect();
        assert_eq!(statuses, [Status::Failing, Status::Ok]);
    }
}
