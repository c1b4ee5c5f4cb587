//! `[blacklist]`: networks that are not let in, by configuration, beside those that commands have banned.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::problem::{Place, Problem};
use crate::model::ban;

/// Longest file that is read, bytes: some 500,000 networks.
const LONGEST: u64 = 8 * 1024 * 1024;
/// Most wrong lines that are told of one by one.
const TOLD: usize = 50;
/// What is shown of a wrong line, characters.
const SHOWN: usize = 60;

/// Who is not let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blacklist {
    /// `networks`
    pub networks: Vec<IpNet>,
    /// `file`: one network a line, `#` begins a comment.
    pub file: Option<PathBuf>,
}

impl Blacklist {
    /// The networks and those in the file, sorted, each once.
    pub fn gather(&self) -> Result<Vec<IpNet>, Vec<Problem>> {
        let mut networks = self.networks.clone();
        if let Some(path) = &self.file {
            networks.extend(read(path)?);
        }
        networks.sort_unstable();
        networks.dedup();
        Ok(networks)
    }
}

fn read(path: &Path) -> Result<Vec<IpNet>, Vec<Problem>> {
    let shown = format!("\"{}\"", path.display());
    let unreadable = |reason: String| {
        let remedy = "put the file there, readable by the user that runs keepgate, or remove the key";
        vec![problem(shown.clone(), format!("cannot be read: {reason}"), remedy)]
    };
    // Before it is opened: opening a pipe waits for whoever writes to it.
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(unreadable("it is not a file".to_owned())),
        Ok(_) => {}
        Err(error) => return Err(unreadable(error.to_string())),
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(unreadable(format!("it is longer than {} MiB", LONGEST >> 20)));
    }
    parse(&text, &shown)
}

/// The networks of a file's text. Every wrong line is named, past the first [`TOLD`] by their number.
fn parse(text: &str, shown: &str) -> Result<Vec<IpNet>, Vec<Problem>> {
    let (mut networks, mut problems, mut untold) = (Vec::new(), Vec::new(), 0_usize);
    for (index, line) in text.lines().enumerate() {
        let entry = line.split_once('#').map_or(line, |(entry, _)| entry).trim();
        if entry.is_empty() {
            continue;
        }
        match network(entry) {
            Ok(network) => networks.push(network),
            Err(_) if problems.len() >= TOLD => untold += 1,
            Err((what, remedy)) => {
                let cut: String = entry.chars().take(SHOWN).collect();
                let more = if cut.len() < entry.len() { "…" } else { "" };
                let mut place = shown.to_owned();
                let _ = write!(place, " line {}:", index + 1);
                problems.push(problem(place, format!("{cut:?}{more} {what}"), remedy));
            }
        }
    }
    if untold > 0 {
        let message = format!("has {untold} more wrong lines");
        problems.push(problem(shown.to_owned(), message, "correct those named first, and check again"));
    }
    if problems.is_empty() { Ok(networks) } else { Err(problems) }
}

/// A network that may be banned, or what is wrong with it and what to write.
pub fn network(text: &str) -> Result<IpNet, (&'static str, &'static str)> {
    match ban::network(text) {
        Some(network) if network.prefix_len() > 0 => Ok(network),
        Some(_) => Err(("is everybody", "name smaller networks; `keepgate blacklist add --force` can do it")),
        None => Err(("is not an address or network", "write one such as 192.0.2.7 or 2001:db8::/32")),
    }
}

fn problem(value: String, message: String, remedy: &str) -> Problem {
    Problem {
        place: Place::Machine,
        key: "blacklist.file".to_owned(),
        value: Some(value),
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;

    fn told(result: Result<Vec<IpNet>, Vec<Problem>>) -> String {
        match result {
            Ok(networks) => format!("{networks:?}"),
            Err(problems) => Problems { file: "config.toml".into(), problems }.to_string(),
        }
    }

    #[test]
    fn a_file_holds_one_network_a_line_and_comments() {
        let text = "# from somewhere\n\n192.0.2.7 # a scanner\r\n  2001:DB8::1/32\n::ffff:198.51.100.9/120\n";
        let networks = parse(text, "f").unwrap();
        let want = ["192.0.2.7/32", "2001:db8::/32", "198.51.100.0/24"];
        assert_eq!(networks, want.map(|text| text.parse::<IpNet>().unwrap()));
    }

    #[test]
    fn every_wrong_line_is_named_and_a_flood_of_them_is_counted() {
        let text = "192.0.2.7\n192.0.2.0/33\n::/0\n0.0.0.0/0\nlocalhost\n::ffff:0.0.0.0/96\n\u{1b}[2J";
        insta::assert_snapshot!(told(parse(text, "\"/b.txt\"")));
        let flood = "x".repeat(2000) + "\n";
        let problems = parse(&flood.repeat(1000), "\"/b.txt\"").unwrap_err();
        assert_eq!(problems.len(), TOLD + 1);
        assert!(problems.iter().all(|problem| problem.message.len() < 200));
        assert_eq!(problems.last().unwrap().message, "has 950 more wrong lines");
    }

    #[test]
    fn what_is_gathered_is_sorted_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.txt");
        std::fs::write(&file, "192.0.2.7\n10.0.0.0/8\n").unwrap();
        let networks = vec!["192.0.2.7/32".parse().unwrap()];
        let both = Blacklist { networks, file: Some(file.clone()) }.gather().unwrap();
        assert_eq!(format!("{both:?}"), "[10.0.0.0/8, 192.0.2.7/32]");
        std::fs::write(&file, vec![b'\n'; usize::try_from(LONGEST).unwrap() + 1]).unwrap();
        let long = Blacklist { networks: Vec::new(), file: Some(file.clone()) };
        assert!(told(long.gather().map(|_| Vec::new())).contains("longer than 8 MiB"));
        std::fs::write(&file, b"\xff").unwrap();
        assert!(told(long.gather().map(|_| Vec::new())).contains("cannot be read"));
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        let piped = Blacklist { networks: Vec::new(), file: Some(pipe) };
        assert!(told(piped.gather().map(|_| Vec::new())).contains("not a file"));
        std::fs::remove_file(&file).unwrap();
        assert!(told(long.gather().map(|_| Vec::new())).contains("cannot be read"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_or_bans_everybody(text in "[0-9a-f:./# \\n]{0,200}|\\PC{0,80}") {
            if let Ok(networks) = parse(&text, "f") {
                proptest::prop_assert!(networks.iter().all(|network| network.prefix_len() > 0));
            }
        }
    }
}
