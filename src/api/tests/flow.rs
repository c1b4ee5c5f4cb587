//! Every endpoint over the real services.

use serde_json::json;

use super::world::{PASSWORD, World, tokens};
use super::*;
use crate::config::accounts::Registration;
use crate::model::caller::RefusedToken;

async fn open() -> World {
    World::new(Registration::Open).await
}

#[tokio::test]
async fn a_person_registers_logs_in_refreshes_and_logs_out() {
    let world = open().await;
    let (_, refresh) = world.ada().await;
    let answer = world.post("/auth/v1/refresh", json!({"refresh_token": refresh})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let (access, successor) = tokens(&answer);
    assert_ne!(refresh, successor);
    let answer = world.ask("POST", "/auth/v1/logout", Some(&access)).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    let answer = world.post("/auth/v1/refresh", json!({"refresh_token": successor})).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid-refresh-token")
    );
}

#[tokio::test]
async fn a_new_account_is_shown_without_anything_secret() {
    let world = open().await;
    let body = json!({"email": " Ada@Example.com", "password": PASSWORD, "name": "Ada"});
    let answer = world.post("/auth/v1/register", body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut json = answer.json();
    assert!(json["account"]["id"].as_str().unwrap().parse::<crate::model::id::AccountId>().is_ok());
    json["account"]["id"].take();
    let expected = json!({"account": {
        "id": null, "email": "ada@example.com", "name": "Ada", "roles": [], "created_at": "2026-11-18T11:06:40.000Z",
    }});
    assert_eq!(json, expected);
}

#[tokio::test]
async fn a_grant_has_the_shape_that_clients_rely_on_and_is_not_kept() {
    let world = open().await;
    world.ada().await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let answer = world.post("/auth/v1/login", body).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    let mut names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let expected =
        ["access_token", "expires_in", "refresh_expires_in", "refresh_token", "session_id", "token_type"];
    assert_eq!(names, expected);
    assert_eq!((&json["token_type"], &json["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert!(json["refresh_expires_in"].as_u64().unwrap() > 600);
}

#[tokio::test]
async fn registration_follows_its_mode() {
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": null});
    let closed = World::new(Registration::Closed).await.post("/auth/v1/register", body.clone()).await;
    assert_eq!((closed.status, closed.problem().as_str()), (StatusCode::FORBIDDEN, "registration-closed"));
    let invited = World::new(Registration::Invite).await.post("/auth/v1/register", body.clone()).await;
    assert_eq!((invited.status, invited.problem().as_str()), (StatusCode::FORBIDDEN, "invalid-invite"));
    assert_eq!(invited.faults(), ["invite invalid"]);
    let world = open().await;
    assert_eq!(world.post("/auth/v1/register", body.clone()).await.status, StatusCode::CREATED);
    let again = world.post("/auth/v1/register", body).await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "email-taken"));
}

#[tokio::test]
async fn bad_input_names_every_field_and_changes_nothing() {
    let world = open().await;
    let answer = world.post("/auth/v1/register", json!({"email": "nobody", "password": "tiny-secret"})).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request")
    );
    let fields: Vec<_> =
        answer.faults().iter().map(|fault| fault.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(fields, ["email", "password"]);
    assert!(!String::from_utf8(answer.body).unwrap().contains("tiny-secret"));
    let missing = world.post("/auth/v1/register", json!({"mail": "ada@example.com"})).await;
    assert_eq!(missing.faults(), ["email required", "password required", "mail unknown"]);
    assert_eq!(world.auth.accounts.list(None, 10).unwrap(), []);
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_answer_alike() {
    let world = open().await;
    world.ada().await;
    let attempt = |email: &'static str| {
        world.post("/auth/v1/login", json!({"email": email, "password": "wrong, quite"}))
    };
    let (wrong, unknown) = (attempt("ada@example.com").await, attempt("bob@example.com").await);
    assert_eq!((wrong.status, wrong.problem().as_str()), (StatusCode::UNAUTHORIZED, "invalid-credentials"));
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.headers, unknown.headers);
}

#[tokio::test]
async fn what_needs_a_caller_answers_401_without_one() {
    let world = open().await;
    for (method, path) in [
        ("POST", "/auth/v1/logout"),
        ("POST", "/auth/v1/logout-all"),
        ("POST", "/auth/v1/password"),
        ("GET", "/auth/v1/sessions"),
        ("DELETE", "/auth/v1/sessions/01890a5d-ac96-774b-bcce-b302099a8057"),
        ("GET", "/auth/v1/verify"),
    ] {
        let answer = world.ask(method, path, None).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNAUTHORIZED, "unauthenticated"),
            "{path}"
        );
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="keepgate""#));
    }
}

#[tokio::test]
async fn a_token_that_was_refused_is_called_invalid_not_missing() {
    let world = open().await;
    let mut request = Request::get("/auth/v1/sessions").body(Body::empty()).unwrap();
    request.extensions_mut().insert(RefusedToken { reason: "the token has expired".to_owned() });
    let answer = send(&world.router, request).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "invalid-token"));
    let challenge = answer.header("www-authenticate").unwrap();
    let words =
        r#"Bearer realm="keepgate", error="invalid_token", error_description="the token has expired""#;
    assert_eq!((challenge, &answer.json()["detail"]), (words, &"the token has expired".into()));
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let world = open().await;
    let (_, first_refresh) = world.ada().await;
    let (access, _) = world.login().await;
    let answer = world.ask("GET", "/auth/v1/sessions", Some(&access)).await;
    let json = answer.json();
    let sessions = json["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    assert_eq!((&other["device"], &other["address"]), (&json!("laptop"), &json!("127.0.0.1")));
    for secret in ["hash", "salt", "previous"] {
        assert!(!json.to_string().contains(secret), "{secret}");
    }
    let path = format!("/auth/v1/sessions/{}", other["id"].as_str().unwrap());
    assert_eq!(world.ask("DELETE", &path, Some(&access)).await.status, StatusCode::NO_CONTENT);
    let dead = world.post("/auth/v1/refresh", json!({"refresh_token": first_refresh})).await;
    assert_eq!(dead.status, StatusCode::UNAUTHORIZED);
    for gone in [path.as_str(), "/auth/v1/sessions/me", "/auth/v1/sessions/%00"] {
        let answer = world.ask("DELETE", gone, Some(&access)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::NOT_FOUND, "not-found"),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_session() {
    let world = open().await;
    let (access, one) = world.ada().await;
    let (_, other) = world.login().await;
    assert_eq!(world.ask("POST", "/auth/v1/logout-all", Some(&access)).await.status, StatusCode::NO_CONTENT);
    for refresh in [one, other] {
        let answer = world.post("/auth/v1/refresh", json!({"refresh_token": refresh})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it() {
    let world = open().await;
    let (access, _) = world.ada().await;
    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let new = "another long passphrase";
    let wrong = world.post_as(&access, "/auth/v1/password", change("not this one", new)).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (StatusCode::UNAUTHORIZED, "invalid-credentials"));
    let weak = world.post_as(&access, "/auth/v1/password", change(PASSWORD, "short")).await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(weak.faults().iter().all(|fault| fault.starts_with("new_password ")), "{:?}", weak.faults());
    let done = world.post_as(&access, "/auth/v1/password", change(PASSWORD, new)).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    let login = |password: &'static str| {
        world.post("/auth/v1/login", json!({"email": "ada@example.com", "password": password}))
    };
    assert_eq!(login(PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(login("another long passphrase").await.status, StatusCode::OK);
}

#[tokio::test]
async fn forward_authentication_answers_with_identity_headers() {
    let world = open().await;
    let (access, _) = world.ada().await;
    let answer = world.ask("GET", "/auth/v1/verify", Some(&access)).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    let account = world.auth.accounts.list(None, 1).unwrap()[0].id.to_string();
    assert_eq!(answer.header("x-auth-subject"), Some(account.as_str()));
    assert!(answer.header("x-auth-session").is_some());
    assert_eq!((answer.header("x-auth-roles"), answer.header("x-auth-scope")), (Some(""), Some("")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn keys_are_published_to_be_cached_and_revalidated() {
    let world = open().await;
    let answer = world.get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.get("d").is_none()), "{keys:?}");
    let etag = answer.header("etag").unwrap().to_owned();
    for (candidate, status) in [
        (etag.clone(), StatusCode::NOT_MODIFIED),
        (format!("\"x\", W/{etag}"), StatusCode::NOT_MODIFIED),
        ("*".into(), StatusCode::NOT_MODIFIED),
        ("\"x\"".into(), StatusCode::OK),
    ] {
        let request = Request::get("/.well-known/jwks.json").header("if-none-match", candidate);
        let again = send(&world.router, request.body(Body::empty()).unwrap()).await;
        assert_eq!((again.status, again.header("etag")), (status, Some(etag.as_str())));
        assert_eq!(again.body.is_empty(), status == StatusCode::NOT_MODIFIED);
    }
    let request = Request::get("/.well-known/jwks.json").header("if-none-match", "unquoted");
    let unread = send(&world.router, request.body(Body::empty()).unwrap()).await;
    assert_eq!((unread.status, unread.problem().as_str()), (StatusCode::BAD_REQUEST, "malformed-header"));
}

#[tokio::test]
async fn the_metadata_says_only_what_there_is() {
    let answer = open().await.get("/.well-known/oauth-authorization-server").await;
    let expected = json!({
        "issuer": "https://id.example.com",
        "jwks_uri": "https://id.example.com/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": [],
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn health_is_alive_and_ready_asks_each_dependency_without_telling_details() {
    let world = open().await;
    world.health.register("journal", || Ok("at /var/lib/keepgate".into()));
    assert_eq!(world.get("/health").await.status, StatusCode::OK);
    assert_eq!(world.get("/ready").await.status, StatusCode::OK);
    world.health.register("disk", || Err("/var/lib/keepgate is full".into()));
    let answer = world.get("/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["checks"][1]["name"], "disk");
    assert!(!answer.json().to_string().contains("/var/lib"));
    assert_eq!(world.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_served_yet_is_not_found() {
    let world = open().await;
    for path in ["/users/v1/you", "/oauth/v1/token", "/auth/v1/revocations", "/auth/v1/login/", "/"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::NOT_FOUND, "not-found"),
            "{path}"
        );
    }
    let answer = world.get("/auth/v1/login").await;
    assert_eq!((answer.problem().as_str(), answer.header("allow")), ("method-not-allowed", Some("POST")));
}

#[tokio::test]
async fn a_request_that_did_not_come_through_the_edge_is_our_fault() {
    let world = open().await;
    let request = post_json("/auth/v1/login", json!({"email": "a@b.example", "password": "x"}).to_string());
    let response = world.router.clone().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
