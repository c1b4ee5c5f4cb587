//! Certificates from a real CA: Pebble issues, renews, refuses and revokes; the gate orders, serves,
//! waits and remembers.

use serde_json::json;

use crate::harness::gate::Gate;
use crate::harness::pebble::Pebble;

const ISSUED: &str = "a certificate was issued";

/// A gate whose certificates come from this CA, and which the CA finds.
fn gate_with(pebble: &Pebble, config: &str) -> Gate {
    let gate = Gate::start_from_file(config);
    pebble.look_at(&gate);
    gate
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_by_http_01_and_served() {
    let pebble = Pebble::start().await;
    let gate = gate_with(&pebble, &pebble.config("http-01", &json!([["a.example.test"]]), ""));
    gate.until_it_says(ISSUED);
    assert!(pebble.issued(&gate, "a.example.test").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_by_tls_alpn_01_and_served() {
    let pebble = Pebble::start().await;
    let gate = gate_with(&pebble, &pebble.config("tls-alpn-01", &json!([["a.example.test"]]), ""));
    gate.until_it_says(ISSUED);
    assert!(pebble.issued(&gate, "a.example.test").await.is_some());
}
