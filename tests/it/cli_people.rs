//! The commands about people, executed by the running daemon and by the command line itself when
//! none runs: the same commands, the same answers, the same exit codes.

use serde_json::{Value, json};

use crate::harness::gate::Gate;
use crate::harness::person::{PASSWORD, Person};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

#[test]
fn people_are_managed_through_the_running_daemon() {
    let gate = Gate::start_cheap();
    the_life_of_an_account(&gate);
    invitations(&gate);
    what_cannot_be_is_refused(&gate);
    gate.verify_audit();
}

#[test]
fn people_are_managed_in_the_same_way_when_no_daemon_runs() {
    let mut gate = Gate::start_cheap();
    gate.stop();
    the_life_of_an_account(&gate);
    invitations(&gate);
    what_cannot_be_is_refused(&gate);
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_the_daemon_is_answered_alike_after_it_stopped() {
    let mut gate = Gate::start_cheap();
    let ada = Person::join(&gate.client(), ADA).await;
    gate.cli(&["user", "invite", BOB, "--role", "editor"]).expect(0);
    gate.cli(&["blacklist", "add", "192.0.2.0/24", "--reason", "scans"]).expect(0);
    let questions: [&[&str]; 7] = [
        &["user", "list"],
        &["user", "show", ADA],
        &["user", "show", &ada.id, "--json"],
        &["user", "invites"],
        &["session", "list", ADA],
        &["blacklist", "list", "--json"],
        &["key", "list"],
    ];
    let ask = |gate: &Gate| questions.map(|question| gate.cli(question).expect(0));
    let running = ask(&gate);
    gate.stop();
    assert_eq!(ask(&gate), running);
    gate.restart();
    assert_eq!(ask(&gate), running);
}

/// Every step of an account, in a folder that has only its first administrator.
fn the_life_of_an_account(gate: &Gate) {
    let add = ["user", "add", ADA, "--name", "Ada", "--role", "editor", "--password-stdin", "--json"];
    let ada = gate.cli_with_input(&add, PASSWORD).expect(0).json();
    assert_eq!(
        (&ada["email"], &ada["name"], &ada["roles"], &ada["status"]),
        (&json!(ADA), &json!("Ada"), &json!(["editor"]), &json!("active"))
    );
    let id = ada["id"].as_str().expect("an id");
    for name in [id, "ADA@Example.com"] {
        let mut shown = gate.cli_json(&["user", "show", name]);
        let tries = shown.as_object_mut().and_then(|shown| shown.remove("throttle"));
        assert_eq!(tries.map(|tries| tries["strangers_failures"].clone()), Some(json!(0)), "{shown}");
        assert_eq!(shown, ada, "{name}");
    }
    assert!(listed(gate).contains(&ada));

    assert_eq!(gate.cli_json(&["user", "disable", ADA])["status"], "disabled");
    assert_eq!(gate.cli_json(&["user", "disable", ADA])["status"], "disabled");
    assert_eq!(gate.cli_json(&["user", "enable", ADA])["status"], "active");
    assert_eq!(
        gate.cli_json(&["user", "roles", ADA, "member", "admin"])["roles"],
        json!(["admin", "member"])
    );
    assert_eq!(gate.cli_json(&["user", "roles", ADA, "--none"])["roles"], json!([]));

    let made = gate.cli(&["user", "set-password", ADA, "--generate"]).expect(0);
    assert_eq!(shown_password(&made.stdout).len(), 24, "{made:?}");
    let made = gate.cli(&["user", "set-password", ADA, "--generate", "--json"]).expect(0);
    assert_eq!(made.json()["id"], id);
    assert_eq!(shown_password(&made.stderr).len(), 24);

    gate.cli(&["user", "delete", ADA]).expect(0);
    assert_eq!(gate.cli_fails(&["user", "show", ADA], 4), "not_found");
    assert_eq!(gate.cli_fails(&["user", "delete", ADA], 4), "not_found");
    let again = gate.cli(&["user", "add", ADA, "--generate", "--json"]).expect(0).json();
    assert_ne!(again["id"], id);
    gate.cli(&["user", "delete", ADA]).expect(0);
}

fn invitations(gate: &Gate) {
    let made = gate.cli_json(&["user", "invite", BOB, "--role", "editor", "--ttl", "2h"]);
    assert_eq!((&made["invite"]["email"], &made["invite"]["roles"]), (&json!(BOB), &json!(["editor"])));
    assert!(made["code"].as_str().is_some_and(|code| code.len() > 20), "{made}");
    let id = made["invite"]["id"].as_str().expect("an id");
    let open = gate.cli_json(&["user", "invites"]);
    assert_eq!(open, json!([made["invite"]]), "the code is shown once only");
    gate.cli(&["user", "uninvite", id]).expect(0);
    assert_eq!(gate.cli_json(&["user", "invites"]), json!([]));
    assert_eq!(gate.cli_fails(&["user", "uninvite", id], 4), "not_found");
}

/// Each refusal has its code, and none changes anything.
fn what_cannot_be_is_refused(gate: &Gate) {
    let before = listed(gate);
    let administrator = before[0]["email"].as_str().expect("an address").to_owned();
    for take_out in [
        ["user", "disable", &administrator].as_slice(),
        &["user", "delete", &administrator],
        &["user", "roles", &administrator, "--none"],
        &["user", "roles", &administrator, "member"],
    ] {
        assert_eq!(gate.cli_fails(take_out, 4), "refused", "{take_out:?}");
    }
    assert_eq!(gate.cli_fails(&["user", "add", &administrator, "--generate"], 4), "conflict");
    let short = gate.cli_with_input(&["user", "add", BOB, "--password-stdin", "--json"], "short\n");
    assert_eq!(short.expect(4).failure()["code"], "invalid");
    assert_eq!(gate.cli_fails(&["user", "show", "nobody@example.com"], 4), "not_found");
    assert_eq!(gate.cli_fails(&["session", "list", "nobody@example.com"], 4), "not_found");
    let nothing = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(gate.cli_fails(&["session", "revoke", nothing], 4), "not_found");
    for wrong in [
        ["user", "add", "not-an-address", "--generate"].as_slice(),
        &["user", "add", BOB],
        &["user", "add", BOB, "--generate", "--password-stdin"],
        &["user", "add", BOB, "--generate", "--role", "Bad Role"],
        &["user", "roles", BOB],
        &["session", "revoke", "17"],
        &["user", "dance"],
    ] {
        gate.cli(wrong).expect(2);
    }
    assert_eq!(listed(gate), before);
}

fn listed(gate: &Gate) -> Vec<Value> {
    gate.cli_json(&["user", "list"]).as_array().expect("a list").clone()
}

fn shown_password(text: &str) -> &str {
    text.split("shown this once: ").nth(1).unwrap_or_else(|| panic!("no password in {text:?}")).trim_end()
}
