//! docs/http.md: what the edge refuses, made from the tables, so that it says what is tested.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::table::{self, Case, Group};
use super::{KNOWN_GAPS, is_known_gap};

const INTRO: &str = "# What the edge refuses

Made from the tables of cases in `tests/it/smuggling/cases`; `make docs` writes it anew. Every case goes over TLS through the real binary, whole and in pieces of one
to three bytes, before an upstream that reads with the strictest reading of RFC 9112 and records every byte; and before nginx, Apache httpd and gunicorn, whose logs
must name the requests that were meant and no others. So do the 159 cases of the `http_desync_guardian` crate, by its own grades. EDGE.md is the design's list of rules, each
with the incident that taught it.

Where a message's end or target could be read in two ways, it is answered with 400 and the connection ends: nothing is repaired. What goes on to an application is
written anew: its path as it was matched, its framing from the body as it was read, its headers without what ends at a hop.

An HTTP/1 client that closes its side while it waits for an answer is taken for one that has left: the work on its request ends, and it gets none.
Half-closed clients (`nc -N`) are rare, and clients who leave are not.
";

/// One section.
fn section(group: &Group) -> String {
    let mut text = format!("\n### {}\n\n{}\n", group.name, group.says);
    let refused = |case: &Case| case.want.iter().any(|want| starts_with_refusal(want));
    for (title, of) in [("Refused", true), ("Taken", false)] {
        let cases = group.cases.iter().filter(|case| !is_known_gap(&group.name, case) && refused(case) == of);
        let names: Vec<&str> = cases.map(|case| case.name.as_str()).collect();
        if !names.is_empty() {
            let _ = write!(text, "\n{title} ({}): {}.\n", names.len(), names.join("; "));
        }
    }
    let sources = group.cases.iter().flat_map(|case| case.source.split("; "));
    let sources: BTreeSet<&str> = sources.map(|source| source.split(": ").next().unwrap_or(source)).collect();
    let _ = write!(text, "\nSources: {}.\n", sources.into_iter().collect::<Vec<_>>().join(", "));
    text
}

fn starts_with_refusal(want: &str) -> bool {
    let status = want.split(' ').next().unwrap_or_default();
    matches!(status, "cut" | "reset") || status.parse().is_ok_and(|status: u16| (400..=502).contains(&status))
}

fn page() -> String {
    let mut page = INTRO.to_owned();
    for (title, groups) in [
        ("Requests over HTTP/1", table::requests()),
        ("Requests over HTTP/2", table::http2()),
        ("Answers of applications", table::answers()),
    ] {
        let cases: usize = groups.iter().map(|group| group.cases.len()).sum();
        let _ = write!(page, "\n## {title} ({cases} cases)\n");
        groups.iter().for_each(|group| page.push_str(&section(group)));
    }
    page.push_str(&crate::http2::page::part());
    page.push_str("\n## Not yet\n\n");
    for (group, name, why) in KNOWN_GAPS {
        let _ = writeln!(page, "- {group}, {name}: {why}.");
    }
    page
}

#[test]
fn the_page_about_http_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/http.md is not what the tables say: run `make docs`");
}

#[test]
fn every_case_has_a_name_of_its_own_and_a_source() {
    for group in [table::requests(), table::http2(), table::answers()].concat() {
        let names: BTreeSet<&str> = group.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), group.cases.len(), "{}", group.name);
        assert!(group.cases.iter().all(|case| !case.source.is_empty()), "{}", group.name);
    }
}
