//! Configuration: one struct per section, every key with a default that is safe. These are plain
//! values that have been checked; reading TOML, the environment and secrets is `read`'s business.

pub mod accounts;
pub mod acme;
pub mod audit;
pub mod blacklist;
pub mod change;
pub mod content;
pub mod cors;
pub mod development;
pub mod error_pages;
pub mod filter;
pub mod first;
pub mod forwarding;
pub mod headers;
pub mod keys;
pub mod limits;
pub mod listen;
pub mod log;
mod pairs;
pub mod passwords;
pub mod probe;
pub mod problem;
pub mod rates;
pub mod read;
pub mod route;
pub mod secret;
pub mod setting;
pub mod store;
pub mod survey;
pub mod throttle;
pub mod tls;
pub mod tokens;
pub mod upstream;
pub mod users;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// `data_dir` where the configuration names none: what the packages create.
pub const DATA_DIR: &str = "/var/lib/keepgate";

/// What kind of place this is. Production refuses what only development may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// A rehearsal of production.
    Stage,
    /// The real thing: the default, so that forgetting the key is safe.
    #[default]
    Production,
}

impl Environment {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Stage => "stage",
            Self::Production => "production",
        }
    }
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `environment`
    pub environment: Environment,
    /// `data_dir`: where everything durable lives.
    pub data_dir: PathBuf,
    /// `zone`: where this node stands.
    pub zone: Option<String>,
    /// `[listen]`
    pub listen: listen::Listen,
    /// `[tls]`
    pub tls: tls::Tls,
    /// `[limits]`
    pub limits: limits::Limits,
    /// `[rates]`
    pub rates: rates::Rates,
    /// `[cors]`
    pub cors: cors::Cors,
    /// `[forwarding]`
    pub forwarding: forwarding::Forwarding,
    /// `[request_headers]`: what is changed of requests to applications.
    pub request_headers: headers::HeaderRules,
    /// `[response_headers]`: what is changed of every answer.
    pub response_headers: headers::HeaderRules,
    /// `[blacklist]`
    pub blacklist: blacklist::Blacklist,
    /// `[[filters]]`
    pub filters: Vec<filter::Filter>,
    /// `[bans]`
    pub bans: filter::Bans,
    /// `[[routes]]`, most specific first once loaded.
    pub routes: Vec<route::Route>,
    /// `[[error_pages]]`
    pub error_pages: Vec<error_pages::ErrorPage>,
    /// `[upstreams.NAME]`
    pub upstreams: BTreeMap<String, upstream::Upstream>,
    /// `[accounts]`
    pub accounts: accounts::Accounts,
    /// `[users]`
    pub users: users::Users,
    /// `[passwords]`
    pub passwords: passwords::Passwords,
    /// `[throttle]`
    pub throttle: throttle::Throttle,
    /// `[tokens]`
    pub tokens: tokens::Tokens,
    /// `[keys]`
    pub keys: keys::Keys,
    /// `[store]`
    pub store: store::Store,
    /// `[audit]`
    pub audit: audit::Audit,
    /// `[log]`
    pub log: log::Log,
}
