//! `keepgate init`: from nothing to a node that can be started: configuration, folders, the first
//! administrator. It asks for what the arguments leave out, if there is a terminal to ask on.
//!
//! Invariant: all or nothing. What is there already is named and left alone; what was made is undone if
//! the next step fails. The configuration is written last: a run that was killed has made no node, and the
//! next one begins anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::exit::Usage;
use super::open::Node;
use super::place;
use super::{Address, address, address_or_off, ask, output, password};
use crate::app::control::command::{Command, Password};
use crate::app::control::reply::{Code, Failure, Reply};
use crate::app::control::view::User;
use crate::app::setup;
use crate::config::first::First;
use crate::config::probe::probe;
use crate::config::problem::{Place, Problems};
use crate::config::tls::CertificateFiles;
use crate::config::{Config, Environment, read};
use crate::model::email::Email;
use crate::model::random::SystemRng;
use crate::model::role::Role;

/// What reports call the configuration before it is written.
const NEW: &str = "the new configuration";

/// `init`
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Public name of the gate, such as id.example.com
    #[arg(long, value_name = "NAME", value_parser = domain, conflicts_with = "issuer")]
    domain: Option<String>,
    /// Public address, where it is not https://NAME with the port of --https
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What kind of place this is
    #[arg(long, value_name = "KIND", value_parser = environment, default_value = "production")]
    environment: Environment,
    /// Where to listen for HTTPS
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "0.0.0.0:443")]
    https: SocketAddr,
    /// Where to redirect plain HTTP, or off
    #[arg(long, value_name = "ADDR", value_parser = address_or_off, default_value = "0.0.0.0:80")]
    http: Address,
    /// Where to answer metrics and health, or off
    #[arg(long, value_name = "ADDR", value_parser = address_or_off, default_value = "127.0.0.1:9090")]
    internal: Address,
    /// Certificate chain, a PEM file; outside production a local CA if left out
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, a PEM file that only keepgate's user can read
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The application behind the gate, such as 127.0.0.1:3000 or unix:/run/app.sock
    #[arg(long, value_name = "SERVER")]
    upstream: Option<String>,
    /// E-mail address of the first administrator
    #[arg(long, value_name = "EMAIL")]
    admin: Option<Email>,
    #[command(flatten)]
    password: password::Source,
    /// Ask nothing: what is left out stands at its default. The password has none: give --generate or
    /// --password-stdin too
    #[arg(long)]
    yes: bool,
    /// Print the configuration, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Everything decided, nothing done.
struct Plan {
    file: PathBuf,
    text: String,
    config: Config,
    admin: Email,
}

impl Init {
    pub(super) fn run(mut self, place: &place::Place, json: bool) -> anyhow::Result<ExitCode> {
        let (file, data) = place.new_node()?;
        // Before a single question.
        refuse_obstacles(&file, &data)?;
        if !self.yes && ask::can_ask() {
            self.ask()?;
        }
        let plan = self.plan(file, data)?;
        if self.dry_run {
            output::print(&plan.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let secret = self.password.read(&SystemRng)?;
        if !self.yes && ask::can_ask() {
            let question = format!("Write {} and {}?", plan.file.display(), plan.config.data_dir.display());
            ask::confirm(&question, "nothing was written")?;
        }
        let (made, administrator) = plan.carry_out(&secret)?;
        output::print(&report(&plan, &made, &administrator, json)?)?;
        self.password.show(&secret, json)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Asks for what the arguments left open.
    fn ask(&mut self) -> anyhow::Result<()> {
        if self.domain.is_none() && self.issuer.is_none() {
            let question = "Public name of the gate, such as id.example.com";
            self.domain = Some(ask::until(question, domain)?);
        }
        let production = self.environment == Environment::Production;
        if self.certificate.is_none() {
            let or = if production { "" } else { "; empty for a local CA" };
            let question = format!("Certificate chain, a PEM file{or}");
            self.certificate = ask::path(&question, !production)?;
        }
        if self.certificate.is_some() && self.key.is_none() {
            self.key = ask::path("Its private key, a PEM file", false)?;
        }
        if self.upstream.is_none() {
            let question = "Application behind the gate, such as 127.0.0.1:3000; empty for none yet";
            self.upstream = Some(ask::line(question)?).filter(|answer| !answer.is_empty());
        }
        if self.admin.is_none() {
            let question = "E-mail address of the first administrator";
            self.admin = Some(ask::until(question, |text| text.parse::<Email>())?);
        }
        Ok(())
    }

    /// The configuration, if every rule holds for it.
    fn plan(&self, file: PathBuf, data_dir: PathBuf) -> anyhow::Result<Plan> {
        let missing = |what: &str| Usage {
            message: format!("{what} is not given, and there is nobody to ask"),
            remedy: "give --domain (or --issuer) and --admin, or run it on a terminal without --yes",
        };
        let admin = self.admin.clone().ok_or_else(|| missing("--admin"))?;
        let (issuer, domain) = match (&self.issuer, &self.domain) {
            (Some(issuer), _) => (issuer.clone(), host_of(issuer)),
            (None, Some(domain)) => (issuer_of(domain, self.https.port()), domain.clone()),
            (None, None) => return Err(missing("--domain").into()),
        };
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(CertificateFiles { certificate: absolute(certificate)?, key: absolute(key)? })
            }
            _ => None,
        };
        let first = First {
            environment: self.environment,
            data_dir,
            issuer,
            domain,
            https: self.https,
            http: self.http.0,
            internal: self.internal.0,
            certificate,
            upstream: self.upstream.clone(),
        };
        let text = first.text();
        // With the environment's overrides, which `check` and `serve` will see too.
        let config = read::parse(&text, NEW, read::environment()?);
        let config =
            config.map_err(|wrong| if self.certificate.is_none() { uncertified(wrong) } else { wrong })?;
        let problems: Vec<_> =
            probe(&config).into_iter().filter(|problem| problem.key != "data_dir").collect();
        if !problems.is_empty() {
            return Err(Problems { file: NEW.to_owned(), problems }.into());
        }
        Ok(Plan { file, text, config, admin })
    }
}

/// In terms of the arguments: the line of a file that nobody has would help nobody.
fn uncertified(mut wrong: Problems) -> Problems {
    for problem in wrong.problems.iter_mut().filter(|problem| problem.key == "tls.source") {
        problem.place = Place::Unset;
        problem.remedy =
            "give --certificate FILE and --key FILE; or begin with --environment stage, which makes a local \
                          CA, and set source = \"acme\" in [tls] later (docs/certificates.md)"
                .to_owned();
    }
    wrong
}

impl Plan {
    fn carry_out(&self, password: &Password) -> anyhow::Result<(Vec<PathBuf>, User)> {
        let data = &self.config.data_dir;
        refuse_obstacles(&self.file, data)?;
        let mut setup = setup::prepare(&self.file, data)?;
        let filled = self.fill(password).and_then(|administrator| {
            setup.finish(&self.file, &self.text, data)?;
            Ok(administrator)
        });
        match filled {
            Ok(administrator) => Ok((setup.made().to_vec(), administrator)),
            Err(error) => {
                setup.undo();
                Err(error)
            }
        }
    }

    /// The folder as `check` will see it, and the stores with the first administrator.
    fn fill(&self, password: &Password) -> anyhow::Result<User> {
        let problems = probe(&self.config);
        if !problems.is_empty() {
            return Err(Problems { file: NEW.to_owned(), problems }.into());
        }
        let command = Command::UserAdd {
            email: self.admin.clone(),
            name: "Administrator".to_owned(),
            roles: [Role::admin()].into(),
            password: password.clone(),
        };
        // On a thread of its own: it becomes the data folder's owner, and this one must stay who it is, to
        // undo what it made.
        let config = self.config.clone();
        let filled = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut node = Node::of(config);
                let done = node.execute(command).await;
                let closed = node.close().await;
                let reply = done?;
                closed.map(|()| reply)
            })
        });
        match filled.join() {
            Ok(reply) => match reply? {
                Reply::User(user) => Ok(user),
                other => Err(output::unexpected(&other)),
            },
            Err(_) => Err(anyhow::anyhow!("the stores could not be made: see the message above")),
        }
    }
}

fn refuse_obstacles(file: &Path, data: &Path) -> Result<(), Failure> {
    let found = setup::obstacles(file, data);
    if found.is_empty() {
        return Ok(());
    }
    let message = format!("there is already {}; nothing was written", found.join(" and "));
    let remedy = "move it away, or name others with --config and --data";
    Err(Failure::new(Code::Conflict, message).remedy(remedy))
}

fn report(plan: &Plan, made: &[PathBuf], user: &User, json: bool) -> serde_json::Result<String> {
    let Plan { file, config, .. } = plan;
    if json {
        let value = json!({
            "config": file, "data_dir": config.data_dir, "made": made, "administrator": user,
        });
        return output::pretty(&value);
    }
    let made: String = made.iter().map(|path| format!("  {}\n", path.display())).collect();
    let (file, data, email) = (file.display(), config.data_dir.display(), &user.email);
    Ok(format!(
        "Made, with the stores in {data}:\n{made}The first administrator is {email}.\n\nNext:\n  \
         keepgate check --config {file}\n  keepgate serve --config {file}\n"
    ))
}

/// A host name in its lower-case ASCII form.
fn domain(text: &str) -> Result<String, &'static str> {
    let plain = |name: &String| !name.is_empty() && !name.ends_with('.');
    idna::domain_to_ascii_strict(text)
        .ok()
        .filter(plain)
        .ok_or("write a host name such as id.example.com, without https:// and port")
}

fn issuer_of(domain: &str, port: u16) -> String {
    match port {
        0 | 443 => format!("https://{domain}"),
        port => format!("https://{domain}:{port}"),
    }
}

fn host_of(issuer: &str) -> String {
    let uri = issuer.parse::<http::Uri>().ok();
    uri.as_ref().and_then(http::Uri::host).unwrap_or_default().to_owned()
}

fn environment(text: &str) -> Result<Environment, &'static str> {
    [Environment::Development, Environment::Stage, Environment::Production]
        .into_iter()
        .find(|environment| environment.name() == text)
        .ok_or("write development, stage or production")
}
