//! Bad input over HTTP: each fault is answered by a problem of a stable type that names it, and
//! changes nothing.

use serde_json::{Value, json};

use crate::harness::client::{Answer, Client};
use crate::harness::gate::Gate;
use crate::harness::person::{PASSWORD, Person, login};

const ADA: &str = "ada@example.com";
const REGISTER: &str = "/auth/v1/register";
const LOGIN: &str = "/auth/v1/login";

/// A registration that is good but for what a test changes in it.
fn registration(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({"email": "new@example.com", "password": PASSWORD, "name": "New"});
    change(&mut body);
    body
}

/// Everything that a request could have changed: accounts, sessions, the audit log's length.
fn state(gate: &Gate) -> (Value, Value) {
    (gate.cli_json(&["user", "list"]), gate.cli_json(&["session", "list", ADA]))
}

/// The faults of a problem as `field code`.
fn faults(answer: &Answer) -> Vec<String> {
    let problem = answer.json();
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
    let text = |error: &Value, key: &str| error[key].as_str().expect("text").to_owned();
    assert!(errors.iter().all(|error| !text(error, "detail").is_empty()), "{problem}");
    errors.iter().map(|error| text(error, "field") + " " + &text(error, "code")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_answered_with_how_it_fails() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    Person::join(&client, ADA).await;
    let (before, audited) = (state(&gate), gate.audit().len());
    let good = registration(|_| {}).to_string();
    let json = "application/json";
    let cases = [
        ("text/plain", good.clone().into_bytes(), 415, "unsupported-media-type", "application/json"),
        (
            "application/x-www-form-urlencoded",
            b"a=b".to_vec(),
            415,
            "unsupported-media-type",
            "application/json",
        ),
        (json, b"{\"email\": \n  oops}".to_vec(), 400, "malformed-json", "line 2, column 3"),
        (json, b"{\"email\":\"a\xff\"}".to_vec(), 400, "malformed-json", "line 1"),
        (json, good.as_bytes()[..good.len() - 1].to_vec(), 400, "malformed-json", "line 1"),
        (json, format!("{good}{good}").into_bytes(), 400, "malformed-json", "line 1"),
        (json, Vec::new(), 400, "malformed-json", "line 1"),
        (json, b"[1]".to_vec(), 400, "malformed-json", "one JSON object"),
        (json, b"[".repeat(50_000), 400, "malformed-json", ""),
        (json, vec![b' '; 70_000], 413, "body-too-large", "65536 bytes"),
    ];
    for (content_type, body, status, kind, says) in cases {
        for path in [REGISTER, LOGIN, "/auth/v1/refresh"] {
            let answer = client.request("POST", path).body(content_type, body.clone()).send().await;
            assert_eq!(answer.status, status, "{path} {content_type}: {:?}", answer.body);
            assert_eq!(answer.problem(), kind, "{path}");
            let problem = answer.json();
            assert_eq!(problem["status"], status);
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{problem}");
            let id = answer.header("x-request-id").expect("a request id");
            assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
        }
    }
    assert_eq!(state(&gate), before);
    assert_eq!(gate.audit().len(), audited, "what was not understood is no decision");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_at_fault_is_named() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    Person::join(&client, ADA).await;
    let before = state(&gate);
    let long = |length| json!("x1 ".repeat(length));
    let cases: [(Value, &[&str]); 14] = [
        (json!({}), &["email required", "password required"]),
        (registration(|b| b["colour"] = json!("blue")), &["colour unknown"]),
        (registration(|b| b["roles"] = json!(["admin"])), &["roles unknown"]),
        (registration(|b| b["email"] = json!(7)), &["email type"]),
        (registration(|b| b["name"] = json!({"first": "Ada"})), &["name type"]),
        (registration(|b| b["email"] = Value::Null), &["email type"]),
        (registration(|b| b["email"] = json!("not an address")), &["email invalid"]),
        (registration(|b| b["email"] = json!("a@b\r\nBcc: c@d")), &["email invalid"]),
        (registration(|b| b["password"] = json!("short")), &["password too_short"]),
        (registration(|b| b["password"] = long(400)), &["password too_long"]),
        (registration(|b| b["password"] = json!("aaaaaaaaaaaaaaaa")), &["password trivial"]),
        (registration(|b| b["name"] = json!("Ada\u{1b}[2J")), &["name invalid"]),
        (registration(|b| b["name"] = long(2_000)), &["name too_long"]),
        (
            registration(|b| (b["email"], b["password"]) = (json!("x"), json!("short"))),
            &["email invalid", "password too_short"],
        ),
    ];
    for (body, expected) in cases {
        let answer = client.post(REGISTER, body.clone()).send().await;
        assert_eq!(answer.status, 422, "{body}: {:?}", answer.body);
        assert_eq!(answer.problem(), "invalid-request", "{body}");
        assert_eq!(faults(&answer), expected, "{body}");
    }
    let twice = r#"{"email":"a@example.com","email":"b@example.com","password":"correct horse battery"}"#;
    let answer = client.request("POST", REGISTER).body("application/json", twice).send().await.expect(422);
    assert_eq!(faults(&answer), ["email duplicate"]);
    let answer = client.post(LOGIN, json!({"email": ADA})).send().await.expect(422);
    assert_eq!(faults(&answer), ["password required"]);
    let answer = client.post("/auth/v1/refresh", json!({"token": "x"})).send().await.expect(422);
    assert_eq!(faults(&answer), ["refresh_token required", "token unknown"]);
    assert_eq!(state(&gate), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_a_conflict_in_any_spelling() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    Person::join(&client, ADA).await;
    let before = state(&gate);
    for spelling in [ADA, "Ada@Example.COM", " ada@example.com "] {
        let answer = client.post(REGISTER, registration(|b| b["email"] = json!(spelling))).send().await;
        assert_eq!(answer.status, 409, "{spelling}: {:?}", answer.body);
        assert_eq!(
            (answer.problem(), faults(&answer)),
            ("email-taken".to_owned(), vec!["email taken".to_owned()])
        );
    }
    assert_eq!(state(&gate), before);
}

/// An answer without what differs between any two requests.
fn without_its_request(answer: &Answer) -> (Value, Vec<(String, String)>) {
    let mut body = answer.json();
    body["instance"] = Value::Null;
    let headers =
        answer.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    (body, headers.map(|(name, value)| (name.to_string(), text(value))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_from_a_login_whether_an_account_exists() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    Person::join(&client, ADA).await;
    gate.cli(&["user", "add", "locked@example.com", "--generate"]).expect(0);
    gate.cli(&["user", "disable", "locked@example.com"]).expect(0);
    let attempt = |email: &str| {
        client.post(LOGIN, json!({"email": email, "password": "a wrong but long password"})).send()
    };
    let wrong = attempt(ADA).await.expect(401);
    assert_eq!(wrong.problem(), "invalid-credentials");
    for email in ["nobody@example.com", "locked@example.com"] {
        let other = attempt(email).await.expect(401);
        assert_eq!(without_its_request(&other), without_its_request(&wrong), "{email}");
    }
    login(&client, ADA).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_who_knows_it_and_to_a_good_one_only() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        client.post("/auth/v1/password", body).bearer(&ada.access).send()
    };
    let new = "another long enough phrase";
    let answer = change("not the password at all", new).await;
    assert!(answer.status.is_client_error(), "{:?}", answer.body);
    let answer = change(PASSWORD, "short").await.expect(422);
    assert_eq!(faults(&answer), ["new_password too_short"]);
    client.post("/auth/v1/password", json!({})).send().await.expect(401);
    login(&client, ADA).await.expect(200);
    change(PASSWORD, new).await.expect(204);
    login(&client, ADA).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_their_owner_sees_and_ends_sessions() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let (ada, bob) = (Person::join(&client, ADA).await, Person::join(&client, "bob@example.com").await);
    let end = |id: &str, who: &Person| {
        client.request("DELETE", &format!("/auth/v1/sessions/{id}")).bearer(&who.access).send()
    };
    assert_eq!(end(&ada.session, &bob).await.expect(404).problem(), "not-found");
    for nonsense in ["17", "01890a5d-ac96-774b-bcce-b302099a8057", "%00", "../../x"] {
        let answer = end(nonsense, &bob).await;
        assert!([400, 404, 405].contains(&answer.status.as_u16()), "{nonsense}: {:?}", answer.body);
        answer.problem();
    }
    let listed = client.get("/auth/v1/sessions").bearer(&ada.access).send().await.expect(200).json();
    assert!(
        listed.to_string().contains(&ada.session) && !listed.to_string().contains(&bob.session),
        "{listed}"
    );
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    end(&ada.session, &ada).await.expect(204);
    client.get("/echo").bearer(&ada.access).send().await.expect(401);
}

async fn expect_problem(client: &Client, method: &str, path: &str, status: u16) -> Answer {
    let answer = client.request(method, path).send().await.expect(status);
    answer.problem();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_and_methods_are_problems_too() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    expect_problem(&client, "GET", "/nowhere", 404).await;
    expect_problem(&client, "GET", "/auth/v1/nowhere", 404).await;
    let answer = expect_problem(&client, "GET", LOGIN, 405).await;
    assert_eq!(answer.header("allow"), Some("POST"));
    expect_problem(&client, "DELETE", "/auth/v1/sessions", 405).await;
    expect_problem(&client, "GET", "/metrics", 404).await;
}
