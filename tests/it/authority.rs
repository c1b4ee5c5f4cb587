//! What an administrator decides is in force at the next request: for people who hold good tokens,
//! and after a crash as before it.

use serde_json::json;

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::{Person, login, refresh};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

/// The problem's type if a token is refused, nothing if it is let through.
async fn refused(client: &Client, token: &str) -> Option<String> {
    let answer = client.get("/echo").bearer(token).send().await;
    if answer.status == 200 {
        return None;
    }
    let challenge = answer.header("www-authenticate").expect("a 401 has a challenge");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    Some(answer.expect(401).problem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_out_at_once_and_stays_out_over_a_crash() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let bob = Person::join(&client, BOB).await;
    gate.cli(&["user", "disable", ADA]).expect(0);
    for _ in 0..2 {
        let client = gate.client();
        assert_eq!(refused(&client, &ada.access).await.as_deref(), Some("invalid-token"));
        assert_eq!(refresh(&client, &ada.refresh).await.expect(401).problem(), "invalid-refresh-token");
        assert_eq!(login(&client, ADA).await.expect(401).problem(), "invalid-credentials");
        assert_eq!(refused(&client, &bob.access).await, None);
        gate.kill();
        gate.restart();
    }
    gate.cli(&["user", "enable", ADA]).expect(0);
    let client = gate.client();
    assert!(refused(&client, &ada.access).await.is_some(), "what was revoked stays revoked");
    ada.take(&login(&client, ADA).await.expect(200).json());
    assert_eq!(refused(&client, &ada.access).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_roles_ends_the_access_token_and_the_next_refresh_carries_them() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    gate.cli(&["user", "roles", ADA, "editor", "member"]).expect(0);
    assert!(refused(&client, &ada.access).await.is_some());
    ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
    let echo = client.get("/echo").bearer(&ada.access).send().await.expect(200).json();
    assert_eq!(echo["headers"]["x-auth-roles"], json!(["editor,member"]));
    gate.cli(&["user", "roles", ADA, "editor", "member"]).expect(0);
    assert_eq!(refused(&client, &ada.access).await, None, "nothing changed, nothing ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_over_and_the_others_of_its_owner_are_not() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let mut elsewhere = ada.clone();
    elsewhere.take(&login(&client, ADA).await.expect(200).json());
    gate.cli(&["session", "revoke", &ada.session]).expect(0);
    assert!(refused(&client, &ada.access).await.is_some());
    refresh(&client, &ada.refresh).await.expect(401);
    assert_eq!(refused(&client, &elsewhere.access).await, None);
    let left = gate.cli_json(&["session", "list", ADA]);
    assert_eq!((left.as_array().map(Vec::len), &left[0]["id"]), (Some(1), &json!(elsewhere.session)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_session_and_only_it_lets_in() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let new = "a quite different pass phrase";
    gate.cli_with_input(&["user", "set-password", ADA, "--password-stdin"], new).expect(0);
    assert!(refused(&client, &ada.access).await.is_some());
    refresh(&client, &ada.refresh).await.expect(401);
    login(&client, ADA).await.expect(401);
    client.post("/auth/v1/login", json!({"email": ADA, "password": new})).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_leaves_nothing_that_works() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    gate.cli(&["user", "delete", ADA]).expect(0);
    for _ in 0..2 {
        let client = gate.client();
        assert!(refused(&client, &ada.access).await.is_some());
        refresh(&client, &ada.refresh).await.expect(401);
        login(&client, ADA).await.expect(401);
        gate.kill();
        gate.restart();
    }
    let again = Person::join(&gate.client(), ADA).await;
    assert_ne!(again.id, ada.id);
    assert!(refused(&gate.client(), &ada.access).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_key_vouches_for_nothing_and_sessions_go_on_with_the_next() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let status = gate.cli_json(&["status"]);
    let key = status["signing_key"].as_str().expect("a key");
    gate.cli(&["key", "retire", "--compromised", "--", key]).expect(0);
    assert!(refused(&client, &ada.access).await.is_some());
    let jwks = client.get("/.well-known/jwks.json").send().await.expect(200).text();
    assert!(!jwks.contains(key), "{jwks}");
    let stolen = ada.access.clone();
    ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
    assert_eq!(refused(&client, &ada.access).await, None);
    gate.kill();
    gate.restart();
    let client = gate.client();
    assert!(refused(&client, &stolen).await.is_some());
    assert_eq!(refused(&client, &ada.access).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_rotated_key_stay_good() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    gate.cli(&["key", "rotate", "--force"]).expect(0);
    assert_eq!(refused(&client, &ada.access).await, None);
    let mut later = ada.clone();
    later.take(&login(&client, ADA).await.expect(200).json());
    assert_eq!(refused(&client, &later.access).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_address_gets_no_answer_and_others_do() {
    let mut gate = Gate::start_cheap();
    gate.cli(&["blacklist", "add", "127.0.0.2", "--reason", "test", "--force"]).expect(0);
    for _ in 0..2 {
        let client = gate.client();
        let banned = client.clone().from("127.0.0.2");
        assert!(banned.get("/echo/public").try_send().await.is_err(), "it was answered");
        client.clone().from("127.0.0.3").get("/echo/public").send().await.expect(200);
        client.get("/echo/public").send().await.expect(200);
        gate.kill();
        gate.restart();
    }
    let banned = gate.client().from("127.0.0.2");
    assert!(banned.get("/echo/public").try_send().await.is_err(), "it was answered");
    gate.cli(&["blacklist", "remove", "127.0.0.2"]).expect(0);
    banned.get("/echo/public").send().await.expect(200);
    gate.stop();
    let events = gate.audit();
    let denied = events.iter().find(|event| event["reason"] == "blacklisted");
    assert_eq!(denied.map(|event| &event["address"]), Some(&json!("127.0.0.2")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_whose_address_is_banned_gets_no_further() {
    let gate = Gate::start_cheap();
    let client = gate.client().from("127.0.0.2");
    let mut link = client.open().await.expect("not banned yet");
    link.send(client.get("/echo/public")).await.expect("answered").expect(200);
    gate.cli(&["blacklist", "add", "127.0.0.2", "--force"]).expect(0);
    if let Ok(answer) = link.send(client.get("/echo/public")).await {
        answer.expect(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_lets_one_person_in_once_with_its_roles() {
    let environment: Vec<_> = crate::harness::gate::CHEAP
        .iter()
        .copied()
        .chain(["KEEPGATE_ACCOUNTS__REGISTRATION=invite"])
        .collect();
    let gate = Gate::start_with(&environment);
    let client = gate.client();
    let register = |email: &str, code: Option<&str>| {
        let mut body = json!({"email": email, "password": crate::harness::person::PASSWORD});
        if let Some(code) = code {
            body["invite"] = json!(code);
        }
        client.post("/auth/v1/register", body).send()
    };
    register(BOB, None).await.expect(403);
    let made = gate.cli_json(&["user", "invite", BOB, "--role", "editor"]);
    let code = made["code"].as_str().expect("a code");
    assert_eq!(register(ADA, Some(code)).await.expect(403).problem(), "invalid-invite");
    let account = register(BOB, Some(code)).await.expect(201).json();
    assert_eq!(account["account"]["roles"], json!(["editor"]));
    register("bob2@example.com", Some(code)).await.expect(403);
    let withdrawn = gate.cli_json(&["user", "invite"]);
    gate.cli(&["user", "uninvite", withdrawn["invite"]["id"].as_str().expect("an id")]).expect(0);
    register(ADA, withdrawn["code"].as_str()).await.expect(403);
}
