//! Reading as an operator meets it: the example file, a broken file's whole report, the rules of
//! production, the environment.

use serde_json::json;

use super::*;
use crate::config::problem::Place;
use crate::config::secret::SecretSource;
use crate::config::tls::{CertificateSource, Tls};
use crate::config::tokens::Tokens;
use crate::config::upstream::{Active, Upstream};

/// The least that production takes.
pub(super) const LEAST: &str = r#"
[tls]
source = "files"
[[tls.certificates]]
certificate = "/c.pem"
key = "/k.pem"
[tokens]
issuer = "https://id.example.com"
[[routes]]
path = "/"
api = true
"#;

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    std::fs::read_to_string(&path).expect("config.example.toml stands beside Cargo.toml")
}

pub(super) fn report(text: &str, environment: &[(&str, &str)]) -> String {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match parse(text, "config.toml", environment) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

pub(super) fn config(text: &str, environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    parse(text, "config.toml", environment).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Every key path that is written in a file, with list items and upstream names folded.
fn written(node: &tree::Node, path: &str, keys: &mut BTreeSet<String>) {
    let tree::Value::Table(table) = &node.value else { return };
    for (key, child) in table {
        let below = match path {
            "" => key.clone(),
            "upstreams" => "upstreams.*".to_owned(),
            path => format!("{path}.{key}"),
        };
        match &child.value {
            tree::Value::Table(_) if !below.ends_with("_key") => written(child, &below, keys),
            tree::Value::List(items) if items.iter().any(|i| matches!(i.value, tree::Value::Table(_))) => {
                items.iter().for_each(|item| written(item, &format!("{below}[]"), keys));
            }
            _ => {
                keys.insert(below);
            }
        }
    }
}

#[test]
fn the_example_file_loads_and_holds_every_key_that_is_known() {
    let text = example();
    let (_, problems, known) = examine(&text, Vec::new());
    assert_eq!(problems, []);
    assert!(known.len() > 60 && known.contains("routes[].body_bytes"), "{known:?}");
    let tree =
        tree::parse(&catalog::with_commented_keys(&text)).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut keys = BTreeSet::new();
    written(&tree, "", &mut keys);
    assert_eq!(known.difference(&keys).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in the example");
    assert_eq!(keys.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "unknown to the reader");
}

#[test]
fn values_that_the_example_shows_as_defaults_are_the_defaults() {
    let mut example = config(&example(), &[]);
    let mut plain = config(LEAST, &[]);
    let app = example.upstreams["app"].clone();
    let same = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        assert_eq!(format!("{a:#?}"), format!("{b:#?}"));
    };
    same(&app, &Upstream { active: app.active.clone(), ..Upstream::with(app.servers.clone()) });
    let active = app.active.unwrap();
    same(&active, &Active { host: active.host.clone(), ..Active::of(active.path.clone()) });
    // What has no default, and is an example in both. Everything else must be alike, in whatever
    // section: one file writes all of it, the other nothing.
    for config in [&mut example, &mut plain] {
        (config.routes, config.filters) = Default::default();
        (config.upstreams, config.error_pages) = Default::default();
        config.tls.source = Tls::default().source;
        config.tokens.issuer = Tokens::default().issuer;
    }
    same(&example, &plain);
    same(&plain.data_dir, &Path::new(crate::config::DATA_DIR));
}

#[test]
fn defaults_that_only_comments_name_are_the_defaults_too() {
    let entries = catalog::entries();
    let said = |key: &str| entries[key].default.clone().unwrap();
    let CertificateSource::LocalCa { names } = Tls::default().source else { panic!("not a local CA") };
    assert_eq!(said("tls.names"), json!(names));
    assert_eq!(said("tls.source"), "local-ca");
    assert_eq!(said("tokens.issuer"), json!(Tokens::default().issuer));
    let text = format!("{LEAST}[log]\ntarget = \"files\"\n");
    let crate::config::log::LogTarget::Files { keep, max_bytes } = config(&text, &[]).log.target else {
        panic!("no files")
    };
    assert_eq!((said("log.keep"), said("log.max_bytes"), max_bytes), (json!(keep), json!("1GiB"), 1 << 30));
    assert_eq!(said("routes[].auth"), "required");
    assert_eq!(crate::config::route::RouteAuth::default(), crate::config::route::RouteAuth::Required);
}

#[test]
fn every_key_is_explained_by_whoever_set_it_and_no_secret_is_shown() {
    let text = format!(
        "{LEAST}roles = [\"admin\"]\n[upstreams.app]\nservers = [\"127.0.0.1:3000\"]\n\
         [keys]\nmaster_key = {{ file = \"/run/key\" }}\n[log]\nlevel = \"debug\"\n"
    );
    let environment = vec![
        ("KEEPGATE_LISTEN__HTTP".to_owned(), "127.0.0.1:80, [::1]:80".to_owned()),
        ("KEEPGATE_LIMITS__HEADER_COUNT".to_owned(), "50".to_owned()),
        ("KEEPGATE_RATES__ADDRESS".to_owned(), "10/s".to_owned()),
    ];
    let settings = explain(&text, "config.toml", environment).unwrap();
    let keys: BTreeSet<_> = settings.iter().map(|setting| setting.key.clone()).collect();
    assert_eq!(keys.len(), settings.len(), "each key once");
    let all: String = settings
        .iter()
        .filter(|s| {
            s.key.starts_with("listen.")
                || s.key.ends_with("s_burst")
                || s.origin != crate::config::setting::Origin::Default
        })
        .map(|s| format!("{} = {} {:?}\n", s.key, s.value.clone().unwrap_or_default(), s.origin))
        .collect();
    insta::assert_snapshot!(all);
    let hidden = "environment = \"development\"\n[keys]\nmaster_key = { value = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" }\n[[routes]]\npath = \"/\"\napi = true\n";
    let shown = format!("{:?}", explain(hidden, "config.toml", Vec::new()).unwrap());
    assert!(shown.contains("(hidden)") && !shown.contains("AAAA"), "{shown}");
}

#[test]
fn every_key_is_said_to_take_a_reload_or_a_restart() {
    let (_, _, known) = examine(&example(), Vec::new());
    let rows = crate::config::change::classified();
    let classified: BTreeSet<_> = rows.iter().map(|&key| key.to_owned()).collect();
    assert_eq!(rows.len(), classified.len(), "a key in two rows of config/change.rs");
    let missing: Vec<_> = known.difference(&classified).collect();
    assert_eq!(missing, Vec::<&String>::new(), "in no row of config/change.rs");
    let unknown: Vec<_> = classified.difference(&known).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "unknown to the reader");
}

#[test]
fn a_thoroughly_broken_file_gets_one_report_of_everything() {
    let text = include_str!("testdata/broken.toml");
    insta::assert_snapshot!(report(text, &[("KEEPGATE_LISTEN__WORKERS", "many"), ("KEEPGATE_PORT", "1")]));
}

#[test]
fn syntax_errors_are_reported_with_their_lines_and_without_their_content() {
    insta::assert_snapshot!(report("a = \nb = hunter2\n[x\nc = 1\nc = 2\n", &[]));
}

#[test]
fn production_refuses_what_only_development_may_have() {
    let text = r#"
[listen]
internal = "0.0.0.0:9090"
[passwords]
memory_kib = 8192
[keys]
master_key = { value = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }
[[routes]]
path = "/"
api = true
"#;
    insta::assert_snapshot!(report(text, &[]));
    let tamed = |environment: &str| report(&format!("environment = \"{environment}\"\n{text}"), &[]);
    assert_eq!(tamed("development"), "no problem");
    assert_eq!(tamed("stage"), "no problem");
}

#[test]
fn who_is_stopped_by_a_full_disk_is_warned_before() {
    let marks = [("KEEPGATE_STORE__WARN_FREE", "10MiB"), ("KEEPGATE_STORE__STOP_FREE", "20MiB")];
    let report = report(&example(), &marks);
    assert!(report.contains("store.warn_free") && report.contains("at least store.stop_free"), "{report}");
    let never = [("KEEPGATE_STORE__WARN_FREE", "0"), ("KEEPGATE_STORE__STOP_FREE", "0")];
    let store = config(&example(), &never).store;
    assert_eq!((store.warn_free, store.stop_free), (0, 0));
}

#[test]
fn a_secret_is_never_shown_however_it_is_miswritten() {
    for wrong in [
        "master_key = \"hunter2\"",
        "master_key = { value = \"hunter2\", file = \"/k\" }",
        "master_key = { vaule = \"hunter2\" }",
        "master_key = { file = \"hunter2\" }",
        "master_key = { value = [\"hunter2\"] }",
        "master_kye = \"hunter2\"",
        "master_key = hunter2",
    ] {
        let said = report(&format!("[keys]\n{wrong}\n{LEAST}"), &[]);
        assert!(said.contains("config.toml:2)") && !said.contains("hunter2"), "{wrong}: {said}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = config(
        LEAST,
        &[
            ("KEEPGATE_LISTEN__HTTPS", "127.0.0.1:8443, [::1]:8443"),
            ("KEEPGATE_LISTEN__HTTP", ""),
            ("KEEPGATE_LIMITS__BODY_BYTES", "1MiB"),
            ("KEEPGATE_LOG__JSON", "true"),
            ("KEEPGATE_KEYS__MASTER_KEY__ENV", "MASTER"),
            ("KEEPGATE_CONFIG", "/elsewhere.toml"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(config.listen.https.len(), 2);
    assert!(config.listen.http.is_empty());
    assert_eq!(config.limits.body_bytes, 1 << 20);
    assert!(config.log.json);
    assert!(matches!(config.keys.master_key, Some(SecretSource::Env(name)) if name == "MASTER"));
}

#[test]
fn what_the_environment_cannot_set_is_named_by_its_variable() {
    insta::assert_snapshot!(report(
        LEAST,
        &[
            ("KEEPGATE_ROUTES", "/"),
            ("KEEPGATE_TLS__CERTIFICATES", "/x"),
            ("KEEPGATE_TOKENS__ISSUER__X", "y"),
            ("KEEPGATE_LIMITS__HEAD_BITES", "1"),
            ("KEEPGATE_LISTEN__INTERNAL", "nowhere"),
        ],
    ));
}

#[test]
fn rates_and_origins_that_make_no_sense_are_named_with_what_to_write() {
    let text = r#"
[rates]
address = "fast"
user = "off"
user_burst = 5
session = "5/d"
ipv6_prefix = 16
keys = 1
[cors]
origins = ["https://app.example.com/", "app.example.com", "null", "ftp://x", "https://u@x.example", "*"]
credentials = "yes"
headers = ["*", "content type"]
max_age = "2d"
[[routes]]
path = "/a"
api = true
rate_by = "user"
[[routes]]
path = "/b"
api = true
auth = "none"
rate = "off"
rate_burst = 0
[[routes]]
path = "/c"
api = true
auth = "none"
rate = "1/s"
rate_by = "session"
"#;
    insta::assert_snapshot!(report(&format!("{text}{LEAST}"), &[]));
}

#[test]
fn any_origin_with_credentials_and_in_production_any_page_over_plain_http_is_refused() {
    let with = |cors: &str| report(&format!("{LEAST}[cors]\n{cors}\n"), &[]);
    insta::assert_snapshot!(with("origins = [\"*\"]\ncredentials = true"));
    insta::assert_snapshot!(with("origins = [\"https://a.example\", \"http://localhost:3000\"]"));
    assert!(with("origins = [\"*\", \"https://a.example\"]").contains("beside others"));
    assert_eq!(with("origins = [\"*\"]"), "no problem");
}

#[test]
fn an_origin_is_kept_as_browsers_write_it_and_a_rate_as_it_is_counted() {
    let text = format!(
        "{LEAST}rate = \"600/m\"\nrate_burst = 50\n[cors]\n\
         origins = [\"https://App.Example.com:443\", \"https://[2001:DB8::1]:8443\"]\n[rates]\nuser_burst = 7\n"
    );
    let config = config(&text, &[("KEEPGATE_RATES__ADDRESS", "10/s"), ("KEEPGATE_RATES__KEYS", "2048")]);
    let origins = ["https://app.example.com", "https://[2001:db8::1]:8443"].map(str::to_owned).to_vec();
    assert_eq!(config.cors.origins, crate::config::cors::Origins::Listed(origins));
    let of = |rate: Option<crate::config::rates::Rate>| rate.map(|r| (r.count.get(), r.burst.get()));
    assert_eq!(of(config.rates.address), Some((10, 10)));
    assert_eq!(of(config.rates.user), Some((200, 7)));
    assert_eq!(of(config.routes[0].rate.map(|limit| limit.rate)), Some((600, 50)));
}

#[test]
fn routes_come_out_most_specific_first() {
    let text = LEAST.to_owned()
        + "[[routes]]\npath = \"/a/b\"\napi = true\n[[routes]]\npath = \"/\"\nhost = \"X.example.com\"\napi = true\n\
           [[routes]]\npath = \"/a/b\"\nmethods = [\"GET\"]\nhost = \"x.example.com\"\napi = true\n";
    let config = config(&text, &[]);
    let order: Vec<_> = config.routes.iter().map(|r| (r.host.as_deref(), r.path.as_str())).collect();
    let host = Some("x.example.com");
    assert_eq!(order, [(host, "/a/b"), (host, "/"), (None, "/a/b"), (None, "/")]);
}

#[test]
fn problems_stand_in_the_order_of_the_file() {
    let text = include_str!("testdata/broken.toml");
    let problems = parse(text, "config.toml", Vec::new()).unwrap_err().problems;
    let lines: Vec<_> = problems.iter().map(|problem| problem.place.clone()).collect();
    assert!(lines.len() > 20 && lines.is_sorted());
    assert!(matches!(lines.first(), Some(Place::Line(_))));
}

#[test]
fn a_missing_file_says_how_to_name_one() {
    let error = load(Path::new("/nowhere/config.toml")).unwrap_err();
    insta::assert_snapshot!(error);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, "config.toml", Vec::new());
    }

    #[test]
    fn no_value_of_a_key_makes_the_reader_panic(key in 0_usize..70, value in "\\PC{0,40}") {
        let (_, _, known) = examine(LEAST, Vec::new());
        let key = known.iter().nth(key % known.len()).unwrap().to_uppercase().replace('.', "__");
        let _ = parse(LEAST, "config.toml", vec![(format!("KEEPGATE_{key}"), value)]);
    }
}

#[test]
fn a_segment_is_no_larger_than_recovery_may_read_at_once() {
    let of = |size: &str| format!("environment = \"development\"\n[store]\nsegment_bytes = \"{size}\"\n");
    let largest = report(&of("256MiB"), &[]);
    assert!(!largest.contains("segment_bytes"), "{largest}");
    let larger = report(&of("257MiB"), &[]);
    assert!(larger.contains("segment_bytes"), "{larger}");
}

/// Found by the fuzz target `config`.
#[test]
fn names_are_shown_short_and_so_that_no_terminal_obeys_them() {
    let long = "k".repeat(100_000);
    let text = format!("\"x\\u001b[2J\" = 1\n{long} = 1\n[upstreams.\"a\\nb\"]\nservers = []\n");
    let said =
        report(&text, &[("KEEPGATE_A\nB", "1"), ("KEEPGATE_ROUTES", "1"), ("KEEPGATE_TLS__\u{7}", "1")]);
    assert!(!said.contains(|c: char| c.is_control() && c != '\n') && said.len() < 5000, "{said}");
    for name in ["x\\u{1b}[2J (", "kkkk…", "upstreams.a\\nb", "environment KEEPGATE_A\\nB", "tls.\\u{7}"] {
        assert!(said.contains(name), "{name} in {said}");
    }
}

#[test]
fn no_depth_of_a_key_overflows_the_stack() {
    let deep = format!("{}a = 1\n", "a.".repeat(30_000));
    let lists = format!("a = {}", "[".repeat(30_000));
    let variable = format!("KEEPGATE_{}A", "A__".repeat(30_000));
    for (text, environment) in
        [(deep.as_str(), vec![]), (&lists, vec![]), ("", vec![(variable.as_str(), "1")])]
    {
        assert_ne!(report(text, &environment), "no problem");
    }
}

/// Found by the fuzz target `config`: a report of half a million problems.
#[test]
fn a_file_of_another_kind_gets_a_report_that_can_be_read() {
    let said = report(&"=\n".repeat(1000), &[]);
    assert!(said.len() < 30_000 && said.contains(" more, which are not shown"), "{said}");
}
