//! The short form of every target: its committed corpus, and some mutations of it, the same in every run.
//! The long form is `make fuzz`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::{TARGETS, refresh_token, token};
use crate::api::fuzz::cookie_seeds;
use crate::model::random::{self, Rng as _, SeededRng};

/// Mutations of each target: so many that all of them together take a few seconds unoptimised.
/// `KEEPGATE_FUZZ_MUTATIONS` asks for others.
const MUTATIONS: usize = 1500;
/// Longest input, bytes.
const LONGEST: usize = 4096;

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind)
}

/// The corpus of a target, in order of its files' names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = folder("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A dictionary in libFuzzer's form: a quoted word a line, `\xNN` for a byte.
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder("dictionaries").join(format!("{name}.dict"))).unwrap();
    let words = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    words.map(|line| unquoted(line).unwrap_or_else(|| panic!("{name}.dict: {line}"))).collect()
}

fn unquoted(line: &str) -> Option<Vec<u8>> {
    let (_, quoted) = line.split_once('"')?;
    let mut rest = quoted.strip_suffix('"')?.as_bytes();
    let mut word = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        (word, rest) = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let value = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
                (word.into_iter().chain([value]).collect(), after)
            }
            (b'\\', [plain, after @ ..]) => (word.into_iter().chain([*plain]).collect(), after),
            (plain, after) => (word.into_iter().chain([*plain]).collect(), after),
        };
    }
    Some(word)
}

/// Chooses, the same in every run.
struct Chooser(SeededRng);

impl Chooser {
    fn below(&self, bound: usize) -> usize {
        usize::from(u16::from_le_bytes(random::bytes(&self.0))) % bound.max(1)
    }

    fn one_of<'a>(&self, all: &'a [Vec<u8>]) -> &'a [u8] {
        all.get(self.below(all.len())).map(Vec::as_slice).unwrap_or_default()
    }

    /// An input of the corpus, changed in one to four places.
    fn mutation(&self, corpus: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(corpus).to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, self.one_of(words).to_vec())),
                3 => drop(bytes.splice(at..end, self.one_of(words).to_vec())),
                4 => bytes = [&bytes[..at], self.tail(corpus)].concat(),
                5 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ => {
                    let mut noise = vec![0; self.below(8)];
                    self.0.fill(&mut noise);
                    drop(bytes.splice(at..at, noise));
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }

    fn tail<'a>(&self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        let other = self.one_of(corpus);
        &other[self.below(other.len() + 1)..]
    }
}

/// Runs one input; a failure names it so that it can be put into the corpus.
fn check(name: &str, target: fn(&[u8]), bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(outcome.is_ok(), "the target '{name}' fails over b\"{}\"", bytes.escape_ascii());
}

fn holds(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let (corpus, words) = (corpus(name), dictionary(name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    corpus.iter().for_each(|bytes| check(name, *target, bytes));
    let seed = name.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let chooser = Chooser(SeededRng::new(seed));
    let more = std::env::var("KEEPGATE_FUZZ_MUTATIONS").ok().and_then(|text| text.parse().ok());
    for _ in 0..more.unwrap_or(MUTATIONS) {
        check(name, *target, &chooser.mutation(&corpus, &words));
    }
}

macro_rules! each_target {
    ($($test:ident: $name:literal,)+) => {
        $(#[test]
        fn $test() {
            holds($name);
        })+

        #[test]
        fn every_target_has_a_short_form_and_a_binary() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$($name),+]);
            let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
                let binary = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
                assert!(binary.contains(&format!("run(\"{name}\"")), "{name}.rs runs another");
            }
        }
    };
}

each_target! {
    a_change_is_read_as_it_was_written: "change",
    a_configuration_is_read_whole_or_refused_in_words: "config",
    the_control_socket_takes_nothing_but_commands: "control",
    no_device_cookie_is_known_but_the_one_issued: "cookie",
    only_trusted_hops_are_believed: "forwarded",
    no_forged_header_reaches_an_application: "headers",
    a_host_is_one_plain_name: "host",
    an_import_takes_accounts_or_says_what_is_wrong: "import",
    a_journal_is_whole_or_refused: "journal",
    a_body_is_taken_strictly: "json_body",
    no_jwks_makes_a_strangers_token_good: "jwks",
    a_name_has_one_spelling: "names",
    a_network_covers_its_addresses_and_no_others: "networks",
    a_stored_hash_is_believed_within_bounds: "password_hash",
    a_path_has_one_reading: "path",
    a_proxy_header_is_read_to_its_end_and_no_further: "proxy_header",
    no_refresh_token_is_genuine_but_those_issued: "refresh_token",
    every_parser_reads_a_request_alike: "request_head",
    every_parser_reads_an_answer_alike: "response_head",
    no_token_verifies_but_those_signed: "token",
}

/// `KEEPGATE_WRITE_FIXTURES=1` writes what no one can type.
#[test]
fn issued_tokens_are_in_the_corpus() {
    let seeds = [token::seeds(), refresh_token::seeds(), cookie_seeds()];
    for (name, seeds) in ["token", "refresh_token", "cookie"].into_iter().zip(seeds) {
        if std::env::var_os("KEEPGATE_WRITE_FIXTURES").is_some() {
            fs::create_dir_all(folder("corpus").join(name)).unwrap();
            for (at, seed) in seeds.iter().enumerate() {
                fs::write(folder("corpus").join(name).join(format!("issued-{at}")), seed).unwrap();
            }
        }
        let corpus = corpus(name);
        assert!(seeds.iter().all(|seed| corpus.contains(seed)), "{name}");
    }
}
