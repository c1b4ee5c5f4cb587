//! Configurations: whatever stands in the file and the environment, it is read as a whole or refused in
//! words; what is read, the rest of the house can use; and no secret is shown.

use crate::auth::password::hash::Parameters;
use crate::config::problem::Problems;
use crate::config::read::parse;
use crate::config::route::Route;
use crate::config::secret::SecretSource;
use crate::config::tls::CertificateSource;
use crate::config::{Config, Environment};
use crate::edge::filter::Filters;
use crate::edge::filter::measures::Tallies;
use crate::edge::rates::limiter::{Limiters, Ticks};
use crate::edge::rates::{Rates, RouteLimit};
use crate::edge::route::Table;
use crate::edge::shape::Defaults;

/// Stands between the file and the environment in an input.
const BORDER: &str = "\n--- environment\n";
const FILE: &str = "fuzz.toml";
const SECRET: &str = "hunter2-of-the-fuzzer";
/// A problem's longest text, bytes: a value of 1,024, each escaped, and some words.
const LONGEST: usize = 8 * 1024;

/// `config/read` over a file and lines `NAME=value`, which become `KEEPGATE_NAME`.
pub fn target(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (text, variables) = input.split_once(BORDER).unwrap_or((input, ""));
    let mut environment: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("KEEPGATE_{name}"), value.to_owned()))
        .collect();
    let outcome = parse(text, FILE, environment.clone());
    match &outcome {
        Ok(config) => usable(config),
        Err(problems) => legible(problems),
    }
    let shown = format!("{outcome:?}");
    environment.reverse();
    assert_eq!(
        format!("{:?}", parse(text, FILE, environment.clone())),
        shown,
        "the order of variables matters"
    );
    if !input.contains(SECRET) {
        for name in [
            "KEEPGATE_KEYS__MASTER_KEY__VALUE",
            "KEEPGATE_KEYS__MASTER_KEY",
            "KEEPGATE_KEYS__MASTER_KEY__FILE",
        ] {
            let mut environment = environment.clone();
            environment.push((name.to_owned(), SECRET.to_owned()));
            let outcome = parse(text, FILE, environment);
            let said = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let quiet = !format!("{outcome:?}{said}").contains(SECRET);
            // A path is no secret, but a secret put where a path belongs is refused without being shown.
            assert!(quiet, "{name} was shown: {said}");
        }
    }
}

/// The parts that go by it take it.
fn usable(config: &Config) {
    let names: Vec<&String> = config.upstreams.keys().collect();
    let place = |name: &str| names.iter().position(|known| *known == name);
    let limiters = Limiters::new(1, Ticks::monotonic());
    let limit = |route: &Route, name: &str| RouteLimit::of(route, name, config.rates.ipv6_prefix, &limiters);
    let all = Defaults { request: &config.request_headers, response: &config.response_headers };
    if let Err(error) = Table::compile(&config.routes, config.limits.body_bytes, place, limit, all) {
        panic!("the edge cannot use what the rules let through: {error}");
    }
    drop(Rates::new(&config.rates, &limiters));
    drop(Filters::new(&config.filters, &config.bans, &Tallies::default()));
    if let Err(error) = Parameters::new(&config.passwords) {
        panic!("argon2id cannot use what the rules let through: {error}");
    }
    assert!(!config.listen.https.is_empty() && !config.routes.is_empty());
    assert!(config.tokens.access_ttl <= config.tokens.refresh_ttl);
    if config.environment == Environment::Production {
        assert!(config.tokens.issuer.starts_with("https://"), "{}", config.tokens.issuer);
        assert!(!matches!(config.tls.source, CertificateSource::LocalCa { .. }));
        assert!(!matches!(config.keys.master_key, Some(SecretSource::Value(_))));
    }
}

/// The operator can read what is wrong.
fn legible(problems: &Problems) {
    assert!(!problems.problems.is_empty(), "refused without a word");
    for problem in &problems.problems {
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
        let value = problem.value.as_deref().unwrap_or_default();
        for text in [&problem.key, value, &problem.message, &problem.remedy] {
            assert!(text.len() <= LONGEST, "{} bytes: {text:.200}…", text.len());
        }
    }
    let text = problems.to_string();
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "a terminal would obey {text:?}");
}

/// So that not only refusals are looked at.
#[cfg(test)]
#[test]
fn the_corpus_holds_configurations_that_are_good() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/config");
    for name in ["development", "production"] {
        let input = std::fs::read_to_string(folder.join(name)).expect("the corpus is readable");
        let (text, _) = input.split_once(BORDER).unwrap_or((&input, ""));
        assert!(parse(text, name, Vec::new()).is_ok(), "{:?}", parse(text, name, Vec::new()));
    }
}
