//! Access tokens as others see them: an independent library verifies them with the published keys,
//! and the gate takes none that it did not make for itself.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::cli::run;
use crate::harness::client::Client;
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{Person, login};

const ADA: &str = "ada@example.com";

fn gate_with(pair: &str) -> Gate {
    let environment: Vec<_> = CHEAP.iter().copied().chain([pair]).collect();
    Gate::start_with(&environment)
}

async fn jwks(client: &Client) -> Value {
    client.get("/.well-known/jwks.json").send().await.expect(200).json()
}

/// Asks PyJWT, which shares no code with Keepgate, for the token's claims.
fn claims_by_pyjwt(folder: &Path, keys: &Value, token: &str, audience: &str) -> Result<Value, String> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    #[expect(clippy::disallowed_methods, reason = "the gate under test goes by the real time, too")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut python = Command::new("/usr/bin/python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/verify_jwt.py")).arg("verify");
    python.arg(file("jwks.json", &keys.to_string())).arg(file("token", token));
    python.args(["https://localhost", audience, &now.to_string()]);
    let said = run(python, "");
    if said.code == 0 { Ok(said.json()) } else { Err(said.stderr) }
}

async fn an_independent_library_agrees(algorithm: &str) {
    let gate = gate_with(&format!("KEEPGATE_KEYS__ALGORITHM={algorithm}"));
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let keys = jwks(&client).await;
    assert!(keys["keys"].as_array().expect("a list").iter().all(|key| key["alg"] == algorithm), "{keys}");
    assert!(!keys.to_string().contains("\"d\":"), "a private key is published: {keys}");
    let claims = claims_by_pyjwt(gate.folder(), &keys, &ada.access, "keepgate").expect("it verifies");
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!(ada.id), &json!(ada.session)));
    let (iat, exp) = (claims["iat"].as_i64().expect("a time"), claims["exp"].as_i64().expect("a time"));
    assert_eq!(exp - iat, 600);
    claims_by_pyjwt(gate.folder(), &keys, &ada.access, "elsewhere").expect_err("another audience");
    let (head, _) = ada.access.rsplit_once('.').expect("three parts");
    claims_by_pyjwt(gate.folder(), &keys, &format!("{head}.AAAA"), "keepgate").expect_err("no signature");
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_library_verifies_eddsa_tokens_with_the_published_keys() {
    an_independent_library_agrees("EdDSA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_library_verifies_es256_tokens_with_the_published_keys() {
    an_independent_library_agrees("ES256").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_library_verifies_rs256_tokens_with_the_published_keys() {
    an_independent_library_agrees("RS256").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_secret_is_not_published() {
    let gate = gate_with("KEEPGATE_KEYS__ALGORITHM=HS256");
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    assert_eq!(jwks(&client).await, json!({"keys": []}));
}

/// A token in its three parts.
struct Parts {
    header: Value,
    claims: Value,
    signature: String,
}

impl Parts {
    fn of(token: &str) -> Self {
        let part = |index: usize| token.split('.').nth(index).expect("three parts");
        let json = |index: usize| {
            let bytes = URL_SAFE_NO_PAD.decode(part(index)).expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        Self { header: json(0), claims: json(1), signature: part(2).to_owned() }
    }

    fn signed_part(&self) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", encode(&self.header), encode(&self.claims))
    }

    /// With the signature as it is.
    fn token(&self) -> String {
        format!("{}.{}", self.signed_part(), self.signature)
    }

    /// Signed with HMAC.
    fn hs256(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, self.signed_part().as_bytes());
        format!("{}.{}", self.signed_part(), URL_SAFE_NO_PAD.encode(tag))
    }
}

/// A good token, changed.
fn changed(token: &str, change: impl FnOnce(&mut Parts)) -> Parts {
    let mut parts = Parts::of(token);
    change(&mut parts);
    parts
}

async fn expect_refused(client: &Client, token: &str, why: &str) {
    let answer = client.get("/echo").bearer(token).send().await;
    assert_eq!(answer.status, 401, "{why}: {:?}", answer.body);
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
        "{why}: {challenge}"
    );
    assert_eq!(answer.problem(), "invalid-token", "{why}");
    let anonymous = client.get("/auth/v1/verify").bearer(token).send().await.expect(401);
    assert_eq!(anonymous.problem(), "invalid-token", "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_changed_in_any_part_is_refused() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    let keys = jwks(&client).await;
    let kid = Parts::of(&ada.access).header["kid"].clone();
    let key = keys["keys"].as_array().expect("a list").iter().find(|key| key["kid"] == kid);
    let key = key.expect("the key is published");
    let point = URL_SAFE_NO_PAD.decode(key["x"].as_str().expect("text")).expect("base64url");
    let hs256 = |parts: &mut Parts| parts.header["alg"] = json!("HS256");
    let none = |parts: &mut Parts| {
        parts.header["alg"] = json!("none");
        parts.signature = String::new();
    };
    let tokens = [
        ("alg none", changed(&ada.access, none).token()),
        (
            "alg none in odd case",
            changed(&ada.access, |p| {
                none(p);
                p.header["alg"] = json!("nOnE")
            })
            .token(),
        ),
        ("HS256 by the public key", changed(&ada.access, hs256).hs256(&point)),
        ("HS256 by the JWK", changed(&ada.access, hs256).hs256(key.to_string().as_bytes())),
        ("HS256 by nothing", changed(&ada.access, hs256).hs256(b"")),
        ("another kid", changed(&ada.access, |p| p.header["kid"] = json!("nobody")).token()),
        ("no kid", changed(&ada.access, |p| p.header["kid"] = Value::Null).token()),
        ("a kid that is a path", changed(&ada.access, |p| p.header["kid"] = json!("../../dev/null")).token()),
        ("another type", changed(&ada.access, |p| p.header["typ"] = json!("JWT")).token()),
        ("its own key", changed(&ada.access, |p| p.header["jwk"] = key.clone()).token()),
        ("critical extension", changed(&ada.access, |p| p.header["crit"] = json!(["x"])).token()),
        ("more roles", changed(&ada.access, |p| p.claims["roles"] = json!(["admin"])).token()),
        ("a longer life", changed(&ada.access, |p| p.claims["exp"] = json!(9_999_999_999_u64)).token()),
        ("another owner", changed(&ada.access, |p| p.claims["sub"] = p.claims["jti"].clone()).token()),
        ("no signature", ada.access.rsplit_once('.').expect("three parts").0.to_owned() + "."),
        ("two parts", ada.access.rsplit_once('.').expect("three parts").0.to_owned()),
        ("four parts", format!("{}.AAAA", ada.access)),
        ("padding", format!("{}=", ada.access)),
        ("a refresh token", ada.refresh.clone()),
        ("nothing", String::new()),
        ("64 KiB short of the head's limit", "a".repeat(20_000)),
    ];
    for (why, token) in tokens {
        expect_refused(&client, &token, why).await;
    }
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_signed_token_for_another_audience_or_of_another_issuer_is_refused() {
    let mut gate = gate_with("KEEPGATE_TOKENS__AUDIENCE=elsewhere");
    let mut ada = Person::join(&gate.client(), ADA).await;
    let elsewhere = ada.access.clone();
    gate.set("KEEPGATE_TOKENS__AUDIENCE=keepgate");
    gate.restart();
    expect_refused(&gate.client(), &elsewhere, "another audience").await;
    ada.take(&login(&gate.client(), ADA).await.expect(200).json());
    gate.client().get("/echo").bearer(&ada.access).send().await.expect(200);
    gate.set("KEEPGATE_TOKENS__ISSUER=https://id.example.com");
    gate.restart();
    expect_refused(&gate.client(), &ada.access, "another issuer").await;
    gate.set("KEEPGATE_TOKENS__ISSUER=https://localhost");
    gate.restart();
    gate.client().get("/echo").bearer(&ada.access).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_gate_is_refused() {
    let (one, other) = (Gate::start_cheap(), Gate::start_cheap());
    let ada = Person::join(&one.client(), ADA).await;
    expect_refused(&other.client(), &ada.access, "another gate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_served_with_a_validator_and_the_metadata_points_to_them() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let answer = client.get("/.well-known/jwks.json").send().await.expect(200);
    let etag = answer.header("etag").expect("an ETag").to_owned();
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("max-age=300")));
    let again = client.get("/.well-known/jwks.json").header("if-none-match", &etag).send().await;
    assert!(again.expect(304).body.is_empty());
    let metadata = client.get("/.well-known/oauth-authorization-server").send().await.expect(200).json();
    assert_eq!(metadata["issuer"], "https://localhost");
    assert_eq!(metadata["jwks_uri"], "https://localhost/.well-known/jwks.json");
    gate.cli(&["key", "rotate", "--force"]).expect(0);
    let changed =
        client.get("/.well-known/jwks.json").header("if-none-match", &etag).send().await.expect(200);
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}
