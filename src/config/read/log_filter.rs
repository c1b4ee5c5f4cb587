//! Which log filters are taken.

use super::examine;
use super::tests::LEAST;

#[test]
fn a_log_filter_that_would_silence_all_else_is_refused() {
    let problems = |level: &str| {
        let (_, problems, _) = examine(&format!("{LEAST}[log]\nlevel = \"{level}\"\n"), Vec::new());
        problems.iter().filter(|problem| format!("{problem:?}").contains("log.level")).count()
    };
    for silencing in [
        "",
        ",",
        "info,",
        "loud",
        "keepgate::edge",
        "info,keepgate::edge",
        "keepgate::edge=loud",
        "keepgate::edge=debug",
        "hyper=off",
    ] {
        assert_eq!(problems(silencing), 1, "{silencing:?}");
    }
    for good in ["info", "off", "info,keepgate::edge=debug", "warn,keepgate::access=info"] {
        assert_eq!(problems(good), 0, "{good:?}");
    }
}
