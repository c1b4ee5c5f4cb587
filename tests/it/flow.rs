//! The whole story, by the real binary through real TLS: from an empty folder to a request that is
//! authenticated, proxied, audited, and refused once its session has ended, a crash included.

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::{Person, login, refresh};

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_folder_to_a_refused_token() {
    let mut gate = Gate::start();
    whole_story(&mut gate).await;
}

/// Register, log in, call through, rotate, replay a stolen token, log out, crash: each step as a
/// user and an attacker would see it.
pub async fn whole_story(gate: &mut Gate) {
    let client = gate.client();
    let mut ada = Person::join(&client, "ada@example.com").await;

    identity_headers_are_ours_alone(&client, &ada).await;
    let stolen = ada.clone();
    ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
    a_second_replay_kills_the_family(&client, &stolen, &ada).await;
    the_audit_log_shows_the_reuse(gate, &ada);

    let grant = login(&client, &ada.email).await.expect(200).json();
    ada.take(&grant);
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    client.request("POST", "/auth/v1/logout").bearer(&ada.access).send().await.expect(204);
    let refused = client.get("/echo").bearer(&ada.access).send().await.expect(401);
    assert!(refused.header("www-authenticate").is_some_and(|challenge| challenge.contains("invalid_token")));

    gate.kill();
    gate.restart();
    let client = gate.client();
    client.get("/echo").bearer(&ada.access).send().await.expect(401);
    refresh(&client, &ada.refresh).await.expect(401);
    login(&client, &ada.email).await.expect(200);
    let verdict = gate.cli_json(&["audit", "verify"]);
    assert_eq!(verdict["findings"], json!([]), "{verdict}");
}

async fn identity_headers_are_ours_alone(client: &Client, ada: &Person) {
    let echo = client
        .get("/echo/some/path?q=1")
        .bearer(&ada.access)
        .header("x-auth-subject", "root")
        .header("X_Auth_Subject", "root")
        .header("x-auth-roles", "admin")
        .header("x-keepgate-assertion", "forged")
        .header("x-forwarded-for", "203.0.113.9")
        .send()
        .await
        .expect(200)
        .json();
    let headers = &echo["headers"];
    assert_eq!(echo["path"], "/echo/some/path?q=1");
    assert_eq!(headers["x-auth-subject"], json!([ada.id]));
    assert_eq!(headers["x-auth-session"], json!([ada.session]));
    assert_eq!(headers["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!(headers["x-forwarded-proto"], json!(["https"]));
    for forged in ["x_auth_subject", "x-keepgate-assertion"] {
        assert_eq!(headers[forged], Value::Null, "{forged} came through");
    }
    assert_ne!(headers["x-auth-roles"], json!(["admin"]));
    let open = client.get("/echo/public").header("x-auth-subject", "root").send().await.expect(200).json();
    assert_eq!(open["headers"]["x-auth-subject"], Value::Null);
    client.get("/echo").send().await.expect(401);
}

/// The thief's client differs from the owner's, so no grace window covers it.
async fn a_second_replay_kills_the_family(client: &Client, stolen: &Person, ada: &Person) {
    let replay = client
        .post("/auth/v1/refresh", json!({"refresh_token": stolen.refresh}))
        .header("user-agent", "thief/1.0")
        .send()
        .await
        .expect(401);
    assert_eq!(replay.problem(), "invalid-refresh-token");
    client.get("/echo").bearer(&ada.access).send().await.expect(401);
    refresh(client, &ada.refresh).await.expect(401);
}

fn the_audit_log_shows_the_reuse(gate: &Gate, ada: &Person) {
    let events = gate.audit();
    let reuse = events.iter().find(|event| event["intent"] == "refresh_reuse");
    let reuse = reuse.unwrap_or_else(|| panic!("no reuse in {events:?}"));
    assert_eq!(reuse["outcome"], "denied");
    assert!(reuse["target"].as_str().is_some_and(|target| target.contains(&ada.session)), "{reuse}");
}
