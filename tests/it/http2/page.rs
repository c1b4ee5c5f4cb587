//! The part of docs/http.md about frames, made from the tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::floods::FLOODS;
use super::rfc::CASES;

/// The part.
pub fn part() -> String {
    let mut text = format!(
        "\n## HTTP/2 in frames: RFC 9113 ({} cases)\n\nSent as raw frames (`tests/it/http2/rfc.rs`); each has the outcome that the section asks for, or one that it allows.\n\n",
        CASES.len()
    );
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in CASES {
        sections.entry(case.section).or_default().push(case.name);
    }
    let number =
        |section: &str| section.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>();
    let mut sorted: Vec<_> = sections.into_iter().collect();
    sorted.sort_by_key(|(section, _)| number(section));
    for (section, names) in sorted {
        let _ = writeln!(text, "- §{section}: {}.", names.join("; "));
    }
    text.push_str("\nOtherwise than the standard says:\n\n");
    for case in CASES {
        if let Some((_, why)) = case.instead {
            let _ = writeln!(text, "- §{}, {}: {why}.", case.section, case.name);
        }
    }
    let _ = write!(
        text,
        "\n## HTTP/2: floods ({})\n\nEach from one connection, in the tests; it ends with GOAWAY (ENHANCE_YOUR_CALM, or PROTOCOL_ERROR where the first such frame is one), memory stays where it was, and others are served meanwhile. \
         `keepgate_http2_connections_ended_total` counts them by reason.\n\n| flood | known as | counted as |\n|---|---|---|\n",
        FLOODS.len()
    );
    for flood in FLOODS {
        let _ = writeln!(
            text,
            "| {} | {} | `{}` |",
            flood.name,
            flood.known_as,
            flood.counted.replace(" or ", "` or `")
        );
    }
    text.push_str(
        "\nA connection may have 250 resets at once and 20 a second, and one more for each request that was answered; of other frames that bring no request any further \
         (PING, SETTINGS at twenty times the price, PRIORITY, WINDOW_UPDATE, unknown and empty ones) 2,000 at once and 200 a second, four more for each answered request, and one for each KiB of data sent. Beneath that h2 counts streams reset before they began (20), streams that had to be reset (100), the pieces of a head (5) and tiny DATA. A response that a client takes \
         nothing of is held for `limits.stall_timeout`.\n",
    );
    text
}
