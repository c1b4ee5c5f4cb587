//! `[tls]` and what stands below it: where certificates come from decides which of its keys mean
//! anything, and those that do not are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use super::kind::{self, duration, flag, list, one_of, parsed, path, text, wrong};
use super::section::Section;
use super::sections::{YEAR, host};
use super::tree::{Node, Value};
use crate::config::acme::{Acme, Challenge, ExternalAccount};
use crate::config::tls::{CertificateFiles, CertificateSource, Tls};

/// Most names of one certificate: what Let's Encrypt takes.
const MOST_NAMES: usize = 100;
/// Most certificates: each has an order of its own.
const MOST_CERTIFICATES: usize = 1000;

/// How certificates are written.
const EACH: &str =
    "write a list of names for each certificate, such as [[\"example.com\", \"www.example.com\"]]";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Files,
    LocalCa,
    Acme,
}

impl Source {
    const fn written(self) -> &'static str {
        match self {
            Self::Files => "source = \"files\"",
            Self::LocalCa => "source = \"local-ca\"",
            Self::Acme => "source = \"acme\"",
        }
    }
}

pub(super) fn tls(mut section: Section<'_>) -> Tls {
    let mut tls = Tls::default();
    let sources = one_of(&[("files", Source::Files), ("local-ca", Source::LocalCa), ("acme", Source::Acme)]);
    let source = section.optional("source", sources).unwrap_or(Source::LocalCa);
    let unused = |section: &Section<'_>, key: &str, remedy: &str| {
        section.problem(key, None, &format!("is not used by {}", source.written()), remedy);
    };
    let names_given = section.has("names");
    let names = section.optional("names", list(certificate_name));
    let certificates_given = section.has("certificates");
    let certificates: Vec<_> = section.tables("certificates").into_iter().filter_map(certificate).collect();
    let acme = section.child("acme");
    if source != Source::Acme && !acme.is_empty() {
        unused(&section, "acme", "set source = \"acme\", or remove it");
    }
    let acme = acme_section(acme, source == Source::Acme);
    if source != Source::Files && certificates_given {
        unused(&section, "certificates", "set source = \"files\", or remove them");
    }
    match source {
        Source::LocalCa => {
            if let Some(names) = names {
                if names.is_empty() {
                    section.problem("names", None, "is empty", "write the names to issue for");
                }
                tls.source = CertificateSource::LocalCa { names };
            }
        }
        Source::Files => {
            if names_given {
                unused(&section, "names", "remove it: the names stand in the certificates");
            }
            if !certificates_given {
                let remedy = "write [[tls.certificates]] with certificate and key";
                section.problem("certificates", None, "is missing", remedy);
            }
            tls.source = CertificateSource::Files(certificates);
        }
        Source::Acme => {
            if names_given {
                unused(&section, "names", "write the names in tls.acme.certificates");
            }
            tls.source = CertificateSource::Acme(acme);
        }
    }
    section.set("min_version", one_of(&[("1.2", true), ("1.3", false)]), &mut tls.tls12);
    section.set("hsts", duration(Duration::ZERO, YEAR * 2), &mut tls.hsts);
    section.finish();
    tls
}

fn acme_section(mut section: Section<'_>, wanted: bool) -> Acme {
    let mut acme = Acme::default();
    section.set("directory", directory, &mut acme.directory);
    acme.directory_ca = section.optional("directory_ca", path);
    let agreed = section.optional("agree_to_terms", flag);
    let mailbox = parsed("is not an e-mail address", "write one such as \"ops@example.com\"");
    section.set("contact", list(mailbox), &mut acme.contact);
    let challenges = one_of(&[("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)]);
    section.set("challenge", challenges, &mut acme.challenge);
    let kid = section.optional("eab_kid", text);
    let key = section.secret("eab_key");
    acme.external_account = match (kid, key) {
        (Some(kid), Some(key)) => Some(ExternalAccount { kid, key }),
        (None, None) => None,
        // What is wrong with the other was said.
        (Some(_), None) if section.has("eab_key") => None,
        (None, Some(_)) if section.has("eab_kid") => None,
        (Some(_), None) => {
            section.problem("eab_kid", None, "stands without eab_key", "write both, as the CA gave them");
            None
        }
        (None, Some(_)) => {
            section.problem("eab_key", None, "stands without eab_kid", "write both, as the CA gave them");
            None
        }
    };
    let certificates_given = section.has("certificates");
    section.set("certificates", certificates, &mut acme.certificates);
    if wanted && !certificates_given {
        section.problem("certificates", None, "is missing", EACH);
    }
    if wanted && agreed != Some(true) {
        let remedy = "read the CA's terms of service (`meta.termsOfService` in its directory) and write true";
        let message = "is not true: a CA takes nobody who has not agreed to its terms";
        section.problem("agree_to_terms", None, message, remedy);
    }
    section.finish();
    acme
}

/// An https URL without user, query or fragment: what is asked for is signed, so that nobody else's
/// answer must be taken for it.
fn directory(node: &Node) -> kind::Read<String> {
    let url = text(node).ok().filter(|url| !url.contains(['?', '#', '@']));
    let uri = url.as_ref().and_then(|url| url.parse::<http::Uri>().ok());
    let good = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    match url.filter(|_| good) {
        Some(url) => Ok(url),
        None => {
            let remedy = "write its https URL, such as \"https://acme-v02.api.letsencrypt.org/directory\"";
            wrong(node, "is not an ACME directory", remedy)
        }
    }
}

/// A list of lists of names, none twice.
fn certificates(node: &Node) -> kind::Read<Vec<Vec<String>>> {
    let all = list(names)(node)?;
    let example = EACH;
    if all.is_empty() || all.len() > MOST_CERTIFICATES {
        return wrong(node, "has no certificate, or more than 1000", example);
    }
    if all.iter().any(|names| names.is_empty() || names.len() > MOST_NAMES) {
        return wrong(node, "has a certificate without names, or with more than 100", example);
    }
    let mut seen = BTreeSet::new();
    match all.iter().flatten().find(|name| !seen.insert(*name)) {
        Some(twice) => {
            wrong(node, format!("has {twice:?} twice"), "write each name once, in one certificate")
        }
        None => Ok(all),
    }
}

/// The names of one certificate.
fn names(node: &Node) -> kind::Read<Vec<String>> {
    match &node.value {
        Value::List(_) | Value::Loose(_) => list(ordered_name)(node),
        _ => wrong(node, "is not a list of names", EACH),
    }
}

/// A DNS name that either challenge can show control of.
fn ordered_name(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    if name.starts_with("*.") {
        let remedy =
            "write each name: a wildcard is proved by DNS records alone, which Keepgate does not set";
        return wrong(node, "is a wildcard", remedy);
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return wrong(node, "is an address", "write a DNS name");
    }
    host(node)
}

fn certificate(mut section: Section<'_>) -> Option<CertificateFiles> {
    let certificate = section.required("certificate", "write the path of the PEM chain, leaf first", path);
    let key = section.required("key", "write the path of the PEM private key", path);
    section.finish();
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

/// A DNS name or an IP address. The name is given in its ASCII form, lower-case.
fn certificate_name(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    if name.parse::<std::net::IpAddr>().is_ok() { Ok(name) } else { host(node) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::parse;

    fn read(acme: &str, more: &str) -> Result<Acme, String> {
        let text = format!(
            "{more}\n[tls]\nsource = \"acme\"\n[tls.acme]\n{acme}\n[tokens]\nissuer = \"https://a.example.com\"\n\
             [[routes]]\npath = \"/\"\napi = true\n"
        );
        match parse(&text, "config.toml", Vec::new()).map(|config| config.tls.source) {
            Ok(CertificateSource::Acme(acme)) => Ok(acme),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.to_string()),
        }
    }

    const LEAST: &str = "agree_to_terms = true\ncertificates = [[\"Example.com\", \"www.example.com\"], [\"bücher.example\"]]";

    #[test]
    fn names_and_agreement_are_enough() {
        let acme = read(LEAST, "").unwrap();
        assert_eq!(
            acme.certificates,
            [vec!["example.com", "www.example.com"], vec!["xn--bcher-kva.example"]]
        );
        assert_eq!(acme.directory, crate::config::acme::LETS_ENCRYPT);
        assert_eq!((acme.challenge, acme.external_account), (Challenge::Http01, None));
    }

    #[test]
    fn nobody_agrees_to_terms_by_saying_nothing() {
        for acme in [
            "certificates = [[\"a.example.com\"]]",
            "certificates = [[\"a.example.com\"]]\nagree_to_terms = false",
        ] {
            assert!(read(acme, "").unwrap_err().contains("tls.acme.agree_to_terms"));
        }
    }

    #[test]
    fn what_cannot_be_ordered_is_named_with_what_to_write() {
        let of = |list: &str| read(&format!("agree_to_terms = true\ncertificates = {list}"), "").unwrap_err();
        let all = [
            of("[]"),
            of("[[]]"),
            of("[[\"*.example.com\", \"192.0.2.1\"]]"),
            of("[[\"a.example.com\"], [\"b.example.com\", \"A.example.com\"]]"),
            of("[\"a.example.com\"]"),
            of("[[\"localhost\"]]"),
            read(&format!("{LEAST}\ndirectory = \"http://ca.example/dir\""), "").unwrap_err(),
            read(
                &format!("{LEAST}\ndirectory = \"https://acme-staging-v02.api.letsencrypt.org/directory\""),
                "",
            )
            .unwrap_err(),
            read(&format!("{LEAST}\neab_kid = \"kid-1\""), "").unwrap_err(),
            read(&format!("{LEAST}\neab_kid = \"kid-1\"\neab_key = {{ value = \"hunter2\" }}"), "")
                .unwrap_err(),
            read(&format!("{LEAST}\ncontact = [\"nobody\"]\nchallenge = \"dns-01\""), "").unwrap_err(),
            read(LEAST, "[listen]\nhttp = []").unwrap_err(),
        ];
        let all = all.join("\n");
        assert!(!all.contains("hunter2"), "{all}");
        insta::assert_snapshot!(all);
    }

    #[test]
    fn an_external_account_with_one_wrong_half_is_one_problem() {
        for halves in [
            "eab_kid = 7\neab_key = { env = \"KG_EAB\" }",
            "eab_kid = \"kid-1\"\neab_key = 7",
            "eab_key = { env = \"KG_EAB\" }",
        ] {
            let report = read(&format!("{LEAST}\n{halves}"), "").unwrap_err();
            assert!(report.contains("1 problem"), "{halves}: {report}");
        }
    }

    #[test]
    fn a_rehearsal_and_a_private_ca_may_do_what_production_by_a_public_one_may_not() {
        let staging = "directory = \"https://acme-staging-v02.api.letsencrypt.org/directory\"";
        assert!(read(&format!("{LEAST}\n{staging}"), "environment = \"stage\"").is_ok());
        let inside = "agree_to_terms = true\ncertificates = [[\"gate\"]]\ndirectory = \"https://ca/dir\"\ndirectory_ca = \"/ca.pem\"";
        assert!(read(inside, "").is_ok());
    }

    #[test]
    fn what_belongs_to_another_source_is_refused() {
        let text = "environment = \"stage\"\n[tls]\nnames = [\"localhost\"]\n[tls.acme]\nagree_to_terms = true\n[[routes]]\npath = \"/\"\napi = true\n";
        let report = parse(text, "config.toml", Vec::new()).unwrap_err().to_string();
        assert!(report.contains("tls.acme") && report.contains("set source = \"acme\""), "{report}");
    }
}
