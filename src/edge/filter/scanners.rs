//! Paths that nobody asks for but who looks for holes.
//!
//! What is asked for most, by what public honeypots and access logs show; dot files and configurations are those of
//! the OWASP Core Rule Set's rule 930130 (`restricted-files.data`), as far as no site serves them on purpose:
//! `.well-known` is not among them, nor `package.json`, nor anything by its type alone but in the group `php`.
//! Scanners ask for them below any folder, so a path is looked through segment by segment.

use std::collections::HashSet;

use crate::config::filter::Scanned;

const SECRETS: &[&str] = &[
    ".env",
    ".envrc",
    ".git",
    ".gitconfig",
    ".git-credentials",
    ".svn",
    ".hg",
    ".bzr",
    ".cvs",
    ".aws",
    ".azure",
    ".boto",
    ".docker",
    ".kube",
    ".ssh",
    ".gnupg",
    ".npmrc",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".s3cfg",
    ".htpasswd",
    ".htaccess",
    ".htdigest",
    ".bash_history",
    ".bashrc",
    ".mysql_history",
    ".psql_history",
    ".ds_store",
    ".vscode",
    ".idea",
    ".terraform",
    ".remote-sync.json",
    ".ftpconfig",
    "sftp-config.json",
    "id_rsa",
    "id_ed25519",
    "id_dsa",
    "web.config",
    "wp-config.php",
    "config.php.bak",
    "secrets.yml",
    "secrets.json",
    "docker-compose.yml",
    "server-status",
    "server-info",
    "etc/passwd",
    "proc/self",
    "web-inf",
    "meta-inf",
];

const WORDPRESS: &[&str] = &[
    "wp-login.php",
    "wp-admin",
    "wp-content",
    "wp-includes",
    "wp-json",
    "wp-cron.php",
    "wp-config.php",
    "wlwmanifest.xml",
    "xmlrpc.php",
];

const PHP: &[&str] = &[
    "phpmyadmin",
    "pma",
    "myadmin",
    "phppgadmin",
    "adminer",
    "phpinfo",
    "phpunit",
    "eval-stdin.php",
    "_ignition",
    "thinkphp",
    "administrator/index.php",
];

const JAVA: &[&str] = &[
    "actuator/env",
    "actuator/heapdump",
    "actuator/gateway",
    "actuator/httptrace",
    "manager/html",
    "host-manager/html",
    "jmx-console",
    "web-console/invoker",
    "invoker/jmxinvokerservlet",
    "solr/admin",
    "jolokia",
    "wls-wsat",
    "_async/asyncresponseservice",
    "login/loginform.jsp",
    "struts2-showcase",
];

const DEVICES: &[&str] = &[
    "boaform",
    "hnap1",
    "gponform",
    "goform",
    "cgi-bin/luci",
    "setup.cgi",
    "currentsetting.htm",
    "tmunblock.cgi",
    "remote/fgt_lang",
    "dana-na",
    "owa/auth",
    "ecp/current",
    "autodiscover/autodiscover.json",
    "geoserver/web",
    "sdk/webview",
    "nice%20ports,",
];

/// The paths of some groups.
#[derive(Debug)]
pub struct Scanners {
    /// A segment, or two with a slash between them, in lower case.
    known: HashSet<&'static str>,
    /// Whether any path that ends like a PHP script is one.
    php: bool,
    /// Whether `.env.local` and its like are.
    secrets: bool,
}

impl Scanners {
    /// Of these groups; none of none.
    pub fn new(groups: &[Scanned]) -> Option<Self> {
        let of = |group: &Scanned| match group {
            Scanned::Secrets => SECRETS,
            Scanned::Wordpress => WORDPRESS,
            Scanned::Php => PHP,
            Scanned::Java => JAVA,
            Scanned::Devices => DEVICES,
        };
        let known = groups.iter().flat_map(of).copied().collect();
        let (php, secrets) = (groups.contains(&Scanned::Php), groups.contains(&Scanned::Secrets));
        (!groups.is_empty()).then_some(Self { known, php, secrets })
    }

    /// Whether a path, in lower case, is one of them.
    pub fn ask(&self, path: &str) -> bool {
        let mut start = 1;
        let mut before = None;
        for segment in path.split('/').skip(1) {
            let end = start + segment.len();
            let pair = before.and_then(|before| path.get(before..end));
            if self.known.contains(segment) || pair.is_some_and(|pair| self.known.contains(pair)) {
                return true;
            }
            if self.secrets && (segment.starts_with(".env.") || segment.ends_with(".env")) {
                return true;
            }
            (before, start) = (Some(start), end + 1);
        }
        self.php
            && [".php", ".php5", ".php7", ".phtml", ".asp", ".aspx", ".jsp"]
                .iter()
                .any(|end| path.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scanners_ask_for_is_known_below_any_folder_and_what_sites_serve_is_not() {
        let all = [Scanned::Secrets, Scanned::Wordpress, Scanned::Php, Scanned::Java, Scanned::Devices];
        let scanners = Scanners::new(&all).unwrap();
        for path in [
            "/.env",
            "/api/.env",
            "/.env.production",
            "/prod.env",
            "/.git/config",
            "/x/.git/head",
            "/wp-login.php",
            "/blog/wp-admin/",
            "/phpmyadmin/index.php",
            "/index.php",
            "/vendor/phpunit/phpunit/src/util/php/eval-stdin.php",
            "/actuator/env",
            "/x/actuator/heapdump",
            "/manager/html",
            "/cgi-bin/luci/;stok=/locale",
            "/boaform/admin/formlogin",
        ] {
            assert!(scanners.ask(path), "{path}");
        }
        for path in [
            "/",
            "/.well-known/acme-challenge/x",
            "/.well-known/jwks.json",
            "/environment",
            "/env",
            "/actuator/health",
            "/actuator",
            "/manager",
            "/html/manager",
            "/git/config",
            "/a.git-b",
            "/console",
            "/docs/wp-loginphp",
            "/phones",
            "/owa",
            "",
        ] {
            assert!(!scanners.ask(path), "{path}");
        }
    }

    #[test]
    fn each_group_is_by_itself_and_written_as_it_is_compared() {
        assert!(Scanners::new(&[]).is_none());
        let secrets = Scanners::new(&[Scanned::Secrets]).unwrap();
        assert!(secrets.ask("/.env") && !secrets.ask("/wp-login.php") && !secrets.ask("/index.php"));
        for path in [SECRETS, WORDPRESS, PHP, JAVA, DEVICES].concat() {
            assert_eq!(path, path.to_ascii_lowercase());
            assert!(path.split('/').count() <= 2 && !path.starts_with('/'), "{path}");
        }
    }
}
