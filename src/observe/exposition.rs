//! The older of the two text formats that collectors read (`text/plain; version=0.0.4`), made from the
//! newer (OpenMetrics 1.0), which is what the registry writes. They differ in the name under which a
//! counter is described, and in the last line.

use std::collections::HashSet;

/// `Content-Type` of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of the older format.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether an `Accept` header asks for OpenMetrics by name. Who asks for anything, or for nothing, gets
/// the format that every collector reads.
pub fn wants_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/openmetrics-text")
    })
}

/// The same metrics in the older format.
pub fn plain(open_metrics: &str) -> String {
    let counters: HashSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 64 * counters.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        match described(line) {
            Some((keyword, name, rest)) if counters.contains(name) => {
                text.extend([keyword, name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `# HELP name rest` or `# TYPE name rest`, in three parts.
fn described(line: &str) -> Option<(&'static str, &str, &str)> {
    ["# HELP ", "# TYPE "].into_iter().find_map(|keyword| {
        let (name, rest) = line.strip_prefix(keyword)?.split_once(' ')?;
        Some((keyword, name, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples_and_the_rest_stays() {
        let open = "# HELP k_x Of x.\n# TYPE k_x counter\nk_x_total 1\n# HELP k_y Of y.\n# TYPE k_y gauge\nk_y 2\n# EOF\n";
        let plain = plain(open);
        assert_eq!(
            plain,
            "# HELP k_x_total Of x.\n# TYPE k_x_total counter\nk_x_total 1\n# HELP k_y Of y.\n# TYPE k_y gauge\nk_y 2\n"
        );
    }

    #[test]
    fn open_metrics_is_for_who_names_it() {
        assert!(wants_open_metrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1"));
        assert!(!wants_open_metrics("text/plain;version=0.0.4") && !wants_open_metrics("*/*"));
    }
}
