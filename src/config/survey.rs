//! A configuration with all that is wrong with it in one report: its text, the rules, and the files it names
//! on this machine. What cannot be read of the text is not looked for; everything else is.

use std::path::{Path, PathBuf};

use super::Config;
use super::probe::{Probe, ROOT};
use super::problem::{Place, Problem, Problems};
use super::read;

/// Reads and checks the file at `path`, what arguments make of it, and what `probe` looks at.
pub fn survey(path: &Path, arguments: impl FnOnce(&mut Config), probe: Probe) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let text = read::text(path)?;
    let (config, mut problems) = read::as_far_as_it_goes(&text, read::environment()?);
    let Some(mut config) = config else {
        return Err(Problems { file, problems: read::shown(problems) });
    };
    arguments(&mut config);
    // The rules are about what will be in force. Of a file that is wrong already, stand-ins would be judged.
    if problems.is_empty() {
        problems = read::standing(&config);
    }
    let probe = |config: &Config| {
        let found = probe(config);
        let roots =
            if found.iter().any(|problem| problem.key == ROOT) { read::roots(&text) } else { Vec::new() };
        found.into_iter().flat_map(|problem| each_root(problem, &roots)).collect()
    };
    with_files(config, &file, problems, probe)
}

/// One problem for each of the routes that have the root at fault, and where it stands.
fn each_root(problem: Problem, roots: &[(usize, Place, PathBuf)]) -> Vec<Problem> {
    if problem.key != ROOT {
        return vec![problem];
    }
    let at_fault = |path: &Path| problem.value.as_ref() == Some(&format!("\"{}\"", path.display()));
    let routes = roots.iter().filter(|(_, _, path)| at_fault(path));
    let named = |(at, place, _): &(usize, Place, PathBuf)| Problem {
        key: format!("routes[{at}].root"),
        place: place.clone(),
        ..problem.clone()
    };
    let routes: Vec<_> = routes.map(named).collect();
    if routes.is_empty() { vec![problem] } else { routes }
}

/// The configuration, if `problems` is empty and the files that it names can be used as well.
pub fn with_files(
    config: Config,
    file: &str,
    mut problems: Vec<Problem>,
    probe: impl FnOnce(&Config) -> Vec<Problem>,
) -> Result<Config, Problems> {
    // Of what is wrong already, only a stand-in could be looked at.
    let told = |key: &str| problems.iter().any(|problem| covers(&problem.key, key));
    let found: Vec<_> = probe(&config).into_iter().filter(|problem| !told(&problem.key)).collect();
    problems.extend(found);
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Err(Problems { file: file.to_owned(), problems: read::shown(problems) })
}

/// Whether `key` is `whole`, or stands in it.
fn covers(whole: &str, key: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::probe::{needed, probe};

    #[test]
    fn a_key_is_covered_by_itself_and_what_it_stands_in() {
        for (whole, key, expected) in [
            ("data_dir", "data_dir", true),
            ("tls", "tls.certificates[0].key", true),
            ("tls.certificates", "tls.certificates[0].key", true),
            ("tls.certificates[0].certificate", "tls.certificates[0].key", false),
            ("data", "data_dir", false),
        ] {
            assert_eq!(covers(whole, key), expected, "{whole} {key}");
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_named_with_every_route_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, none) = (folder.path().join("keepgate.toml"), folder.path().join("none"));
        let text = format!(
            "environment = \"stage\"\ndata_dir = \"{}\"\n[[routes]]\npath = \"/a/long\"\nroot = \"{none}\"\n\
             [[routes]]\npath = \"/b\"\nroot = \"/\"\n[[routes]]\npath = \"/\"\nroot = \"{none}\"\n\
             [[routes]]\npath = \"/c\"\nroot = \"{}\"\n",
            folder.path().join("data").display(),
            path.display(),
            none = none.display(),
        );
        std::fs::write(&path, text).unwrap();
        // What a start and a reload go by refuses it as a check does.
        for probe in [needed, probe] {
            let refused = survey(&path, |_| {}, probe).unwrap_err();
            let told: Vec<_> =
                refused.problems.iter().map(|it| (it.key.as_str(), it.place.clone())).collect();
            let root =
                |at, line| (["routes[0].root", "routes[2].root", "routes[3].root"][at], Place::Line(line));
            assert_eq!(told, [root(0, 5), root(1, 11), root(2, 14)], "{refused}");
            assert!(refused.to_string().contains("is not a folder"), "{refused}");
        }
    }

    #[test]
    fn an_argument_gets_round_no_rule() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keepgate.toml");
        let text = "environment = \"production\"\n[listen]\ninternal = \"127.0.0.1:9090\"\n\
                    [tokens]\nissuer = \"https://id.example.com\"\n\
                    [tls]\nsource = \"files\"\n[[tls.certificates]]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n\
                    [upstreams.app]\nservers = [\"127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
        std::fs::write(&path, text).unwrap();
        let told = |internal: &str| {
            let refused =
                survey(&path, |config| config.listen.internal = internal.parse().ok(), probe).unwrap_err();
            refused.problems.iter().map(|problem| problem.key.clone()).collect::<Vec<_>>()
        };
        let public = |keys: &[String]| keys.iter().any(|key| key == "listen.internal");
        let (inside, outside) = (told("10.0.0.1:9090"), told("0.0.0.0:9090"));
        assert!(
            !public(&inside) && !inside.is_empty(),
            "nothing but what is not on this machine: {inside:?}"
        );
        assert!(public(&outside), "{outside:?}");
    }
}
