//! The description against what it describes: the committed file, the readers of bodies, the shapes
//! of shared types, and who must be authenticated.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::world::World;
use super::*;
use crate::api::body::{Fields, Shape};
use crate::api::password::PasswordChange;
use crate::api::refresh::Presented;
use crate::auth::accounts::Registration;
use crate::auth::sessions::Login;
use crate::config::accounts::Registration as Mode;
use crate::model::problem::{FieldProblem, Problem};
use crate::observe::health::Health;
use crate::users::key::DocumentKey;
use crate::users::profile::ProfilePatch;

async fn described() -> Value {
    let world = World::new(Mode::Open).await;
    serde_json::to_value(&world.document).unwrap()
}

/// Every operation as (method, path, description).
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                found.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    found
}

#[tokio::test]
async fn the_api_description_is_up_to_date() {
    let text = serde_json::to_string_pretty(&described().await).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "docs/openapi.json is behind the code: run `make docs` and look at the change"
    );
}

#[tokio::test]
async fn every_operation_has_a_name_and_every_reference_leads_somewhere() {
    let document = described().await;
    let operations = operations(&document);
    assert!(operations.len() >= 22, "{}", operations.len());
    let names: BTreeSet<_> =
        operations.iter().map(|(_, _, it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len(), "names are unique");
    for (method, path, operation) in &operations {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        for status in ["400", "429", "500", "503"] {
            assert!(operation["responses"].get(status).is_some(), "{method} {path} {status}");
        }
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect_references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}

/// A schema's properties, and which of them are required.
fn properties(document: &Value, name: &str) -> BTreeMap<String, bool> {
    let schema = &document["components"]["schemas"][name];
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
    properties.keys().map(|name| (name.clone(), required.contains(&json!(name)))).collect()
}

/// What a reader asks for, and what it will not do without.
fn asked<T: Shape>() -> BTreeMap<String, bool> {
    let mut fields: Fields = serde_json::from_str("{}").unwrap();
    T::read(&mut fields);
    let asked = fields.asked.clone();
    let missing: BTreeSet<_> = fields.finish().into_iter().map(|fault| fault.field.into_owned()).collect();
    asked.into_iter().map(|name| (name.to_owned(), missing.contains(name))).collect()
}

#[tokio::test]
async fn bodies_are_described_as_they_are_read() {
    let document = described().await;
    assert_eq!(properties(&document, "LoginRequest"), asked::<Login>());
    assert_eq!(properties(&document, "RefreshRequest"), asked::<Presented>());
    assert_eq!(properties(&document, "RegisterRequest"), asked::<Registration>());
    assert_eq!(properties(&document, "PasswordRequest"), asked::<PasswordChange>());
    let mut patch = asked::<ProfilePatch>();
    for read_only in ["id", "email", "roles", "created_at", "updated_at"] {
        assert_eq!(patch.remove(read_only), Some(false));
    }
    assert_eq!(properties(&document, "ProfileRequest"), patch);
    let claims = ProfilePatch::claim_names().map(|name| (name.to_owned(), false)).collect();
    assert_eq!(properties(&document, "Claims"), claims);
}

#[tokio::test]
async fn keys_are_described_by_the_rule_that_they_are_held_to() {
    let document = described().await;
    let mut seen = 0;
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let of_documents = parameter["name"] == "after" && path.ends_with("/data");
            if parameter["name"] == "key" || of_documents {
                assert_eq!(parameter["schema"]["pattern"], DocumentKey::PATTERN, "{method} {path}");
                seen += 1;
            }
            assert_ne!(parameter["schema"]["type"], json!(["string", "null"]), "{method} {path}");
        }
    }
    assert_eq!(seen, 6);
}

/// The members of a value, as a schema would have them if all of them were there.
fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn shared_shapes_are_described_as_they_are_written() {
    let document = described().await;
    let all = |name: &str| properties(&document, name).into_keys().collect::<BTreeSet<_>>();
    let problem = Problem::new(422, "invalid-request", "x")
        .detail("x")
        .instance(origin().request)
        .field(FieldProblem::new("a", "b", "c"));
    let problem = serde_json::to_value(problem).unwrap();
    assert_eq!(all("Problem"), members(&problem));
    let field = &document["components"]["schemas"]["Problem"]["properties"]["errors"]["items"];
    assert_eq!(members(&field["properties"]), members(&problem["errors"][0]));
    let health = Health::new();
    health.register("journal", || Ok(String::new()));
    let report = serde_json::to_value(health.ready()).unwrap();
    assert_eq!(all("Health"), members(&report));
    assert_eq!(all("Check"), members(&report["checks"][0]));
}

#[tokio::test]
async fn who_must_be_authenticated_is_described_so() {
    let world = World::new(Mode::Open).await;
    let document = serde_json::to_value(&world.document).unwrap();
    for (method, path, operation) in operations(&document) {
        let concrete = path.replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057").replace("{key}", "k");
        let answer = world.ask(&method, &concrete, None).await;
        let secured = operation.get("security").is_some();
        assert_eq!(answer.status == StatusCode::UNAUTHORIZED, secured, "{method} {path}: {}", answer.status);
        let status = answer.status.as_u16().to_string();
        assert!(operation["responses"].get(&status).is_some(), "{method} {path}: {status} is not described");
    }
}
