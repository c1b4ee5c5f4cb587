//! A first configuration, as `keepgate init` writes it: the keys that nobody else can choose, each with
//! why, and where to find the rest. Read like any other afterwards, so that no rule is told twice.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Environment;
use super::tls::CertificateFiles;

/// What is asked before there is a configuration.
#[derive(Clone, Debug)]
pub struct First {
    /// What kind of place it is.
    pub environment: Environment,
    /// Absolute.
    pub data_dir: PathBuf,
    /// The public address, `https://…`.
    pub issuer: String,
    /// The name in it, for the local CA.
    pub domain: String,
    /// Where HTTPS is accepted.
    pub https: SocketAddr,
    /// Where plain HTTP is redirected; nowhere if `None`.
    pub http: Option<SocketAddr>,
    /// Where metrics and health are answered; nowhere if `None`.
    pub internal: Option<SocketAddr>,
    /// PEM files; the local CA if `None`.
    pub certificate: Option<CertificateFiles>,
    /// The application behind the gate, if there is one yet.
    pub upstream: Option<String>,
}

const HEAD: &str = "\
# Keepgate's configuration, first written by `keepgate init`.
#
# What is left out stands at its default. `keepgate config keys` tells of every key there is,
# `keepgate config show` what is in force and who set it, `keepgate check` what is wrong.
";

const API_ROUTES: &str = "\
# Keepgate's own API. Leave out what the public should not reach.
[[routes]]
path = \"/auth\"
api = true
auth = \"optional\"

[[routes]]
path = \"/.well-known\"
api = true
auth = \"optional\"
";

impl First {
    /// The file.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let environment = self.environment.name();
        let _ = write!(
            text,
            "\nenvironment = \"{environment}\"\n\
             # Everything durable, the keys included. It belongs to the user that runs keepgate.\n\
             data_dir = {}\n\n[listen]\nhttps = [\"{}\"]\n",
            quoted(self.data_dir.display()),
            self.https
        );
        match self.http {
            Some(http) => {
                let _ = writeln!(text, "# Only redirected to HTTPS.\nhttp = [\"{http}\"]");
            }
            None => text += "http = []\n",
        }
        let internal = self.internal.map_or_else(|| "off".to_owned(), |address| address.to_string());
        let _ = writeln!(text, "# Metrics and health, not for the public.\ninternal = \"{internal}\"\n");
        text += &self.tls();
        let _ = write!(
            text,
            "\n[tokens]\n# The public address. Changing it makes every token invalid.\nissuer = {}\n\n\
             [accounts]\n# Who may register: \"open\" anyone, \"invite\" who has an invitation, \"closed\" nobody.\n\
             registration = \"closed\"\n\n{API_ROUTES}",
            quoted(&self.issuer)
        );
        text += &self.application();
        text
    }

    fn tls(&self) -> String {
        match &self.certificate {
            Some(CertificateFiles { certificate, key }) => format!(
                "[tls]\nsource = \"files\"\n\n[[tls.certificates]]\ncertificate = {}\n# Only for the user that runs \
                 keepgate (mode 600).\nkey = {}\n",
                quoted(certificate.display()),
                quoted(key.display())
            ),
            None => {
                let mut names = vec![self.domain.as_str()];
                names.extend(
                    ["localhost", "127.0.0.1", "::1"].into_iter().filter(|name| *name != self.domain),
                );
                let names: Vec<_> = names.into_iter().map(quoted).collect();
                format!(
                    "[tls]\n# A CA of its own, in data_dir/tls: no client trusts it until it has ca.pem. Not for \
                     production.\nsource = \"local-ca\"\nnames = [{}]\n",
                    names.join(", ")
                )
            }
        }
    }

    fn application(&self) -> String {
        match &self.upstream {
            Some(server) => format!(
                "\n# The application: only who is signed in gets there.\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n\
                 auth = \"required\"\n\n[upstreams.app]\nservers = [{}]\n",
                quoted(server)
            ),
            None => "\n# An application behind the gate:\n#\n#   [[routes]]\n#   path = \"/\"\n#   upstream = \"app\"\n#\n\
                     #   [upstreams.app]\n#   servers = [\"127.0.0.1:3000\"]\n"
                .to_owned(),
        }
    }
}

fn quoted(text: impl ToString) -> String {
    toml::Value::String(text.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    fn first() -> First {
        First {
            environment: Environment::Production,
            data_dir: PathBuf::from("/var/lib/keepgate"),
            issuer: "https://id.example.com".to_owned(),
            domain: "id.example.com".to_owned(),
            https: SocketAddr::from(([0, 0, 0, 0], 443)),
            http: Some(SocketAddr::from(([0, 0, 0, 0], 80))),
            internal: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            certificate: Some(CertificateFiles {
                certificate: PathBuf::from("/etc/keepgate/tls/cert.pem"),
                key: PathBuf::from("/etc/keepgate/tls/key.pem"),
            }),
            upstream: Some("127.0.0.1:3000".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_good_and_says_what_was_asked() {
        let config = read::parse(&first().text(), "config.toml", Vec::new()).unwrap();
        assert_eq!(config.tokens.issuer, "https://id.example.com");
        assert_eq!((config.routes.len(), config.upstreams.len()), (3, 1));
        insta::assert_snapshot!(first().text());
    }

    #[test]
    fn without_certificates_application_and_listeners_it_is_good_too() {
        let least = First {
            environment: Environment::Development,
            data_dir: PathBuf::from("/tmp/a \"b\" \\ ü"),
            domain: "localhost".to_owned(),
            issuer: "https://localhost:8443".to_owned(),
            http: None,
            internal: None,
            certificate: None,
            upstream: None,
            ..first()
        };
        let config = read::parse(&least.text(), "config.toml", Vec::new()).unwrap();
        assert_eq!(config.data_dir, least.data_dir);
        assert!(config.listen.http.is_empty() && config.listen.internal.is_none());
        insta::assert_snapshot!(least.text());
    }
}
