//! `[[filters]]`: requests that are not let in by what they look like; and `[bans]`: what becomes of an address that
//! keeps sending them.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

/// The name that matches of the built-in paths are counted under.
pub const SCANNERS: &str = "scanners";

/// What becomes of a request that a filter matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// 403.
    #[default]
    Refuse,
    /// 404, as where nothing is served.
    NotFound,
    /// It goes on, and the log says so.
    Log,
    /// 403, and it is an offence.
    Ban,
}

/// What is asked of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// That it is there.
    Present,
    /// That it is not.
    Absent,
    /// That one of its lines is like this.
    Like(String),
}

/// Conditions, which must all hold. Of a list one is enough, but for `headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// For metrics, the log and the audit trail.
    pub name: String,
    /// `methods`
    pub methods: Vec<String>,
    /// `paths`: patterns.
    pub paths: Vec<String>,
    /// `query`: patterns.
    pub query: Vec<String>,
    /// `headers`: all of them.
    pub headers: Vec<(HeaderName, Want)>,
    /// `content_types`: patterns for the type without parameters.
    pub content_types: Vec<String>,
    /// `action`
    pub action: Action,
}

/// A kind of paths that only scanners ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Keys, configurations, repositories: what lies about where a site was copied to a server.
    Secrets,
    /// `WordPress`.
    Wordpress,
    /// PHP and what is written in it.
    Php,
    /// Consoles of Java's servers.
    Java,
    /// Routers, cameras, appliances.
    Devices,
}

/// What becomes of offenders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bans {
    /// `scanners`: asking for these is an offence.
    pub scanners: Vec<Scanned>,
    /// `offences`: so many…
    pub offences: u32,
    /// `window`: …within so long are one too many.
    pub window: Duration,
    /// `ladder`: how long the first ban lasts, the second, and so on; the last for all that follow.
    pub ladder: Vec<Duration>,
    /// `forget`: after so long without an offence all is forgotten.
    pub forget: Duration,
    /// `never`: who is not banned.
    pub never: Vec<IpNet>,
}

impl Default for Bans {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            scanners: Vec::new(),
            offences: 3,
            window: MINUTE * 10,
            ladder: vec![MINUTE, MINUTE * 10, MINUTE * 60, MINUTE * 60 * 24],
            forget: MINUTE * 60 * 24 * 7,
            never: Vec::new(),
        }
    }
}
