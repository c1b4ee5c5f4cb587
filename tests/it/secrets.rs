//! Nothing secret is written anywhere: not in what a gate prints, however much it is asked to print,
//! and not in its files.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{PASSWORD, Person, login, refresh};

const ADA: &str = "ada@example.com";
const NEW_PASSWORD: &str = "a quite different pass phrase";
const WRONG_PASSWORD: &str = "not the password but as secret";

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_token_is_in_the_log_or_in_a_file() {
    let environment: Vec<_> = CHEAP.iter().copied().chain(["KEEPGATE_LOG__LEVEL=trace"]).collect();
    let mut gate = Gate::start_with(&environment);
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let mut secrets = vec![PASSWORD.to_owned(), NEW_PASSWORD.to_owned(), WRONG_PASSWORD.to_owned()];
    secrets.extend(halves(&ada));
    client.get("/echo?access_token=in-the-query").bearer(&ada.access).send().await.expect(200);
    client.post("/auth/v1/login", json!({"email": ADA, "password": WRONG_PASSWORD})).send().await.expect(401);
    ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
    secrets.extend(halves(&ada));
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    client.post("/auth/v1/password", body).bearer(&ada.access).send().await.expect(204);
    let misplaced =
        json!({"email": PASSWORD, "password": NEW_PASSWORD, "name": WRONG_PASSWORD, "pass": NEW_PASSWORD});
    client.post("/auth/v1/register", misplaced).send().await.expect(422);
    client.get("/echo").bearer(&format!("{}x", ada.access)).send().await.expect(401);
    let invite = gate.cli_json(&["user", "invite"]);
    secrets.push(invite["code"].as_str().expect("a code").to_owned());
    gate.cli_with_input(&["user", "set-password", ADA, "--password-stdin"], PASSWORD).expect(0);
    let master = fs::read_to_string(gate.file("master.key")).expect("it is there").trim().to_owned();
    gate.stop();

    assert!(gate.log().contains("/auth/v1/login"), "the log says what was asked: {}", gate.log());
    for secret in secrets.iter().chain([&master, &"in-the-query".to_owned()]) {
        assert!(!gate.log().contains(secret.as_str()), "{secret} is in the log");
    }
    let files = files(&gate);
    assert!(files.iter().any(|(_, bytes)| contains(bytes, ADA)), "what is stored is found");
    for (path, bytes) in &files {
        for secret in &secrets {
            assert!(!contains(bytes, secret), "{secret} is in {}", path.display());
        }
        assert!(path.ends_with("master.key") || !contains(bytes, &master), "{}", path.display());
    }
}

/// The secret parts of somebody's tokens: an access token's signature, most of a refresh token.
fn halves(person: &Person) -> [String; 2] {
    let signature = person.access.rsplit('.').next().expect("three parts").to_owned();
    let refresh = &person.refresh;
    [signature, refresh[refresh.len() / 2..].to_owned()]
}

fn files(gate: &Gate) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut folders, mut files) = (vec![gate.data()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).expect("readable");
                files.push((path, bytes));
            }
        }
    }
    files
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_made_once_and_shown_once() {
    let mut gate = Gate::start_cheap();
    let administrator = gate.cli_json(&["user", "list"]);
    assert_eq!((&administrator[0]["roles"], &administrator[1]), (&json!(["admin"]), &json!(null)));
    gate.stop();
    let password = shown(&gate).expect("it is shown at the first start");
    gate.restart();
    let email = administrator[0]["email"].as_str().expect("text");
    let body = json!({"email": email, "password": password});
    let client = gate.client();
    let grant = client.post("/auth/v1/login", body).send().await.expect(200).json();
    let token = grant["access_token"].as_str().expect("a token");
    let echo = client.get("/echo").bearer(token).send().await.expect(200).json();
    assert_eq!(echo["headers"]["x-auth-roles"], json!(["admin"]));
    login(&client, email).await.expect(401);
    gate.stop();
    assert_eq!(shown(&gate), None);
}

/// The first administrator's password, if the gate has printed it since its last start.
fn shown(gate: &Gate) -> Option<String> {
    let after = gate.log().split("password (shown this once): ").nth(1)?;
    after.lines().next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_fails_at_its_ports_makes_no_administrator() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    for listener in ["--https", "--internal"] {
        let mut gate = Gate::prepare(CHEAP);
        gate.make_data();
        let data = gate.data();
        let mut command = std::process::Command::new(crate::harness::gate::binary());
        command.args(["serve", "--dev", "--data"]).arg(data);
        for each in ["--https", "--http", "--internal"] {
            command.args([each, if each == listener { &taken.1 } else { "127.0.0.1:0" }]);
        }
        let said = crate::harness::cli::run(command, "").expect(1);
        assert!(said.stderr.contains(&taken.1), "{said:?}");
        gate.restart();
        gate.stop();
        assert!(shown(&gate).is_some(), "{listener}: the password was made and never shown");
    }
}
