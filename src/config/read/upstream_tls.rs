//! What a group's servers speak, and how they prove who they are: `protocol`, `tls` and the keys that
//! begin with it, of `[upstreams.NAME]`. What means nothing together is refused.

use super::kind::{flag, one_of, path};
use super::section::Section;
use super::sections::host;
use crate::config::tls::CertificateFiles;
use crate::config::upstream::{Member, Server, Tls};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Http1,
    H2,
    H2c,
}

/// Whether they speak HTTP/2, and whether over TLS.
pub(super) fn protocol(section: &mut Section<'_>, servers: &[Member]) -> (bool, Option<Tls>) {
    let choices = &[("http1", Protocol::Http1), ("h2", Protocol::H2), ("h2c", Protocol::H2c)];
    let protocol = section.optional("protocol", one_of(choices)).unwrap_or_default();
    let said = section.optional("tls", flag);
    let secure = match (protocol, said) {
        (Protocol::H2c, Some(true)) => {
            section.problem(
                "tls",
                None,
                "is not used by protocol = \"h2c\"",
                "set protocol = \"h2\", or remove it",
            );
            true
        }
        (Protocol::H2, Some(false)) => {
            let remedy = "set protocol = \"h2c\" for HTTP/2 in the clear, or remove it";
            section.problem("tls", None, "cannot be false with protocol = \"h2\"", remedy);
            true
        }
        (Protocol::H2, _) => true,
        (_, said) => said.unwrap_or_default(),
    };
    let ca = section.optional("tls_ca", path);
    let server_name = section.optional("tls_server_name", host);
    let (certificate, key) = (section.optional("tls_certificate", path), section.optional("tls_key", path));
    for (one, other) in [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")] {
        if section.has(one) && !section.has(other) {
            section.problem(one, None, &format!("is used with {other} only"), &format!("write {other} too"));
        }
    }
    let identity = certificate.zip(key).map(|(certificate, key)| CertificateFiles { certificate, key });
    let tls = Tls { ca, server_name, identity };
    let keys = ["tls_ca", "tls_server_name", "tls_certificate", "tls_key"];
    let unused = keys.into_iter().find(|key| !secure && section.has(key));
    if let Some(key) = unused {
        section.problem(
            key,
            None,
            "is used with TLS only",
            "set tls = true or protocol = \"h2\", or remove it",
        );
    }
    let socket = servers.iter().any(|member| matches!(member.server, Server::Unix(_)));
    if secure && socket && !section.has("tls_server_name") {
        let remedy = "write tls_server_name, the name in its certificate";
        section.problem("servers", None, "has a socket, which has no name to verify", remedy);
    }
    (protocol != Protocol::Http1, secure.then_some(tls))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};
    use super::*;
    use std::path::PathBuf;

    const SERVER: &str = "servers = [\"127.0.0.1:1\"]";

    fn app(lines: &str) -> (bool, Option<Tls>) {
        let config = config(&format!("{LEAST}[upstreams.app]\n{SERVER}\n{lines}\n"), &[]);
        let group = &config.upstreams["app"];
        (group.http2, group.tls.clone())
    }

    #[test]
    fn a_group_speaks_http1_in_the_clear_until_it_says_otherwise() {
        let public = Some(Tls::default());
        assert_eq!(app(""), (false, None));
        assert_eq!(app("protocol = \"http1\""), (false, None));
        assert_eq!(app("tls = true"), (false, public.clone()));
        assert_eq!(app("protocol = \"h2c\""), (true, None));
        assert_eq!(app("protocol = \"h2c\"\ntls = false"), (true, None));
        assert_eq!(app("protocol = \"h2\""), (true, public));
        let own = Tls {
            ca: Some(PathBuf::from("/ca.pem")),
            server_name: Some("app.internal".to_owned()),
            identity: None,
        };
        assert_eq!(
            app("tls = true\ntls_ca = \"/ca.pem\"\ntls_server_name = \"App.Internal\""),
            (false, Some(own))
        );
    }

    #[test]
    fn what_means_nothing_together_is_refused() {
        let said = |lines: &str| report(&format!("{LEAST}[upstreams.app]\n{lines}\n"), &[]);
        for (lines, words) in [
            (format!("{SERVER}\nprotocol = \"http2\""), "is not one of the choices"),
            (format!("{SERVER}\nprotocol = \"h2c\"\ntls = true"), "is not used by protocol = \"h2c\""),
            (format!("{SERVER}\nprotocol = \"h2\"\ntls = false"), "cannot be false with protocol = \"h2\""),
            (format!("{SERVER}\ntls_ca = \"/ca.pem\""), "is used with TLS only"),
            (format!("{SERVER}\ntls = true\ntls_ca = \"ca.pem\""), "is not an absolute path"),
            (format!("{SERVER}\ntls = true\ntls_key = \"/key.pem\""), "is used with tls_certificate only"),
            ("servers = [\"unix:/s\"]\ntls = true".to_owned(), "has no name to verify"),
        ] {
            assert!(said(&lines).contains(words), "{lines}: {}", said(&lines));
        }
    }
}
