//! Profiles and documents as applications and administrators meet them: through TLS, the edge and a
//! restart, with several writers at once, until the account is deleted.

use serde_json::{Value, json};

use crate::harness::client::{Answer, Client};
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{Person, login};

const ME: &str = "/users/v1/me";
const DATA: &str = "/users/v1/me/data";

fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_else(|| panic!("no etag: {:?}", answer.headers)).to_owned()
}

async fn put(client: &Client, who: &Person, key: &str, body: &str) -> Answer {
    let ask = client.request("PUT", &format!("{DATA}/{key}")).bearer(&who.access);
    ask.body("application/json", body.to_owned()).send().await
}

async fn patch(client: &Client, who: &Person, body: Value) -> Answer {
    let ask = client.request("PATCH", ME).bearer(&who.access);
    ask.body("application/merge-patch+json", body.to_string()).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_a_person_is_theirs_survives_a_crash_and_goes_with_them() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let bob = Person::join(&client, "bob@example.com").await;

    let me = client.get(ME).bearer(&ada.access).send().await.expect(200).json();
    assert_eq!((&me["id"], &me["email"], &me["name"]), (&json!(ada.id), &json!(ada.email), &json!("Ada")));
    assert_eq!((&me["roles"], &me["profile"], &me["updated_at"]), (&json!([]), &json!({}), &Value::Null));
    let changed = json!({"name": "Ada L.", "profile": {"locale": "en-GB", "zoneinfo": "Europe/London"}});
    let patched = patch(&client, &ada, changed).await.expect(200);
    assert_eq!(patched.json()["profile"]["locale"], "en-GB");

    put(&client, &ada, "settings", r#"{"theme": "dark"}"#).await.expect(201);
    let second = put(&client, &ada, "settings", " [1, 2] ").await.expect(204);
    put(&client, &bob, "settings", "true").await.expect(201);

    gate.kill();
    gate.restart();
    let client = gate.client();
    let read = client.get(&format!("{DATA}/settings")).bearer(&ada.access).send().await.expect(200);
    assert_eq!((read.text().as_str(), etag(&read)), (" [1, 2] ", etag(&second)));
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(read.header("cache-control"), Some("no-store"));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    let me = client.get(ME).bearer(&ada.access).send().await.expect(200);
    assert_eq!((etag(&me), &me.json()["name"]), (etag(&patched), &json!("Ada L.")));
    assert_eq!(gate.cli_json(&["user", "show", &ada.email])["name"], "Ada L.");
    let list = client.get(DATA).bearer(&ada.access).send().await.expect(200).json();
    let documents = list["documents"].as_array().expect("a list");
    assert_eq!(documents.len(), 1);
    assert_eq!((&documents[0]["key"], &documents[0]["bytes"]), (&json!("settings"), &json!(8)));

    gate.cli(&["user", "delete", &ada.email]).expect(0);
    client.get(ME).bearer(&ada.access).send().await.expect(401);
    put(&client, &ada, "settings", "1").await.expect(401);
    let again = Person::join(&client, "ada@example.com").await;
    let list = client.get(DATA).bearer(&again.access).send().await.expect(200).json();
    assert_eq!(list, json!({"documents": []}));
    let read = client.get(&format!("{DATA}/settings")).bearer(&bob.access).send().await.expect(200);
    assert_eq!(read.text(), "true");
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_let_one_writer_win_and_spare_a_transfer() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let path = format!("{DATA}/counter");
    let ask = |method: &str| client.request(method, &path).bearer(&ada.access);
    let created = ask("PUT").header("if-none-match", "*").json(json!(0)).send().await.expect(201);
    let refused = ask("PUT").header("if-none-match", "*").json(json!(1)).send().await.expect(412);
    assert_eq!(refused.problem(), "precondition-failed");

    // Eight clients count to five together; none of their steps is lost.
    let counters: Vec<_> = (0..8)
        .map(|_| {
            let (client, ada, path) = (client.clone(), ada.clone(), path.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while done < 5 {
                    let read = client.get(&path).bearer(&ada.access).send().await.expect(200);
                    let next = read.json().as_u64().expect("a number") + 1;
                    let ask =
                        client.request("PUT", &path).bearer(&ada.access).header("if-match", &etag(&read));
                    match ask.json(json!(next)).send().await.status.as_u16() {
                        204 => done += 1,
                        412 => {}
                        other => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for counter in counters {
        counter.await.expect("no panic");
    }
    let read = ask("GET").send().await.expect(200);
    assert_eq!(read.json(), json!(40));

    let known = etag(&read);
    let same = ask("GET").header("if-none-match", &format!("\"x\", W/{known}")).send().await.expect(304);
    assert!(same.body.is_empty() && etag(&same) == known);
    ask("GET").header("if-none-match", &etag(&created)).send().await.expect(200);
    ask("GET").header("if-match", &etag(&created)).send().await.expect(412);
    assert_eq!(ask("GET").header("if-match", "oops").send().await.expect(400).problem(), "malformed-header");
    let head = ask("HEAD").send().await.expect(200);
    assert!(head.body.is_empty() && etag(&head) == known);
    ask("DELETE").header("if-match", &etag(&created)).send().await.expect(412);
    ask("DELETE").header("if-match", &known).send().await.expect(204);
    ask("DELETE").send().await.expect(404);
    ask("DELETE").header("if-match", "*").send().await.expect(412);

    let me = client.get(ME).bearer(&ada.access).send().await.expect(200);
    let ask = |tag: &str| client.request("PATCH", ME).bearer(&ada.access).header("if-match", tag);
    let patched = ask(&etag(&me)).json(json!({"profile": {"nickname": "al"}})).send().await.expect(200);
    ask(&etag(&me)).json(json!({"name": "x"})).send().await.expect(412);
    client.get(ME).bearer(&ada.access).header("if-none-match", &etag(&patched)).send().await.expect(304);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_against_many_writers_at_once() {
    let mut settings = CHEAP.to_vec();
    settings.extend([
        "KEEPGATE_USERS__DOCUMENT_BYTES=1KiB",
        "KEEPGATE_USERS__DOCUMENTS=10",
        "KEEPGATE_USERS__ACCOUNT_BYTES=5KiB",
    ]);
    let gate = Gate::start_with(&settings);
    let client = gate.client();
    for (bytes, fit) in [(100, 10), (1024, 5)] {
        let who = Person::join(&client, &format!("p{bytes}@example.com")).await;
        let body = format!("\"{}\"", "x".repeat(bytes - 2));
        let writers: Vec<_> = (0..24)
            .map(|n| {
                let (client, who, body) = (client.clone(), who.clone(), body.clone());
                tokio::spawn(async move { put(&client, &who, &format!("k{n}"), &body).await })
            })
            .collect();
        let mut written = 0;
        for writer in writers {
            let answer = writer.await.expect("no panic");
            match answer.status.as_u16() {
                201 => written += 1,
                413 => assert_eq!(answer.problem(), "quota-exceeded"),
                other => panic!("{other}: {:?}", answer.body),
            }
        }
        assert_eq!(written, fit);
        let list = client.get(DATA).bearer(&who.access).send().await.expect(200).json();
        assert_eq!(list["documents"].as_array().map(Vec::len), Some(fit));
        let large = put(&client, &who, "k", &format!("\"{}\"", "x".repeat(1023))).await.expect(413);
        assert_eq!(large.problem(), "body-too-large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_refused_in_words() {
    let gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    for (body, status, kind, says) in [
        ("{", 400, "malformed-json", "line 1"),
        ("", 400, "malformed-json", "line 1"),
        ("{} {}", 400, "malformed-json", "line 1"),
        ("1e400", 400, "malformed-json", "RFC 7493"),
        (r#"{"a": {"b": 1, "b": 2}}"#, 422, "invalid-request", "\"b\" twice"),
        (&"[".repeat(65), 422, "invalid-request", "at most 64 deep"),
    ] {
        let refused = put(&client, &ada, "x", body).await.expect(status);
        assert_eq!(refused.problem(), kind, "{body}");
        let detail = refused.json()["detail"].as_str().expect("text").to_owned();
        assert!(detail.contains(says), "{body}: {detail}");
    }
    for key in [".hidden", "a%20b", "%C3%BC", "a%3Ab", &"k".repeat(129)] {
        let refused = put(&client, &ada, key, "1").await.expect(422);
        assert_eq!(refused.json()["errors"][0]["field"], "key");
    }
    let ask =
        |kind: &'static str| client.request("PUT", "/users/v1/me/data/x").bearer(&ada.access).body(kind, "1");
    assert_eq!(ask("text/plain").send().await.expect(415).problem(), "unsupported-media-type");
    for (body, faults) in [
        (json!({"email": "x@example.com", "roles": ["admin"]}), vec!["email read_only", "roles read_only"]),
        (json!({"shoe": 7, "profile": {"age": 7}}), vec!["/profile/age unknown", "shoe unknown"]),
        (
            json!({"name": 7, "profile": {"locale": "de_CH", "picture": []}}),
            vec!["name type", "/profile/picture type"],
        ),
        (json!({"profile": {"picture": "javascript:alert(1)"}}), vec!["/profile/picture invalid"]),
        (json!({"profile": "x"}), vec!["profile type"]),
    ] {
        let refused = patch(&client, &ada, body.clone()).await.expect(422).json();
        let errors = refused["errors"].as_array().expect("faults");
        let text = |error: &Value, key: &str| error[key].as_str().expect("text").to_owned();
        let found: Vec<_> = errors.iter().map(|it| text(it, "field") + " " + &text(it, "code")).collect();
        assert_eq!(found, faults, "{body}");
    }
    let refused = client.request("PATCH", ME).bearer(&ada.access).body("text/plain", "{}").send().await;
    assert_eq!(refused.expect(415).header("accept-patch"), Some("application/merge-patch+json"));
    for query in ["?limit=0", "?limit=101", "?limit=x", "?after=%20", "?page=2", "?limit=1&limit=2"] {
        client.get(&format!("{DATA}{query}")).bearer(&ada.access).send().await.expect(422);
    }
    for path in [ME, DATA, "/users/v1/me/data/x", "/users/v1/accounts"] {
        let refused = client.get(path).send().await.expect(401);
        assert!(refused.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
    }
    let me = client.get(ME).bearer(&ada.access).send().await.expect(200).json();
    assert_eq!((&me["profile"], &me["name"]), (&json!({}), &json!("Ada")));
    assert_eq!(client.get(DATA).bearer(&ada.access).send().await.json(), json!({"documents": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_everything_and_the_audit_log_says_that_they_looked() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    for key in ["a", "b", "c"] {
        put(&client, &ada, key, &format!("{{\"{key}\": \"\\u001b[2J\"}}")).await.expect(201);
    }
    patch(&client, &ada, json!({"profile": {"locale": "de"}})).await.expect(200);
    let mut root = Person::join(&client, "root@example.com").await;
    let paths = [
        "/users/v1/accounts".to_owned(),
        format!("/users/v1/accounts/{}", ada.id),
        format!("/users/v1/accounts/{}/data", ada.id),
        format!("/users/v1/accounts/{}/data/a", ada.id),
    ];
    for path in &paths {
        let refused = client.get(path).bearer(&root.access).send().await.expect(403);
        assert_eq!(refused.problem(), "forbidden");
    }
    gate.cli(&["user", "roles", &root.email, "admin"]).expect(0);
    root.take(&login(&client, &root.email).await.expect(200).json());
    let ask = |path: &str| client.get(path).bearer(&root.access).send();
    let shown = ask(&paths[1]).await.expect(200);
    assert_eq!(
        (&shown.json()["status"], &shown.json()["profile"]),
        (&json!("active"), &json!({"locale": "de"}))
    );
    assert_eq!(ask(&paths[3]).await.expect(200).text(), r#"{"a": "\u001b[2J"}"#);
    assert_eq!(pages(&client, &root, &paths[2], "documents").await, ["a", "b", "c"]);
    let accounts = pages(&client, &root, &paths[0], "accounts").await;
    assert_eq!(accounts.len(), 3, "the first administrator, too: {accounts:?}");
    for gone in [
        "/users/v1/accounts/01890a5d-ac96-774b-bcce-b302099a8057",
        "/users/v1/accounts/me",
        "/users/v1/accounts/%80",
        &format!("/users/v1/accounts/{}/data/z", ada.id),
    ] {
        assert_eq!(ask(gone).await.expect(404).problem(), "not-found", "{gone}");
    }
    for method in ["PUT", "DELETE"] {
        let refused = client.request(method, &paths[3]).bearer(&root.access).json(json!(1)).send().await;
        assert_eq!(refused.expect(405).header("allow"), Some("GET,HEAD"));
    }

    let table = the_console_sees_the_same(&gate, &ada);
    gate.stop();
    assert_eq!(gate.cli(&["user", "data", "ada@example.com"]).expect(0).stdout, table);
    the_log_says_who_looked(&gate, &ada);
    gate.verify_audit();
}

/// Each look is there once, with whose it was; refusals are counted.
fn the_log_says_who_looked(gate: &Gate, ada: &Person) {
    let looks: Vec<_> = gate.audit().into_iter().filter(|event| event["intent"] == "data_read").collect();
    let of = |actor: &str, outcome: &str| {
        let mine = looks.iter().filter(|it| it["actor"].as_str().is_some_and(|it| it.starts_with(actor)));
        let mine = mine.filter(|it| it["outcome"] == outcome);
        mine.map(|it| it["reason"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let mut seen = of("account:", "granted");
    seen.sort();
    assert_eq!(seen, ["accounts", "document", "documents", "profile"]);
    assert_eq!(
        of("account:", "denied"),
        ["not_administrator", "not_administrator"],
        "the first, and the rest"
    );
    assert_eq!(of("console:", "granted"), ["documents", "document", "documents"]);
    let targets = looks.iter().filter(|it| it["outcome"] == "granted" && it["reason"] != "accounts");
    assert!(targets.into_iter().all(|it| it["target"] == ada.id.as_str()), "{looks:?}");
}

/// The names in a list of two entries a page, page after page.
async fn pages(client: &Client, root: &Person, first: &str, list: &str) -> Vec<String> {
    let (mut names, mut next) = (Vec::new(), Some(String::new()));
    while let Some(after) = next {
        let after = if after.is_empty() { after } else { format!("&after={after}") };
        let ask = client.get(&format!("{first}?limit=2{after}")).bearer(&root.access);
        let page = ask.send().await.expect(200).json();
        let entries = page[list].as_array().expect("a list").clone();
        assert!((1..=2).contains(&entries.len()));
        let name = |entry: &Value| entry["key"].as_str().or(entry["email"].as_str()).expect("one").to_owned();
        names.extend(entries.iter().map(name));
        next = page["next"].as_str().map(str::to_owned);
    }
    names
}

/// Gives the table that it shows.
fn the_console_sees_the_same(gate: &Gate, ada: &Person) -> String {
    let list = gate.cli_json(&["user", "data", "ada@example.com"]);
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    let table = gate.cli(&["user", "data", "ada@example.com"]).expect(0).stdout;
    assert!(table.starts_with("KEY") && table.lines().count() == 4, "{table}");
    let one = gate.cli(&["user", "data", "ada@example.com", "a"]).expect(0).stdout;
    assert_eq!(one, "{\"a\": \"\\u001b[2J\"}\n");
    assert_eq!(gate.cli_json(&["user", "data", &ada.id, "b"])["body"], r#"{"b": "\u001b[2J"}"#);
    assert_eq!(gate.cli_fails(&["user", "data", "ada@example.com", "z"], 4), "not_found");
    assert_eq!(gate.cli_fails(&["user", "data", "ada@example.com", "../z"], 4), "invalid");
    table
}
