//! The metrics as an operator finds them: `docs/metrics.md` and a scrape of the running binary name the
//! same ones, with the same types and labels, and Prometheus' own linter has nothing to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::client::plain;
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::Person;

/// Type and labels of each metric, by its name.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// What the tables of the page say: `| name | type | labels | meaning |`.
fn documented() -> Described {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let page = page.expect("the page is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty() && label != "–").collect();
        (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels))
    })
    .collect()
}

/// What a scrape in the older text format says.
fn scraped(text: &str) -> Described {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut found: Described =
        types.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), BTreeSet::new()))).collect();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = sample.rsplit_once(' ').expect("a sample");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = family.filter(|family| found.contains_key(*family)).unwrap_or(name);
        let (_, known) = found.get_mut(family).unwrap_or_else(|| panic!("{name} has no type"));
        known.extend(label_names(labels.trim_end_matches('}')).filter(|label| label != "le"));
    }
    found
}

/// `a="x",b="y"` has a and b. Values here hold no commas or quotes.
fn label_names(labels: &str) -> impl Iterator<Item = String> + '_ {
    labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_a_scrape_name_the_same_metrics_and_the_linter_is_content() {
    // With a filter, which is none by itself.
    let gate = Gate::start_with(&[CHEAP, &["KEEPGATE_BANS__SCANNERS=secrets"]].concat());
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    client.get("/echo").bearer("nonsense").send().await.expect(401);
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();

    let (page, scrape) = (documented(), scraped(&text));
    let missing: Vec<_> = page.keys().filter(|name| !scrape.contains_key(*name)).collect();
    let unnamed: Vec<_> = scrape.keys().filter(|name| !page.contains_key(*name)).collect();
    assert!(
        missing.is_empty() && unnamed.is_empty(),
        "in the page only: {missing:?}; in the scrape only: {unnamed:?}"
    );
    for (name, found) in &scrape {
        assert_eq!(&page[name], found, "{name}: the page on the left, the scrape on the right");
    }
    assert!(page.len() > 40, "the page was read");

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by tests/setup.sh");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("taken");
    let verdict = promtool.wait_with_output().expect("it ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    assert!(verdict.status.success() && said.is_empty(), "{said}");
}
