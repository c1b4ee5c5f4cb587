//! Certificates from a real CA: Pebble issues, renews, refuses and revokes; the gate orders, serves,
//! waits and remembers.

use serde_json::{Value, json};

use crate::harness::client::plain;
use crate::harness::gate::Gate;
use crate::harness::pebble::Pebble;

const ISSUED: &str = "a certificate was issued";
const FAILED: &str = "a certificate could not be had";

/// A gate whose certificates come from this CA, and which the CA finds.
fn gate_with(pebble: &Pebble, config: &str) -> Gate {
    let gate = Gate::start_from_file(config);
    pebble.look_at(&gate);
    gate
}

/// A gate with a certificate for `a.example.test`.
fn gate_with_one(pebble: &Pebble) -> Gate {
    let gate = gate_with(pebble, &pebble.config("http-01", &json!([["a.example.test"]]), ""));
    gate.until_it_says(ISSUED);
    gate
}

/// Certificates as the command line lists them.
fn list(gate: &Gate) -> Vec<Value> {
    gate.cli_json(&["certificate", "list"]).as_array().expect("a list").clone()
}

/// A metric of a gate.
async fn metric(gate: &Gate, name: &str) -> String {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

/// Waits until whatever was due has been tried: commands come after it.
fn until_nothing_is_due(gate: &Gate) {
    gate.cli_fails(&["certificate", "renew", "nobody.example.test"], 4);
}

/// The outcome and reason of each order on record.
fn orders(gate: &Gate) -> Vec<(String, String)> {
    let word = |event: &Value, key: &str| event[key].as_str().expect("a word").to_owned();
    let events = gate.audit();
    let orders = events.iter().filter(|event| event["intent"] == "certificate_issue");
    orders.map(|event| (word(event, "outcome"), word(event, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_by_http_01_served_measured_and_on_record() {
    let pebble = Pebble::start().await;
    let gate = gate_with_one(&pebble);
    assert!(pebble.issued(&gate, "a.example.test").await.is_some());
    let listed = list(&gate);
    assert_eq!((listed.len(), &listed[0]["source"], &listed[0]["error"]), (1, &json!("acme"), &json!("")));
    assert!(listed[0]["order_at"].as_str() < listed[0]["expires_at"].as_str(), "{listed:?}");
    until_nothing_is_due(&gate);
    assert_eq!(orders(&gate), [("granted".to_owned(), "first".to_owned())]);
    assert_eq!(metric(&gate, "keepgate_certificate_orders_total{outcome=\"issued\"}").await, "1");
    assert_eq!(metric(&gate, "keepgate_certificates_self_signed").await, "0.0");
    let ends = metric(&gate, "keepgate_certificate_expiry_timestamp_seconds{name=\"a.example.test\"}").await;
    assert!(ends.parse::<f64>().expect("a number") > 1.7e9, "{ends}");
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_by_tls_alpn_01_whose_protocol_carries_nothing_else() {
    let pebble = Pebble::start().await;
    let gate = gate_with(&pebble, &pebble.config("tls-alpn-01", &json!([["a.example.test"]]), ""));
    gate.until_it_says(ISSUED);
    let leaf = pebble.issued(&gate, "a.example.test").await;
    assert!(leaf.is_some());
    let (challenge, http) = (b"acme-tls/1".as_slice(), b"http/1.1".as_slice());
    // No challenge is open: there is nothing to show, and no certificate for requests is shown either.
    assert_eq!(pebble.agreed(&gate, "a.example.test", &[challenge]).await, None);
    let agreed = pebble.agreed(&gate, "a.example.test", &[challenge, http]).await.expect("a handshake");
    assert_eq!(agreed, (leaf.expect("issued"), Some(http.to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_share_a_certificate_and_several_certificates_are_chosen_by_name() {
    let pebble = Pebble::start().await;
    let names = json!([["a.example.test", "b.example.test"], ["c.example.test"]]);
    let gate = gate_with(&pebble, &pebble.config("http-01", &names, ""));
    until_nothing_is_due(&gate);
    let a = pebble.issued(&gate, "a.example.test").await.expect("issued");
    let b = pebble.issued(&gate, "B.example.test").await.expect("issued");
    let c = pebble.issued(&gate, "c.example.test").await.expect("issued");
    assert!(a == b && a != c);
    let listed = list(&gate);
    assert_eq!(listed[0]["names"], json!(["a.example.test", "b.example.test"]));
    assert_eq!(listed[1]["names"], json!(["c.example.test"]));
    // A reload orders what is new, and leaves alone what is there.
    let names = json!([["c.example.test"], ["d.example.test"], ["b.example.test", "a.example.test"]]);
    gate.rewrite(&pebble.config("http-01", &names, ""));
    gate.cli(&["reload"]).expect(0);
    until_nothing_is_due(&gate);
    assert!(pebble.issued(&gate, "d.example.test").await.is_some());
    assert_eq!(pebble.issued(&gate, "a.example.test").await, Some(a));
    assert_eq!(pebble.issued(&gate, "c.example.test").await, Some(c));
    assert_eq!(metric(&gate, "keepgate_certificate_orders_total{outcome=\"issued\"}").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_takes_only_customers_is_shown_the_external_account() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let wanted =
        json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let pebble = Pebble::start_with(&wanted).await;
    let names = json!([["a.example.test"]]);
    let gate = gate_with(&pebble, &pebble.config("http-01", &names, ""));
    gate.until_it_says(FAILED);
    let bound = |key: &str| {
        let eab = format!("eab_kid = \"kid-1\"\neab_key = {{ value = \"{key}\" }}");
        gate.rewrite(&pebble.config("http-01", &names, &eab));
        gate.cli(&["reload"]).expect(0);
    };
    bound(&key.replace("zWND", "AAAA"));
    assert_eq!(gate.cli_fails(&["certificate", "renew", "a.example.test"], 1), "unavailable");
    bound(key);
    gate.cli(&["certificate", "renew", "a.example.test"]).expect(0);
    assert!(pebble.issued(&gate, "a.example.test").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_command_and_those_who_come_then_see_the_new_one() {
    let pebble = Pebble::start().await;
    let gate = gate_with_one(&pebble);
    let first = pebble.issued(&gate, "a.example.test").await;
    gate.cli(&["certificate", "renew", "A.example.test"]).expect(0);
    let second = pebble.issued(&gate, "a.example.test").await;
    assert!(second.is_some() && second != first);
    assert_eq!(orders(&gate)[1], ("granted".to_owned(), "renewal".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_itself_after_two_thirds_of_its_life() {
    let pebble = Pebble::start_with(&json!({ "certificateValidityPeriod": 15 })).await;
    let gate = gate_with_one(&pebble);
    let first = pebble.issued(&gate, "a.example.test").await.expect("issued");
    gate.until_it_says("a certificate was renewed");
    let issued = metric(&gate, "keepgate_certificate_orders_total{outcome=\"issued\"}").await;
    let last = pebble.issued(&gate, "a.example.test").await.expect("issued");
    // By the CA's clock, which shows whole seconds: two thirds of a life between any two, however long this
    // test was held up.
    let renewals = issued.parse::<i64>().expect("a number") - 1;
    let ((begin, end), (last, _)) = (validity(&first), validity(&last));
    assert!(
        renewals >= 1 && last - begin >= (end - begin) * 2 / 3 * renewals,
        "{renewals}: {begin} to {last}"
    );
}

/// Its beginning and end, in seconds.
fn validity(leaf: &[u8]) -> (i64, i64) {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).expect("a certificate");
    let validity = parsed.validity();
    (validity.not_before.timestamp(), validity.not_after.timestamp())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_when_the_cas_renewal_information_says_so_and_the_order_names_it() {
    let Some(pebble) = Pebble::start_with_renewal_information().await else {
        eprintln!("PASSED OVER: no Pebble that has renewal information; tests/pebble.sh says why");
        return;
    };
    let mut gate = gate_with_one(&pebble);
    let first = pebble.issued(&gate, "a.example.test").await.expect("issued");
    let own = list(&gate)[0]["order_at"].clone();
    // A window that is to come: the renewal is in it, instead of after two thirds of the life.
    let (_, until) = validity(&first);
    let at = |before: i64| at(until - before * DAY);
    let window = [at(80), at(79)];
    pebble.suggest(&first, [&window[0], &window[1]]).await;
    a_day_passes(&mut gate, &pebble);
    until_nothing_is_due(&gate);
    let planned = list(&gate)[0]["order_at"].clone();
    let word = planned.as_str().expect("a time");
    assert!(own != planned && *window[0] <= *word && *word <= *window[1], "{own} {window:?} {planned}");
    assert_eq!(pebble.issued(&gate, "a.example.test").await.as_ref(), Some(&first));
    // The window is over, as after an incident: at once.
    pebble.suggest(&first, [&at(100), &at(99)]).await;
    a_day_passes(&mut gate, &pebble);
    gate.until_it_says("a certificate was renewed");
    until_nothing_is_due(&gate);
    let second = pebble.issued(&gate, "a.example.test").await.expect("issued");
    assert_ne!(second, first);
    assert_eq!(orders(&gate).last(), Some(&("granted".to_owned(), "renewal".to_owned())));
    let log = pebble.log();
    let told = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((told("is a replacement of"), told("has been marked as replaced")), (1, 1), "{log}");
}

const DAY: i64 = 24 * 3600;

/// RFC 3339.
fn at(seconds: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
    time.format(&time::format_description::well_known::Rfc3339).expect("formats")
}

/// What a gate remembers of its orders is of a day ago; so it asks the CA again, which it does at most daily.
fn a_day_passes(gate: &mut Gate, pebble: &Pebble) {
    gate.stop();
    let path = crate::harness::pebble::kept(gate, "a.example.test", ".json").expect("kept");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    for key in ["ask_at", "issued_at"] {
        if let Some(at) = record[key].as_i64() {
            record[key] = json!(at - DAY * 1000);
        }
    }
    std::fs::write(&path, record.to_string()).expect("writable");
    gate.restart();
    pebble.look_at(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_had_does_not_cost_the_others_their_certificate() {
    let pebble = Pebble::start().await;
    let mut gate = gate_with_one(&pebble);
    let before = pebble.issued(&gate, "a.example.test").await;
    assert!(before.is_some());
    pebble.look_away();
    let names = json!([["a.example.test", "b.example.test"]]);
    gate.rewrite(&pebble.config("http-01", &names, ""));
    gate.cli(&["reload"]).expect(0);
    gate.until_it_says(FAILED);
    for start in ["after a reload", "after a restart"] {
        assert_eq!(pebble.issued(&gate, "a.example.test").await, before, "{start}");
        assert_eq!(pebble.issued(&gate, "b.example.test").await, None);
        let listed = list(&gate);
        let sources: Vec<_> = listed.iter().map(|one| (&one["names"][0], &one["source"])).collect();
        let (a, b) = (json!("a.example.test"), json!("b.example.test"));
        assert_eq!(sources, [(&a, &json!("acme_former")), (&b, &json!("self_signed"))]);
        assert!(listed.iter().all(|one| one["error"] != ""), "{listed:?}");
        if start == "after a reload" {
            gate.restart();
        }
    }
    pebble.look_at(&gate);
    gate.cli(&["certificate", "renew", "b.example.test"]).expect(0);
    let after = pebble.issued(&gate, "a.example.test").await;
    assert!(after.is_some() && after != before);
    assert_eq!(pebble.issued(&gate, "b.example.test").await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_finds_nobody_costs_neither_the_gate_nor_its_patience() {
    let pebble = Pebble::start().await;
    pebble.look_away();
    let mut gate = Gate::start_from_file(&pebble.config("http-01", &json!([["a.example.test"]]), ""));
    gate.until_it_says(FAILED);
    let listed = list(&gate);
    assert_eq!(listed[0]["source"], "self_signed");
    assert!(listed[0]["error"].as_str().expect("a text").contains("a.example.test"), "{listed:?}");
    assert_eq!(metric(&gate, "keepgate_certificates_self_signed").await, "1.0");
    assert_eq!(metric(&gate, "keepgate_certificates_failing").await, "1.0");
    assert!(pebble.issued(&gate, "a.example.test").await.is_none(), "a self-signed one answers");
    let status = gate.cli(&["status"]).expect(0);
    assert!(status.stdout.contains("1 of 1 not issued yet"), "{status:?}");
    // What failed is not tried again because the gate was started again.
    gate.restart();
    until_nothing_is_due(&gate);
    assert_eq!(metric(&gate, "keepgate_certificate_orders_total{outcome=\"failed\"}").await, "0");
    assert_eq!(list(&gate)[0]["order_at"], listed[0]["order_at"]);
    pebble.look_at(&gate);
    gate.cli(&["certificate", "renew", "a.example.test"]).expect(0);
    assert!(pebble.issued(&gate, "a.example.test").await.is_some());
    assert_eq!(list(&gate)[0]["error"], "");
    assert_eq!(orders(&gate)[0], ("failed".to_owned(), "challenge_failed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_orders_that_fail_is_stopped_below_the_cas_limit() {
    let mut pebble = Pebble::start().await;
    let gate = Gate::start_from_file(&pebble.config("http-01", &json!([["a.example.test"]]), ""));
    pebble.stop();
    pebble.look_away();
    gate.until_it_says(FAILED);
    for _ in 0..3 {
        assert_eq!(gate.cli_fails(&["certificate", "renew", "a.example.test"], 1), "unavailable");
    }
    assert_eq!(gate.cli_fails(&["certificate", "renew", "a.example.test"], 4), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_serves_what_was_issued_before_and_asks_nobody() {
    let mut pebble = Pebble::start().await;
    let mut gate = gate_with_one(&pebble);
    let root = pebble.root().await;
    let before = pebble.issued(&gate, "a.example.test").await.expect("issued");
    pebble.stop();
    gate.restart();
    assert_eq!(pebble.issued_under(&gate, "a.example.test", root.clone()).await, Some(before));
    until_nothing_is_due(&gate);
    assert_eq!(metric(&gate, "keepgate_certificate_orders_total{outcome=\"failed\"}").await, "0");
    // What was kept is not believed: a file that was tampered with is no certificate.
    let file = crate::harness::pebble::kept(&gate, "a.example.test", ".pem").expect("kept");
    std::fs::write(&file, "tampered").expect("writable");
    gate.restart();
    assert_eq!(pebble.issued_under(&gate, "a.example.test", root).await, None);
    assert_eq!(list(&gate)[0]["source"], "self_signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_served_no_longer_and_another_is_ordered() {
    let pebble = Pebble::start().await;
    let gate = gate_with_one(&pebble);
    let before = pebble.issued(&gate, "a.example.test").await.expect("issued");
    let revoke = ["certificate", "revoke", "a.example.test", "--reason", "key-compromise"];
    gate.cli(&revoke).expect(0);
    assert_eq!(pebble.status(&before).await["Status"], "Revoked");
    until_nothing_is_due(&gate);
    let after = pebble.issued(&gate, "a.example.test").await.expect("another");
    assert_eq!(pebble.status(&after).await["Status"], "Valid");
    let events = gate.audit();
    let revoked = events.iter().find(|event| event["intent"] == "certificate_revoke").expect("on record");
    assert_eq!((&revoked["outcome"], &revoked["reason"]), (&json!("granted"), &json!("key-compromise")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ca_takes_over_and_until_then_the_certificate_of_the_first_is_served() {
    let (first, second) = (Pebble::start().await, Pebble::start().await);
    let gate = gate_with_one(&first);
    let before = first.issued(&gate, "a.example.test").await.expect("issued");
    // It finds nobody yet, and waits.
    gate.rewrite(&second.config("http-01", &json!([["a.example.test"]]), ""));
    gate.cli(&["reload"]).expect(0);
    assert_eq!(first.issued(&gate, "a.example.test").await, Some(before));
    second.look_at(&gate);
    until_nothing_is_due(&gate);
    assert!(second.issued(&gate, "a.example.test").await.is_some());
    assert_eq!(orders(&gate), vec![("granted".to_owned(), "first".to_owned()); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_ca_and_the_order_is_begun_anew() {
    let pebble = Pebble::start().await;
    let mut gate = Gate::start_from_file(&pebble.config("http-01", &json!([["a.example.test"]]), ""));
    // The CA looks, and waits for an answer.
    gate.until_it_says("an account was made at the CA");
    gate.stop();
    assert!(!gate.log().contains(FAILED), "{}", gate.log());
    gate.restart();
    pebble.look_at(&gate);
    gate.until_it_says(ISSUED);
    gate.verify_audit();
}
