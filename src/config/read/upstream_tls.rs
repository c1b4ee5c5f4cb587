//! What a group's servers speak, and how they prove who they are: `protocol`, `tls`, `tls_ca`, `tls_server_name`
//! of `[upstreams.NAME]`. What means nothing together is refused.

use super::kind::{flag, one_of, path};
use super::section::Section;
use super::sections::host;
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
    let tls =
        Tls { ca: section.optional("tls_ca", path), server_name: section.optional("tls_server_name", host) };
    let unused = ["tls_ca", "tls_server_name"].into_iter().find(|key| !secure && section.has(key));
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
        let own = Tls { ca: Some(PathBuf::from("/ca.pem")), server_name: Some("app.internal".to_owned()) };
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
            ("servers = [\"unix:/s\"]\ntls = true".to_owned(), "has no name to verify"),
        ] {
            assert!(said(&lines).contains(words), "{lines}: {}", said(&lines));
        }
    }
}
