//! What `keepgate serve --dev` uses: the whole appliance from an empty folder, without a file.
//! `development.toml` is that configuration, read like any other, so that the environment overrides
//! it and every rule holds for it too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Config;
use super::problem::Problems;
use super::read;
use super::setting::{Origin, Setting};

/// The upstream that `serve --dev` runs inside the process.
pub const ECHO: &str = "echo";

/// What messages call it.
const NAME: &str = "the development configuration";
const TEXT: &str = include_str!("development.toml");

/// Listeners that the command line may set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listeners {
    /// `--https`
    pub https: Option<SocketAddr>,
    /// `--http`
    pub http: Door,
    /// `--internal`
    pub internal: Door,
}

/// A listener that need not be.
#[derive(Clone, Copy, Debug, Default)]
pub enum Door {
    /// The command line says nothing of it.
    #[default]
    AsConfigured,
    /// There is none.
    Off,
    /// It is here.
    At(SocketAddr),
}

impl Listeners {
    /// Puts what was given in place of what was configured.
    pub fn apply(&self, config: &mut Config) {
        if let Some(https) = self.https {
            config.listen.https = vec![https];
        }
        match self.http {
            Door::AsConfigured => {}
            Door::Off => config.listen.http.clear(),
            Door::At(http) => config.listen.http = vec![http],
        }
        match self.internal {
            Door::AsConfigured => {}
            Door::Off => config.listen.internal = None,
            Door::At(internal) => config.listen.internal = Some(internal),
        }
    }
}

/// The socket of the echo upstream in a data folder.
pub fn echo_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("run/echo.sock")
}

impl Config {
    /// Development in `data_dir`, with the environment's overrides. The issuer is `https://localhost`
    /// with the HTTPS port; without it if the port is left to the system, so that it stays the same
    /// over restarts.
    pub fn development(
        data_dir: &Path,
        listeners: &Listeners,
        environment: Vec<(String, String)>,
    ) -> Result<Self, Problems> {
        let mut config = read::parse(&text(data_dir, listeners), NAME, environment)?;
        listeners.apply(&mut config);
        let problems = read::standing(&config);
        if problems.is_empty() { Ok(config) } else { Err(Problems { file: NAME.to_owned(), problems }) }
    }
}

/// Every key of development in `data_dir`, its value, and where that was set.
pub fn explain(data_dir: &Path, environment: Vec<(String, String)>) -> Result<Vec<Setting>, Problems> {
    let mut settings = read::explain(&text(data_dir, &Listeners::default()), NAME, environment)?;
    for setting in &mut settings {
        // The lines of a text that nobody has would help nobody.
        if matches!(setting.origin, Origin::File(_)) {
            setting.origin = Origin::Development;
        }
    }
    Ok(settings)
}

fn text(data_dir: &Path, listeners: &Listeners) -> String {
    let https = listeners.https.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8443)));
    let issuer = match https.port() {
        0 | 443 => "https://localhost".to_owned(),
        port => format!("https://localhost:{port}"),
    };
    let quoted = |text: String| toml::Value::String(text).to_string();
    let server = format!("unix:{}", echo_socket(data_dir).display());
    format!(
        "data_dir = {}\n{TEXT}\n[tokens]\nissuer = {}\n[upstreams.{ECHO}]\nservers = [{}]\n",
        quoted(data_dir.display().to_string()),
        quoted(issuer),
        quoted(server),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::{RouteAuth, RouteTarget};

    fn development(port: u16, environment: &[(&str, &str)]) -> Config {
        let https = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::development(Path::new("/tmp/x y"), &Listeners { https, ..Listeners::default() }, environment)
            .unwrap()
    }

    #[test]
    fn development_needs_a_token_for_echo_but_not_for_its_public_part() {
        let config = development(8443, &[]);
        let first = |path: &str| config.routes.iter().find(|r| path.starts_with(&r.path)).unwrap();
        assert_eq!(first("/echo/public").auth, RouteAuth::None);
        assert_eq!(first("/echo/x").auth, RouteAuth::Required);
        assert_eq!(first("/auth/v1/login").target, RouteTarget::Api);
    }

    #[test]
    fn the_issuer_follows_the_port_unless_the_system_chooses_it() {
        assert_eq!(development(8443, &[]).tokens.issuer, "https://localhost:8443");
        assert_eq!(development(0, &[]).tokens.issuer, "https://localhost");
    }

    #[test]
    fn a_door_can_be_left_shut() {
        let listeners = Listeners { https: None, http: Door::Off, internal: Door::Off };
        let config = Config::development(Path::new("/tmp/x"), &listeners, Vec::new()).unwrap();
        assert!(config.listen.http.is_empty() && config.listen.internal.is_none());
    }

    #[test]
    fn the_environment_overrides_development_too() {
        assert_eq!(development(0, &[("KEEPGATE_PASSWORDS__QUEUE", "7")]).passwords.queue, 7);
    }
}
