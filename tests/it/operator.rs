//! What an operator meets: a stopped node, a file that is wrong by now, two who do the same at once.

use serde_json::json;

use crate::harness::gate::Gate;

const GOOD: &str = "[[routes]]\npath = \"/auth\"\napi = true\nauth = \"optional\"\n";

#[test]
fn a_stopped_node_has_no_process_and_needs_no_registration_for_invitations_to_be_refused() {
    let gate = Gate::prepare_with_file(GOOD);
    gate.make_data();
    let status = gate.cli(&["--json", "status"]).expect(1).json();
    assert_eq!((&status["pid"], &status["running"]), (&json!(null), &json!(false)), "{status}");
    // Closed is the default: nobody could use the code.
    let said = gate.cli(&["user", "invite"]).expect(4);
    assert!(said.stderr.contains("accounts.registration"), "{said:?}");
    assert_eq!(gate.cli_json(&["user", "invites"]), json!([]));
}

#[test]
fn a_daemon_is_reached_whatever_was_done_to_its_file_since() {
    let mut gate = Gate::start_from_file(GOOD);
    gate.rewrite(&format!("{GOOD}[limts]\n"));
    let said = gate.cli(&["status", "--json"]).expect(0);
    assert_eq!(said.json()["pid"], json!(gate.pid()));
    assert!(said.stderr.contains("config.toml is wrong (run `keepgate check`)"), "{said:?}");
    let said = gate.cli(&["user", "show", "nobody@example.com"]).expect(4);
    assert_eq!(said.stderr.matches("is wrong").count(), 1, "{said:?}");
    gate.stop();
    let said = gate.cli(&["status"]).expect(3);
    assert!(said.stderr.contains("limts"), "without a daemon the file is needed: {said:?}");
    // Nor is it where another data folder is named by now.
    gate.rewrite(GOOD);
    let said = gate.cli(&["reload"]).expect(1);
    assert!(said.stderr.contains("--data DIR"), "{said:?}");
}

#[test]
fn a_second_restart_beside_the_first_is_told_so_at_once() {
    let gate = Gate::start_from_file(GOOD);
    let restart = || {
        let mut command = gate.subcommand(&["restart"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("the binary starts")
    };
    let both = [restart(), restart()].map(|child| child.wait_with_output().expect("it ends"));
    let said: Vec<_> = both.iter().map(|out| String::from_utf8_lossy(&out.stderr).into_owned()).collect();
    assert!(both.iter().any(|out| out.status.success()), "{said:?}");
    assert!(!said.concat().contains("a command is still under way"), "{said:?}");
}

#[test]
fn an_invitation_ends_and_a_ban_that_a_network_holds_is_named() {
    let gate = Gate::start_cheap();
    // As accounts.invite_ttl.
    let said = gate.cli(&["user", "invite", "--ttl", "367d"]).expect(4);
    assert!(said.stderr.contains("366 days"), "{said:?}");
    gate.cli(&["blacklist", "add", "198.51.100.0/24"]).expect(0);
    let said = gate.cli(&["blacklist", "remove", "198.51.100.7"]).expect(4);
    assert!(said.stderr.contains("198.51.100.0/24 holds it"), "{said:?}");
}
