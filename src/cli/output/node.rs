//! How a node stands, and what a reload came to, for people.

use std::fmt::Write as _;

use super::{fields, plain, table, word};
use crate::app::control::view::{Configuration, Reloaded, Restart, Status};
use crate::observe::health::Check;

pub(super) fn reloaded(done: &Reloaded) -> String {
    let Reloaded { file, changed, restart } = done;
    let mut text = match file {
        Some(file) => format!("{} is in force.\n", plain(file)),
        None => "It runs without a file (serve --dev): nothing to reload but the certificates.\n".to_owned(),
    };
    if !changed.is_empty() {
        let _ = writeln!(text, "Changed: {}", changed.join(", "));
    } else if file.is_some() {
        text.push_str("Nothing changed.\n");
    }
    if !restart.is_empty() {
        let _ = writeln!(text, "Unchanged until a restart: {}", restart.join(", "));
    }
    text
}

fn configuration(found: &Configuration) -> Vec<(&'static str, String)> {
    let Configuration { file, loaded_at, refused_at, refused_because } = found;
    let file = file.as_deref().unwrap_or("without a file");
    let mut rows = vec![("configuration", format!("{file}, in force since {loaded_at}"))];
    if let Some(at) = refused_at {
        let because = refused_because.as_deref().unwrap_or_default();
        rows.push(("not reloaded", format!("at {at}: {because}; run `keepgate check`")));
    }
    rows
}

fn restart(found: &Restart) -> Vec<(&'static str, String)> {
    let Restart { before, failed_at, failed_because } = found;
    let mut rows = Vec::new();
    if let Some(pid) = before {
        rows.push(("replaced", format!("process {pid}, which finishes what it has open")));
    }
    if let Some(at) = failed_at {
        let because = failed_because.as_deref().unwrap_or_default();
        let mut lines = because.lines().map(str::trim).filter(|line| !line.is_empty());
        rows.push(("not restarted", format!("at {at}: {}", lines.next().unwrap_or_default())));
        // A report of several problems has several lines.
        rows.extend(lines.map(|line| ("", line.to_owned())));
    }
    rows
}

pub(super) fn status(status: &Status) -> String {
    let running = if status.running { "running" } else { "stopped (the stores were opened for this)" };
    let mut rows = vec![
        ("state", format!("{running}, {}", word(&status.health.status))),
        ("version", status.version.clone()),
        ("environment", status.environment.clone()),
        ("data folder", status.data_dir.clone()),
    ];
    if let Some(pid) = status.pid {
        rows.push(("process", format!("{pid} since {}", status.started_at)));
    }
    rows.extend(status.configuration.iter().flat_map(configuration));
    rows.extend(status.restart.iter().flat_map(restart));
    rows.extend(status.listeners.iter().map(|listener| ("listens on", listener.clone())));
    rows.extend([
        ("journal", format!("position {}", status.seq)),
        ("accounts", status.accounts.to_string()),
        ("bans", status.bans.to_string()),
        ("signing key", status.signing_key.clone()),
        ("audit records", status.audit_records.to_string()),
    ]);
    let row = |check: &Check| [check.name.clone(), word(&check.status), check.detail.clone()];
    let checks = table(["CHECK", "STATUS", "DETAIL"], &status.health.checks, row);
    format!("{}\n{checks}", fields(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_restart_failed_is_told_line_by_line_and_commands_no_terminal() {
        let why = "the next process cannot serve: c.toml: 2 problems\n\na (c.toml:1): is wrong\n    mend it\u{1b}[2J\n";
        let failed =
            Restart { failed_at: Some("now".into()), failed_because: Some(why.into()), before: None };
        let told = fields(&restart(&failed));
        let lines: Vec<_> = told.lines().map(str::trim).collect();
        assert_eq!(lines[0], "not restarted  at now: the next process cannot serve: c.toml: 2 problems");
        assert_eq!(lines[1..], ["a (c.toml:1): is wrong", "mend it\\u{1b}[2J"]);
    }
}
